"""Processes: stopped by signals, ended with their parent, with standard streams that may be closed or break.

And the cores that they may use, the memory that they have.
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

from vidjacobi.errors import InvalidArgument

INTERRUPTED = "vidjacobi: interrupted; what was finished is kept"
# Where Linux says what memory this process has, and the lines that are read.
STATUS, COUNTED = Path("/proc/self/status"), ("VmHWM", "RssAnon", "RssFile")


class Stopped(BaseException):
    """A signal asked this process to stop. No Exception: nothing that handles bad episodes may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """Exit status: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Raise Stopped in the main thread at the first of these signals; the second one ends the process at once.

    ``numbers``: SIGINT and SIGTERM unless others are given.
    """
    numbers = numbers or (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(number: int, frame: FrameType | None) -> None:
        for one in numbers:  # a second signal must end even a process that hangs while it stops
            signal.signal(one, signal.SIG_DFL)
        raise Stopped(number)

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_in_words() -> None:
    """From now on Ctrl-C while torch is being imported ends this process, with words and status 130.

    KeyboardInterrupt, which it raises at any other time, would be thrown through the C++ code that starts torch, and
    abort the process. Where SIGINT is ignored or has a handler, it keeps that.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        spec = getattr(sys.modules.get("torch"), "__spec__", None)
        if getattr(spec, "_initializing", False):
            with suppress(OSError):  # a standard error that is closed
                os.write(2, f"{INTERRUPTED}\n".encode())
            os._exit(128 + number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def end_with_parent() -> None:
    """From now on end this worker as soon as its parent ends: a run that was killed must not keep computing."""
    from multiprocessing import parent_process  # which the processes of most commands do without

    parent = parent_process()
    if parent is None:
        raise RuntimeError("only a process that multiprocessing started has a parent to end with")

    def wait() -> None:
        parent.join()
        os._exit(1)  # at once: other threads may hang in a library

    Thread(target=wait, daemon=True).start()


class _Output(io.FileIO):
    """Standard output or error. What can no longer be written is dropped, and the work goes on.

    Attributes:
        failed: why something could not be written.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.failed: OSError | None = None

    def write(self, data: Any, /) -> int:
        """As that of a file, but for errors."""
        if self.failed is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failed = error
        return memoryview(data).nbytes


def keep_standard_streams() -> None:
    """From now on this process works on where a standard stream is closed, its reader leaves, or its disk is full.

    Call it before any file is opened: the first one would get the number of a stream that is closed, and what
    libraries and other processes print would end up in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)  # its number is the lowest that is free
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, "w" if number else "r", closefd=False))
        elif number:
            setattr(sys, name, _kept(getattr(sys, name), number))


def _kept(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    """A stream like this one, which never fails."""
    raw = _Output(number)
    unbuffered = isinstance(stream.buffer, io.RawIOBase)  # python -u
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # as Python itself does
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=unbuffered,
    )


def lost_output() -> str | None:
    """Why a part of standard output could not be written, in words; a reader that left had what it wanted."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", getattr(sys.stdout, "buffer", None))
    failed = raw.failed if isinstance(raw, _Output) else None
    return None if failed is None or failed.errno == errno.EPIPE else failed.strerror or str(failed)


def check_workers(workers: int) -> None:
    """Refuse more processes than a machine can start without grinding to a halt. Raises InvalidArgument."""
    cores = available_cores()
    most = max(16, 4 * cores)
    if workers > most:
        raise InvalidArgument(
            f"workers must be at most {most} on this machine, which has {cores} cores, not {workers}"
        )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def process_memory() -> dict[str, int]:
    """Bytes of this process, as Linux counts them. Raises InvalidArgument on other systems.

    ``VmHWM``: most at once so far. ``RssAnon``: its own, now. ``RssFile``: pages of mapped files, which the system
    may take back, now.
    """
    if not STATUS.is_file():
        raise InvalidArgument(f"{STATUS} is not there: memory of processes is only read on Linux")
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return {name[:-1]: 1024 * int(rest[0]) for name, *rest in lines if name[:-1] in COUNTED}
