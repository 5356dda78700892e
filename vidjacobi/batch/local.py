"""The local engine: this process, or one process per device, each with a shard of its own.

The processes share nothing but the output folder, so none can hold up another. One that crashes is started
again and goes on behind what it had finished.
"""

import signal
import sys
import time
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from os import _exit
from threading import Thread

import torch

from vidjacobi.batch.items import Shard, parse_shard
from vidjacobi.batch.manifest import FAILED, compact
from vidjacobi.batch.pipeline import FailedFast
from vidjacobi.batch.progress import ProgressTracker, explain, tell
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.batch.stop import Stopped, stoppable
from vidjacobi.batch.worker import Job, processors, run_shard
from vidjacobi.errors import VidjacobiError
from vidjacobi.runtime import pick_device

OK, SOME_FAILED, ERROR = 0, 1, 2  # how a worker ends
_LOOK = 0.2  # seconds between looks at the workers
_COMPACT = 600.0  # seconds between compactions while they run


def devices_of(config: BatchConfig) -> list[str]:
    """One per worker. Raises InvalidArgument for a device that is not there."""
    if config.devices == "auto":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [f"cuda:{index}" for index in range(count)] or ["cpu"]
    else:
        names = [str(pick_device(name.strip())) for name in config.devices.split(",")]
    workers = config.workers or len(names)
    return [names[index % len(names)] for index in range(workers)]


def run_local(job: Job, tally: ProgressTracker) -> None:
    """Do the shard. Raises VidjacobiError, Stopped."""
    config = job.plan.config
    devices, shard = devices_of(config), parse_shard(config.shard)
    if len(devices) == 1:
        run_shard(job, shard, devices[0], lambda row: tally.look(), tell)
    else:
        Workers(job, shard, devices).run(tally)


class Workers:
    """Processes, one per device, watched until they have ended."""

    def __init__(self, job: Job, shard: Shard, devices: list[str]) -> None:
        self._job, self._shard, self._devices = job, shard, devices
        self._threads = max(1, processors() // len(devices))
        self._running: dict[int, BaseProcess] = {}
        self._finished_at_start: dict[int, int] = {}

    def run(self, tally: ProgressTracker) -> None:
        """Until all are done. Raises VidjacobiError where one had to give up, Stopped."""
        compacted = time.monotonic()
        try:
            for worker in range(len(self._devices)):
                self._start(worker, tally)
            while self._running:
                time.sleep(_LOOK)
                tally.look()
                self._look(tally)
                if time.monotonic() - compacted > _COMPACT:
                    compact(self._job.outputs.out)
                    compacted = time.monotonic()
        finally:
            self._end()

    def _start(self, worker: int, tally: ProgressTracker) -> None:
        part = self._shard.part(worker, len(self._devices))
        arguments = (self._job, part, self._devices[worker], self._threads)
        process = get_context("spawn").Process(target=work, args=arguments, name=f"shard {part}")
        process.start()
        self._running[worker] = process
        self._finished_at_start[worker] = sum(tally.counts.values())

    def _look(self, tally: ProgressTracker) -> None:
        for worker, process in list(self._running.items()):
            if process.exitcode is None:
                continue
            del self._running[worker]
            if process.exitcode in (OK, SOME_FAILED):
                if self._job.plan.config.fail_fast and process.exitcode == SOME_FAILED:
                    raise FailedFast("stopped at the first failure")
            elif process.exitcode == ERROR:
                raise VidjacobiError(f"the worker of {process.name} had to stop; it says why above")
            else:
                self._again(worker, process, tally)

    def _again(self, worker: int, process: BaseProcess, tally: ProgressTracker) -> None:
        """A worker was killed or crashed: start it again, unless nothing was finished since it was started."""
        how = (
            f"the worker of {process.name} on {self._devices[worker]} ended with exit code {process.exitcode}"
        )
        if sum(tally.counts.values()) == self._finished_at_start[worker]:
            raise VidjacobiError(f"{how} before anything was finished; the same command tries again")
        tell(f"{how}; it is started again")
        self._start(worker, tally)

    def _end(self) -> None:
        """Ask those that still run to stop, and wait: what they have decided is written."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.join()


def work(job: Job, shard: Shard, device: str, threads: int) -> None:
    """The process of one worker."""
    Thread(target=leave_with_the_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which passes it on
    torch.set_num_threads(threads)
    status = OK
    try:
        with stoppable(signal.SIGTERM):
            counts = run_shard(job, shard, device, lambda row: None, tell)
            status = SOME_FAILED if counts[FAILED] else OK
    except Stopped as stopped:
        status = stopped.status
    except FailedFast as error:
        explain(error)
        status = SOME_FAILED
    except VidjacobiError as error:
        explain(error)
        status = ERROR
    sys.stderr.flush()
    _exit(status)  # a thread may hang in a library


def leave_with_the_parent() -> None:
    """Wait for the parent's end, then end at once: a batch that was killed must not go on computing."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    _exit(ERROR)
