"""Workers: what one process of a batch does, and the local engine, which runs one or several of them.

Several processes, one per device, share nothing but the output folder, so none can hold up another. One that crashes
is started again and continues after what it had finished.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from os import _exit

import torch

from vidjacobi.acting import acted_family, load_acted
from vidjacobi.batch.action_feed import ActionFeed
from vidjacobi.batch.devices import devices_of
from vidjacobi.batch.future_files import FutureFiles
from vidjacobi.batch.manifest import FAILED, FinishedItems, ManifestRow, new_log
from vidjacobi.batch.manifest_table import compact
from vidjacobi.batch.pipeline import FailedFast, Pipeline, Tools
from vidjacobi.batch.progress import ProgressTracker, explain, tell
from vidjacobi.batch.settings import ACTIONS, BatchConfig, BatchPlan, Shard, parse_shard
from vidjacobi.datasets import Entry, open_dataset
from vidjacobi.datasets.chosen_reader import read_with
from vidjacobi.decoding.compiled import check_mode
from vidjacobi.errors import InvalidArgument, VidjacobiError
from vidjacobi.estimate.memory import MemoryQuestion, check_memory, this_device
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.loading import Pair, outline_to_load
from vidjacobi.models.action_spec import ActedPair
from vidjacobi.models.offload import check_device
from vidjacobi.models.tokenizer import check_lengths
from vidjacobi.output.rows import RowLog
from vidjacobi.processes import (
    Stopped,
    available_cores,
    end_with_parent,
    keep_standard_streams,
    stoppable,
)
from vidjacobi.runtime import choose
from vidjacobi.video.timed_reader import TimedReader

OK, SOME_FAILED, ERROR = 0, 1, 2  # how a worker ends
_LOOK = 0.2  # seconds between looks at the workers
_COMPACT = 600.0  # seconds between compactions while they run


@dataclass(frozen=True)
class BatchJob:
    """What every worker of a batch is told."""

    plan: BatchPlan
    files: FutureFiles


def check_room(plan: BatchPlan, devices: Sequence[str]) -> None:
    """Refuse, before anything is loaded, what cannot be offloaded or compiled on ``devices``, and what is predicted
    not to fit with a worker on each of them that has weights and rows of its own.

    Raises InvalidArgument with the settings that would make it fit, and BadCheckpoint.
    """
    config = plan.config
    for runtime in {choose(name, config.dtype) for name in devices}:
        config.sampling.resolve(plan.decoder.temperature).check_range(runtime.dtype)
        check_mode(config.compile, runtime.device, config.offload)
        if config.offload:
            check_device(runtime.device)
    # nothing predicts the memory of other authors' models
    if not config.memory_check or acted_family(config.model):
        return
    outline = partial(outline_to_load, config.model, config.tokenizer)
    shape = RolloutShape(plan.decoder, config.rows, 1, config.context, config.frames)
    question = MemoryQuestion(outline, shape, config.offload, in_batch=True)
    for device, workers in Counter(devices).items():
        check_memory(question, this_device(choose(device, config.dtype), workers))


def load_pair(config: BatchConfig, device: str) -> Pair:
    """The model on a device, and that it can do what is asked for. Raises InvalidArgument, BadCheckpoint."""
    return loaded(config, device)[:2]


def loaded(config: BatchConfig, device: str) -> ActedPair:
    """As ``load_pair``, with what the model asks of actions, which must be given where its clips need some."""
    how = config.tokenizer, config.run_torchscript, config.offload, config.compile
    pair = load_acted(config.model, device, config.dtype, *how)
    check_lengths(config.context, config.frames, config.samples, pair.tokenizer)
    if pair.actions is not None and config.actions is None:
        raise InvalidArgument(
            f"{config.model}'s frames follow actions: give --actions {' or '.join(ACTIONS)}"
        )
    return pair


def tools_of(
    job: BatchJob, device: str, log: RowLog[ManifestRow], observe: Callable[[ManifestRow], None]
) -> Tools:
    """What a pipeline on this device works with. Raises InvalidArgument, BadCheckpoint."""
    config = job.plan.config
    pair = loaded(config, device)
    tools = Tools(job.plan, pair[:2], job.files, log, observe, tell)
    if config.actions is None:
        return tools
    feed = ActionFeed(config, pair, partial(everything, config))
    feed.check_shape()
    return replace(tools, actions=feed.of, condition=feed.condition)


def everything(config: BatchConfig) -> Iterator[Entry]:
    """All entries of the dataset. Raises BadInput, InvalidArgument."""
    entries = open_dataset(config.data, config.dataset, **config.dataset_options())  # type: ignore[arg-type]
    return read_with(entries, config.reader)


def listing(config: BatchConfig) -> Iterator[Entry]:
    """The entries of the dataset, up to the limit. Raises as ``everything``."""
    return islice(everything(config), config.limit)


def run_shard(
    job: BatchJob,
    shard: Shard,
    device: str,
    observe: Callable[[ManifestRow], None],
    finished: FinishedItems,
) -> "Counter[str]":
    """Do what is missing of a shard in this process; returns the number of rows recorded, by status."""
    config, out = job.plan.config, job.files.out
    entries = shard.of(listing(config))
    log = new_log(out, config.shard)  # of the whole shard: its label is how ProgressTracker finds the file
    with closing(log):
        tools = tools_of(job, device, log, observe)
        reader = TimedReader(config.seconds)
        counts = Pipeline(tools).run(entries, finished, reader)
    reader.close()  # where the run was stopped it may be waiting for a hanging video, and ends with this process
    return counts


def run_local(job: BatchJob, tally: ProgressTracker, finished: FinishedItems) -> None:
    """Do the job's shard on this machine. Raises VidjacobiError, Stopped."""
    config = job.plan.config
    devices, shard = devices_of(config), parse_shard(config.shard)
    if len(devices) == 1:
        run_shard(job, shard, devices[0], lambda row: tally.look(), finished)
    else:
        Workers(job, shard, devices).run(tally)


class Workers:
    """Processes, one per device, watched until they have ended."""

    def __init__(self, job: BatchJob, shard: Shard, devices: list[str]) -> None:
        self._job, self._shard, self._devices = job, shard, devices
        self._threads = max(1, available_cores() // len(devices))
        self._running: dict[int, BaseProcess] = {}
        self._finished_at_start: dict[int, int] = {}

    def run(self, tally: ProgressTracker) -> None:
        """Wait until all are done. Raises VidjacobiError where one had to give up, Stopped."""
        compacted = time.monotonic()
        try:
            for worker in range(len(self._devices)):
                self._start(worker, tally)
            while self._running:
                time.sleep(_LOOK)
                tally.look()
                self._look(tally)
                if time.monotonic() - compacted > _COMPACT:
                    compact(self._job.files.out)
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
                self._restart(worker, process, tally)

    def _restart(self, worker: int, process: BaseProcess, tally: ProgressTracker) -> None:
        """Start a worker that was killed or crashed again, unless nothing was finished since it was started."""
        how = (
            f"the worker of {process.name} on {self._devices[worker]} ended with exit code {process.exitcode}"
        )
        # a worker that crashes on the first thing it does would crash for ever
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


def work(job: BatchJob, shard: Shard, device: str, threads: int) -> None:
    """The process of one worker."""
    end_with_parent()
    keep_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which passes it on
    torch.set_num_threads(threads)
    status = OK
    try:
        with stoppable(signal.SIGTERM):
            counts = run_shard(job, shard, device, lambda row: None, FinishedItems(job.files.out))
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
