"""What decoding is fed with: new contexts, next chunks of longer futures, and what was lost with the memory."""

import time
from collections import deque
from collections.abc import Iterator, Sized
from dataclasses import replace
from threading import Lock
from typing import Any

from vidjacobi.batch.futures import Future
from vidjacobi.batch.row_limit import Rows
from vidjacobi.batch.threads import CancelToken, Line
from vidjacobi.decoding.clip_queue import Failed, Finished, Request

BACKLOG = 4  # futures that wait to be written, beside those in flight
_LOOK = 0.02  # seconds between looks where nothing is ready


class MakeRoom(MemoryError):
    """Another thread needs memory: decoding is to begin again with fewer rows."""


class Feed:
    """The iterable that ``decode_each`` draws requests from; the main thread's, but for ``follow`` and ``close``.

    Args:
        contexts: requests of first chunks, whose note is a Context.
        landed: what is decided and not yet written; while there is much of it, nothing new begins.
        waits: rows are not refilled one by one, so a batch waits until it is full.
    """

    def __init__(
        self, contexts: Line[Request], landed: Sized, rows: Rows, brake: CancelToken, waits: bool
    ) -> None:
        self._contexts, self._landed, self._rows = contexts, landed, rows
        self._brake, self._waits = brake, waits
        self._first: deque[Request] = deque()  # next chunks, and what was lost; before new contexts
        self._flying: dict[int, tuple[Request, set[int]]] = {}
        self._open = 0  # futures taken and not closed
        self._lock = Lock()

    def __iter__(self) -> Iterator[Request | None]:
        while True:
            self._brake.check()
            if self._rows.wanted < self._rows.now:
                raise MakeRoom
            request = self._first.popleft() if self._first else self._new()
            if request is not None:
                self._flying[id(request)] = (request, set(request.numbers))
                yield request
            elif self._contexts.ended and not self._open:
                return
            elif self._flying and (not self._waits or self._nothing_comes()):
                yield None
            else:
                time.sleep(_LOOK)

    def landed(self, result: Finished | Failed) -> list[Future]:
        """Take note of a result: the futures that it is about."""
        request, numbers = self._flying[id(result.request)]
        gone = set(numbers) if result.sample is None else {result.sample}
        numbers -= gone
        if not numbers:
            del self._flying[id(request)]
        return [_future(request, sample) for sample in sorted(gone)]

    def follow(self, request: Request) -> None:
        """The next chunk of a future."""
        self._first.append(request)

    def close(self, futures: int = 1) -> None:
        """So many futures are written, or have failed for good."""
        with self._lock:
            self._open -= futures

    def lost(self) -> list[Request]:
        """What was in flight when decoding broke off, as requests of what is missing of it; now it flies no more."""
        left = [replace(request, samples=sorted(numbers)) for request, numbers in self._flying.values()]
        self._flying.clear()
        return left

    def _new(self) -> Request | None:
        if len(self._landed) > BACKLOG:
            return None
        request = self._contexts.ready()
        if request is not None:
            with self._lock:
                self._open += len(request.numbers)
        return request

    def _nothing_comes(self) -> bool:
        """Whether all futures that are open are in flight, and there are no more contexts."""
        flying = sum(len(numbers) for _, numbers in self._flying.values())
        return self._contexts.ended and flying == self._open and not self._first


def futures_of(request: Request) -> list[Future]:
    """The futures that a request is about."""
    return [_future(request, sample) for sample in request.numbers]


def _future(request: Request, sample: int) -> Future:
    note: Any = request.note
    return note if isinstance(note, Future) else Future(note, sample)
