"""Threads side by side: bounded lines between them, and one brake for all."""

from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
_LOOK = 0.05  # seconds between looks at the brake


class Halted(Exception):
    """Another thread has failed, or the run is being stopped."""


class CancelToken:
    """Stops all threads of a run; the first error is kept."""

    def __init__(self) -> None:
        self._pulled = Event()
        self.error: BaseException | None = None

    def pull(self, error: BaseException | None = None) -> None:
        """Stop everybody."""
        if not self._pulled.is_set():
            self.error = error
            self._pulled.set()

    def check(self) -> None:
        """Raise Halted once it was pulled."""
        if self._pulled.is_set():
            raise Halted


class Line(Generic[T]):
    """At most ``size`` things (0: any number) on their way from one thread to another; ``end`` is the last."""

    def __init__(self, size: int, brake: CancelToken) -> None:
        self._queue: Queue[T | None] = Queue(size)
        self._brake = brake
        self.ended = False  # as the reader sees it

    def put(self, thing: T | None) -> None:
        """Wait for room. Raises Halted."""
        while True:
            self._brake.check()
            try:
                return self._queue.put(thing, timeout=_LOOK)
            except Full:
                continue

    def end(self) -> None:
        """Nothing follows."""
        self.put(None)

    def __len__(self) -> int:
        """How many are on their way, about."""
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
        """All things to the end, those before the brake was pulled included."""
        while not self.ended:
            try:
                thing = self._queue.get(timeout=_LOOK)
            except Empty:
                self._brake.check()
                continue
            if thing is None:
                self.ended = True
            else:
                yield thing


def in_thread(name: str, work: Callable[[], None], brake: CancelToken) -> Thread:
    """Start a thread whose error stops all others."""

    def guarded() -> None:
        try:
            work()
        except Halted:
            pass
        except BaseException as error:
            brake.pull(error)

    thread = Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread
