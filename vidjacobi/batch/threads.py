"""What the threads of a pipeline share: bounded queues, a cancel token, and the number of rows decoded at a time."""

import time
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
_LOOK = 0.05  # seconds between looks at the cancel token
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Cancelled(Exception):
    """Another thread has failed, or the run is being stopped."""


class CancelToken:
    """Stops all threads of a run; the first error is kept."""

    def __init__(self) -> None:
        self._cancelled = Event()
        self.error: BaseException | None = None

    def cancel(self, error: BaseException | None = None) -> None:
        """Stop all threads at their next ``check``."""
        if not self._cancelled.is_set():  # what the others raise because of it is not the reason
            self.error = error
            self._cancelled.set()

    def check(self) -> None:
        """Raise Cancelled after ``cancel`` was called."""
        if self._cancelled.is_set():
            raise Cancelled


class BoundedQueue(Generic[T]):
    """At most ``size`` things (0: any number) on their way from one thread to another.

    None marks the end. Attributes: ``ended`` is True once the reader has seen it.
    """

    def __init__(self, size: int, cancel: CancelToken) -> None:
        self._queue: Queue[T | None] = Queue(size)
        self._cancel = cancel
        self.ended = False

    def put(self, thing: T | None) -> None:
        """Add a thing, waiting for room. Raises Cancelled."""
        while True:  # a wait without end could not be cancelled
            self._cancel.check()
            try:
                return self._queue.put(thing, timeout=_LOOK)
            except Full:
                continue

    def end(self) -> None:
        """Say that nothing follows."""
        self.put(None)

    def __len__(self) -> int:
        """About how many are on their way."""
        return self._queue.qsize()

    def ready(self) -> T | None:
        """The next thing, None if there is none now, or ever (``ended``)."""
        if self.ended:
            return None
        try:
            thing = self._queue.get_nowait()
        except Empty:
            return None
        self.ended = thing is None
        return thing

    def __iter__(self) -> Iterator[T]:
        """All things to the end, those that were put before the cancellation included. Raises Cancelled."""
        while not self.ended:
            try:
                thing = self._queue.get(timeout=_LOOK)
            except Empty:
                self._cancel.check()
                continue
            if thing is None:
                self.ended = True
            else:
                yield thing


def in_thread(name: str, work: Callable[[], None], cancel: CancelToken) -> Thread:
    """Start a thread whose error cancels all others."""

    def guarded() -> None:
        try:
            work()
        except Cancelled:
            pass
        except BaseException as error:
            cancel.cancel(error)

    # a daemon: a thread that hangs in a library must not keep the process alive
    thread = Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


class RowLimit:
    """How many futures are decoded at a time; halved when memory runs out, never raised again.

    Any thread may ask for fewer rows; the decoding thread takes the smaller number between two decodes.

    Attributes:
        now: rows that decoding uses.
        wanted: rows that it should use; smaller than ``now`` while another thread waits for memory.
    """

    def __init__(self, count: int, tell: Callable[[str], None]) -> None:
        self.now = self.wanted = count
        self._lock, self._tell = Lock(), tell

    def halve(self, why: str) -> bool:
        """Ask for half of the rows; False where there is only one left."""
        with self._lock:
            if self.wanted < self.now:
                return True  # another thread has asked already
            if self.now == 1:
                return False
            self.wanted = self.now // 2
            self._tell(f"out of memory ({why}): {self.wanted} rows instead of {self.now} from here on")
            return True

    def settle(self) -> None:
        """Take the smaller number, now that decoding has let go of its rows."""
        with self._lock:
            self.now = self.wanted
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def retrying(self, work: Callable[[], T], why: str, cancel: CancelToken) -> T:
        """Do ``work`` beside the decoding thread, which makes room for it where memory runs out. Raises Cancelled."""
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error) or not self.halve(why):
                    raise
            while self.wanted < self.now:  # until decoding has settled
                cancel.check()
                time.sleep(_LOOK)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in this process."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)
