"""Processes: stopped by signals, ended with their parent, counted by the cores that they may use."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from threading import Thread
from types import FrameType


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


def end_with_parent() -> None:
    """From now on end this worker as soon as its parent ends: a run that was killed must not keep computing."""
    parent = parent_process()
    if parent is None:
        raise RuntimeError("only a process that multiprocessing started has a parent to end with")

    def wait() -> None:
        parent.join()
        os._exit(1)  # at once: other threads may hang in a library

    Thread(target=wait, daemon=True).start()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
