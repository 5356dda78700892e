"""Futures under way: what decoding draws its requests from, and from decided tokens to frames or the next chunk."""

import time
from collections import deque
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.batch.contexts import EncodedContext
from vidjacobi.batch.future_files import FutureContent
from vidjacobi.batch.manifest import Item, ManifestRow
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.batch.threads import BoundedQueue, CancelToken, RowLimit
from vidjacobi.decoding.clip_queue import Failed, Finished, Request
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.loading import Pair
from vidjacobi.models.codec import frames_to_tokens, tokens_to_frames
from vidjacobi.models.protocol import flatten
from vidjacobi.models.tokenizer import latent_frames
from vidjacobi.rollouts.chunks import Chunk, next_context, plan_chunks
from vidjacobi.shapes import Frames

BACKLOG = 4  # decided futures that wait to be written; with more of them nothing new begins
_LOOK = 0.02  # seconds between looks where nothing is ready


@dataclass(eq=False)
class Future:
    """One sample of a context, with the numbers and tokens of the chunks that are decided so far.

    Attributes:
        decided: new tokens of each chunk.
        grids: latent grids of each chunk, without what the one before had too.
        frames: predicted frames of each chunk, where frames are wanted.
        nfe, seconds: passes and share of the wall time of decoding.
        seconds_frames: wall time of turning tokens into frames.
    """

    context: EncodedContext
    sample: int
    decided: list[Int[Tensor, " n"]] = field(default_factory=list)
    grids: list[Int[Tensor, "t h w"]] = field(default_factory=list)
    frames: list[Frames] = field(default_factory=list)
    nfe: int = 0
    seconds: float = 0.0
    seconds_frames: float = 0.0

    @property
    def item(self) -> Item:
        """Its row of the manifest."""
        return Item(self.context.task.episode.id, self.context.task.start, self.sample)

    def content(self, config: BatchConfig) -> FutureContent:
        """What is kept of it, once it is finished."""
        frames = torch.cat([self.context.seen, *self.frames]) if config.output != "tokens" else None
        grid, given = torch.cat(self.grids), len(self.context.grid)
        return FutureContent(grid, given, frames, self.context.fps, self.context.actions)

    def row(self) -> ManifestRow:
        """Its row of the manifest, without paths."""
        tokens = sum(map(len, self.decided))
        return replace(
            self.context.row(self.sample),
            tokens_sha256=hash_tokens(self.decided),
            nfe=self.nfe,
            new_tokens=tokens,
            tokens_per_pass=tokens / self.nfe,
            seconds=self.seconds,
            seconds_frames=self.seconds_frames,
        )


def chunks_of(config: BatchConfig, pair: Pair) -> list[Chunk]:
    """The chunks of every future: those of ``vidjacobi.rollout``. Raises InvalidArgument."""
    return plan_chunks(config.context, config.frames, pair[1])


def most_positions(config: BatchConfig, pair: Pair) -> int:
    """Positions of the longest chunk, special tokens included."""
    model, tokenizer = pair
    latents = [latent_frames(chunk.context, tokenizer) + chunk.latents for chunk in chunks_of(config, pair)]
    return len(model.prefix_tokens) + max(latents) * model.grid_for(1).frame_tokens


def first_chunk(context: EncodedContext, config: BatchConfig, pair: Pair) -> Request:
    """The request for all futures of a context, which ``vidjacobi.rollout`` makes with this episode id and start."""
    task = context.task
    return Request(
        flatten(pair[0], context.grid[None])[0],
        chunks_of(config, pair)[0].latents * context.grid[0].numel(),
        task.episode.id,
        list(task.samples),
        task.start,
        note=context,
    )


@torch.inference_mode()
def advance(future: Future, finished: Finished, config: BatchConfig, pair: Pair) -> Request | None:
    """Take in a decoded chunk: turn it into frames where they are wanted; the request of the next chunk, if any.

    The future is left as it was where memory runs out, so that this can be tried again.
    """
    began = time.perf_counter()
    model, tokenizer = pair
    request, decoded = finished.request, finished.decoded
    chunks = chunks_of(config, pair)
    chunk, later = chunks[request.chunk], chunks[request.chunk + 1 :]
    shape = (-1, *future.context.grid.shape[1:])
    given = request.context[len(model.prefix_tokens) :].unflatten(0, shape).to(model.device)
    grid = torch.cat([given, decoded.tokens[0].to(model.device).unflatten(0, shape)])
    frames, following = [], None
    if later or config.output != "tokens":
        frames = [tokens_to_frames(grid, tokenizer, chunk.context, chunk.count)]
    if later:
        known = torch.cat([future.context.seen, *future.frames, *frames])
        # alone, not with other futures: beside them its tokens could differ
        encoded = frames_to_tokens([next_context(known, tokenizer)], tokenizer)
        following = replace(
            request,
            context=flatten(model, encoded)[0],
            new_tokens=later[0].latents * encoded[0, 0].numel(),
            samples=[future.sample],
            chunk=later[0].number,
            note=future,
        )
    future.frames += frames
    future.decided.append(decoded.tokens[0].cpu())
    future.grids.append((grid if chunk.number == 0 else grid[len(given) :]).cpu())
    future.nfe += decoded.stats.nfe[0]
    future.seconds += finished.share
    future.seconds_frames += time.perf_counter() - began
    return following


class MakeRoom(MemoryError):
    """Another thread needs memory: decoding is to begin again with fewer rows."""


class RequestFeed:
    """The iterable that ``decode_each`` draws requests from.

    It belongs to the decoding thread; other threads call only ``follow`` and ``close``.

    Args:
        contexts: requests of first chunks, whose note is an EncodedContext.
        decided: what is decided and not written yet; while there is much of it, nothing new begins.
        waits: rows are not refilled one by one, so a batch waits until it is full.
    """

    def __init__(
        self,
        contexts: BoundedQueue[Request],
        decided: Sized,
        rows: RowLimit,
        cancel: CancelToken,
        waits: bool,
    ) -> None:
        self._contexts, self._decided, self._rows = contexts, decided, rows
        self._cancel, self._waits = cancel, waits
        # Next chunks, and what was lost when memory ran out; they come before new contexts.
        self._first: deque[Request] = deque()
        self._in_flight: dict[int, tuple[Request, set[int]]] = {}  # by id, with the samples not yet decided
        self._open = 0  # futures that were taken and are neither written nor failed
        self._lock = Lock()

    def __iter__(self) -> Iterator[Request | None]:
        while True:
            self._cancel.check()
            if self._rows.wanted < self._rows.now:
                raise MakeRoom
            request = self._first.popleft() if self._first else self._new()
            if request is not None:
                self._in_flight[id(request)] = (request, set(request.numbers))
                yield request
            elif self._contexts.ended and not self._open:
                return
            elif self._in_flight and (not self._waits or self._nothing_comes()):
                yield None  # nothing now: decode on with the rows that are full
            else:
                time.sleep(_LOOK)

    def take(self, result: Finished | Failed) -> list[Future]:
        """Take note of a result; the futures that it is about."""
        request, numbers = self._in_flight[id(result.request)]
        gone = set(numbers) if result.sample is None else {result.sample}
        numbers -= gone
        if not numbers:
            del self._in_flight[id(request)]
        return [_future(request, sample) for sample in sorted(gone)]

    def follow(self, request: Request) -> None:
        """Hand in the next chunk of a future, or what was lost."""
        self._first.append(request)

    def close(self, futures: int = 1) -> None:
        """Say that so many futures are written, or have failed for good."""
        with self._lock:
            self._open -= futures

    def lost(self) -> list[Request]:
        """What was in flight when decoding broke off, as requests of what is missing of it."""
        left = [replace(request, samples=sorted(numbers)) for request, numbers in self._in_flight.values()]
        self._in_flight.clear()
        return left

    def _new(self) -> Request | None:
        if len(self._decided) > BACKLOG:
            return None
        request = self._contexts.ready()
        if request is not None:
            with self._lock:
                self._open += len(request.numbers)
        return request

    def _nothing_comes(self) -> bool:
        """Whether all open futures are in flight and there are no more contexts."""
        flying = sum(len(numbers) for _, numbers in self._in_flight.values())
        return self._contexts.ended and flying == self._open and not self._first


def futures_of(request: Request) -> list[Future]:
    """The futures that a request is about."""
    return [_future(request, sample) for sample in request.numbers]


def _future(request: Request, sample: int) -> Future:
    note: Any = request.note  # a later chunk notes its future, a first one its context
    return note if isinstance(note, Future) else Future(note, sample)
