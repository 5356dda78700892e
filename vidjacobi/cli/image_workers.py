"""``vidjacobi image`` with several processes, each on a device of its own, that fill one folder."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from vidjacobi.batch.devices import common_dtype, worker_devices
from vidjacobi.cli.image_model import named
from vidjacobi.cli.image_pictures import Output, Part, make_part, make_pictures, tell_end
from vidjacobi.cli.rollout_clips import ProgressBar
from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.config.image import ImageConfig
from vidjacobi.decoding.api import strategies_of
from vidjacobi.errors import InvalidArgument, VidjacobiError
from vidjacobi.output.run_folder import removed_if_empty
from vidjacobi.pictures.files import check_folder, empty
from vidjacobi.pictures.prompt_list import Entry
from vidjacobi.processes import (
    Stopped,
    available_cores,
    check_workers,
    end_with_parent,
    keep_standard_streams,
    stoppable,
)


def make_with_workers(
    config: ImageConfig,
    decoder: DecoderConfig,
    entries: Sequence[Entry],
    output: Output,
    notes: Sequence[str] = (),
) -> tuple[dict[str, Any], int]:
    """``make_pictures``, by as many processes as ``config`` asks for: the same files, whoever makes which.

    Raises VidjacobiError, also where a process ended before its work did; what was finished is kept.
    """
    if config.workers is None and config.devices is None:
        return make_pictures(config, decoder, entries, output, notes)
    if config.devices is not None and config.device != "auto":
        raise InvalidArgument("give --device for one process or --devices for one on each, not both")
    if config.workers is not None:
        if config.workers < 1:
            raise InvalidArgument(f"workers must be at least 1, not {config.workers}")
        check_workers(config.workers)
    devices = worker_devices(config.devices or config.device, config.workers)
    common_dtype(devices, config.dtype)
    if len(devices) == 1:
        return make_pictures(replace(config, device=devices[0]), decoder, entries, output, notes)
    strategies_of(decoder)
    named(config.model)  # fetches a repository once, before all ask for it
    with removed_if_empty(output.folder), ProgressBar("image", len(devices), output.quiet) as bar:
        for note in notes:
            bar.say(f"note: {note}")
        check_folder(output.folder, output.resume, output.overwrite)
        if output.overwrite:
            empty(output.folder)
        job = Job(config, decoder, entries, replace(output, resume=True, overwrite=False))
        found, status = Workers(job, devices, bar).run()
        if status == 0:
            tell_end(output.folder, bar)
    return {"out": str(output.folder), **found}, status


@dataclass(frozen=True)
class Job:
    """What every process is told."""

    config: ImageConfig
    decoder: DecoderConfig
    entries: Sequence[Entry]
    output: Output


class Line:
    """In the place of a progress bar: what a process says goes to its parent."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent

    def __call__(self, progress: Any) -> None:
        """Nothing: bars of several processes would lie over each other."""

    def say(self, line: str) -> None:
        """For standard error."""
        self._parent.send(("say", line))

    def say_done(self, line: str) -> None:
        """For standard output."""
        self._parent.send(("say_done", line))


class Workers:
    """Processes, one per device, and what they say until they have ended."""

    def __init__(self, job: Job, devices: Sequence[str], bar: ProgressBar) -> None:
        self._devices, self._bar = devices, bar
        self._said: set[str] = set()
        self._ended: list[tuple[dict[str, Any], int]] = []
        self._threads = max(1, available_cores() // len(devices))
        self._running = dict(self._start(job, index) for index in range(len(devices)))

    def _start(self, job: Job, index: int) -> tuple[Connection, tuple[int, BaseProcess]]:
        context = get_context("spawn")
        here, there = context.Pipe(duplex=False)
        arguments = (job, index, len(self._devices), self._devices[index], self._threads, there)
        process = context.Process(target=work, args=arguments)
        process.start()
        there.close()  # so that its end is heard
        return here, (index, process)

    def run(self) -> tuple[dict[str, Any], int]:
        """The summary of all, and the exit status. Raises VidjacobiError where one had to give up."""
        status = 0
        try:
            with stoppable(), self._ending():
                while self._running:
                    self._hear()
        except Stopped as stopped:
            self._bar.say(f"stopped by {stopped}; what was finished is kept, the same command resumes")
            status = stopped.status
        outputs = sorted((one for found, _ in self._ended for one in found["outputs"]), key=_first_file)
        there = sum(found.get("there", 0) for found, _ in self._ended)
        return {"there": there, "new": len(outputs), "outputs": outputs}, status

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """After the block, however it ends, ask those that still run to stop, and hear what they say until then."""
        try:
            yield
        finally:
            for _, process in self._running.values():
                process.terminate()
            while self._running:
                self._hear(stopping=True)

    def _hear(self, stopping: bool = False) -> None:
        for connection in wait(list(self._running)):
            assert isinstance(connection, Connection)
            try:
                kind, what = connection.recv()
            except EOFError:
                self._end(connection, stopping)
                continue
            if kind == "ended":
                self._ended.append(what)
            elif kind == "error" and not stopping:
                raise VidjacobiError(what)
            elif kind == "say_done":
                self._bar.say_done(what)
            elif what not in self._said:  # notes on the model are the same from all
                self._said.add(what)
                self._bar.say(what)

    def _end(self, connection: Connection, stopping: bool) -> None:
        index, process = self._running.pop(connection)
        process.join()
        connection.close()
        if process.exitcode and not stopping:
            raise VidjacobiError(
                f"the worker on {self._devices[index]} ended with exit code {process.exitcode}; what was finished is "
                "kept, the same command resumes"
            )


def _first_file(summary: dict[str, Any]) -> str:
    return str(summary["files"][0])


def work(job: Job, index: int, count: int, device: str, threads: int, parent: Connection) -> None:
    """The process of one worker."""
    end_with_parent()
    keep_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which passes it on
    torch.set_num_threads(threads)
    config = replace(job.config, device=device, devices=None, workers=None)
    part = Part(index, count, Line(parent), (signal.SIGTERM,))
    try:
        parent.send(("ended", make_part(config, job.decoder, job.entries, job.output, part)))
    except VidjacobiError as error:
        parent.send(("error", f"{device}: {error}"))
