"""Clips from a queue: a row that is free goes to the next one, or batch after batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from vidjacobi.decoding.api import METHODS
from vidjacobi.decoding.jacobi import Retired, RowBatch
from vidjacobi.decoding.prefill import Prefilled, first_state, has_free_rows, prefill
from vidjacobi.decoding.recipe import Clips, Hooks, Recipe
from vidjacobi.decoding.step import PassCompiler
from vidjacobi.decoding.trace import ClipGroup, Clock, Decoded, clip_of, finish
from vidjacobi.errors import BadModelOutput, VidjacobiError
from vidjacobi.models.protocol import Cache, VideoModel
from vidjacobi.registry import lookup


@dataclass(frozen=True)
class Order:
    """Futures of one context. ``key`` is the caller's, who finds it in ``Done``."""

    key: Any
    clips: Clips


@dataclass(frozen=True)
class Done:
    """What became of one clip of an order: decoded, or an error (of the whole order where ``clip`` is None).

    ``share``: its seconds, those of a pass shared equally by the clips that took part.
    """

    key: Any
    clip: int | None
    decoded: Decoded | None = None
    error: VidjacobiError | None = None
    share: float = 0.0


Orders = Iterator[Order | Done | None]  # Done: refused, and handed on. None: nothing is ready yet


@dataclass(frozen=True)
class Job:
    """What all orders of a queue have in common. ``batch``: where tests hand in a broken one."""

    method: str
    recipe: Recipe
    hooks: Hooks
    batch: type[RowBatch] = RowBatch


def decode_orders(job: Job, orders: Orders, rows: int) -> Iterator[Done]:
    """Decode with at most ``rows`` clips at a time: rows are refilled at once where method and model can."""
    serve = continuous_batching if refills(job.method, job.recipe.model) else static_batching
    return serve(job, orders, rows)


def refills(method: str, model: VideoModel) -> bool:
    """Whether a free row takes the next clip at once. Compiled passes keep their rows to the end."""
    return method == "jacobi" and has_free_rows(model) and not isinstance(model, PassCompiler)


def continuous_batching(job: Job, orders: Orders, rows: int) -> Iterator[Done]:
    """Decode with at most ``rows`` clips at a time; a finished clip makes room for the next between two passes.

    Orders are taken when a row is free. The model must have free rows (``prefill.has_free_rows``).
    """
    waiting = WaitingOrders(job, orders)
    batch = job.batch(job.recipe, rows, job.hooks)
    while True:
        # Free rows are filled before each pass: a step that retires clips runs none.
        while batch.active < rows and (found := waiting.next()):
            if isinstance(found, Done):
                yield found
            else:
                found.admit(batch)
        if not batch.active:
            # Nothing is in flight. Unless the queue has ended it said None, and is asked again.
            if waiting.closed:
                return
            continue
        for retired in batch.step():
            yield from each_of(retired, job.recipe.guarantee)


def each_of(retired: Retired, guarantee: str) -> Iterator[Done]:
    """The clips that left a batch, one by one."""
    group = retired.group
    whole = None if retired.error else group.decoded(guarantee)
    for clip in retired.clips:
        alone = whole and clip_of(whole, clip)
        share = group.share(alone.stats.passes if alone else len(group.passes))
        yield Done(group.key, group.names[clip], alone, retired.error, share)


class PrefilledOrder:
    """An order whose context is prefilled, in a cache of one row, and its futures that have no row yet."""

    @torch.inference_mode()
    def __init__(self, job: Job, order: Order) -> None:
        self._recipe, self._order, clips = job.recipe, order, order.clips
        clock = Clock(clips.context.device, job.hooks.measure)
        began = clock.now()
        self._cache: Cache = job.recipe.model.make_cache(1, clips.context.shape[1])
        self._prefilled: Prefilled = prefill(job.recipe, clips.select([0]), self._cache)
        self._waiting, self._seconds = list(range(len(clips))), clock.now() - began

    @property
    def waiting(self) -> int:
        """Futures without a row."""
        return len(self._waiting)

    @torch.inference_mode()
    def admit(self, batch: RowBatch) -> None:
        """Give rows to as many futures as there are free rows."""
        count, futures = batch.rows - batch.active, len(self._order.clips)
        names, self._waiting = self._waiting[:count], self._waiting[count:]
        clips, first = self._order.clips.select(names), [0] * len(names)
        group = ClipGroup(clips, self._seconds, futures, [futures] * len(names), self._order.key, names)
        batch.admit(group, first_state(self._recipe, clips, self._prefilled.rows(first)), self._cache, first)


class WaitingOrders:
    """Hands out orders that still have futures without a row; takes a new one only when there are none left."""

    def __init__(self, job: Job, orders: Orders) -> None:
        self._job, self._orders = job, orders
        self._current: PrefilledOrder | None = None
        self.closed = False

    def next(self) -> PrefilledOrder | Done | None:
        """The order in hand or the next one; None if there is none, now or (``closed``) at all."""
        if self._current and self._current.waiting:
            # Its futures come first, so that at most one prefilled context waits in memory.
            return self._current
        self._current = None
        try:
            order = next(self._orders)
        except StopIteration:
            self.closed = True
            return None
        if not isinstance(order, Order):
            return order
        self._current = PrefilledOrder(self._job, order)
        return self._current


Run = Callable[[Clips], Decoded]


def static_batching(job: Job, orders: Orders, rows: int) -> Iterator[Done]:
    """Decode ``rows`` clips at a time, each batch to its end. An order may be spread over several batches."""
    method = lookup("method", job.method, METHODS)
    shares = has_free_rows(job.recipe.model)
    run = partial(decode_batch, lambda clips: finish(method(job.recipe, clips, job.hooks)), shares)
    batch: list[tuple[Order, int]] = []
    for order in orders:
        if isinstance(order, Done):
            yield order
            continue
        if order is not None:
            for clip in range(len(order.clips)):
                batch.append((order, clip))
                if len(batch) == rows:
                    yield from run(batch)
                    batch = []
        elif batch:
            # Nothing more is ready: those at hand do not wait until their batch is full.
            yield from run(batch)
            batch = []
    if batch:
        yield from run(batch)


def decode_batch(run: Run, shares: bool, batch: list[tuple[Order, int]]) -> Iterator[Done]:
    """Decode one batch; if the model returned no distribution, each clip alone, to see whose it is."""
    try:
        decoded = run(one_batch(batch, shares))
    except BadModelOutput as error:
        if len(batch) == 1:
            yield Done(batch[0][0].key, batch[0][1], error=error)
            return
        for one in batch:
            yield from decode_batch(run, shares, [one])
        return
    for index, (order, clip) in enumerate(batch):
        alone = clip_of(decoded, index)
        yield Done(order.key, clip, alone, share=share_of(decoded, index))


def share_of(decoded: Decoded, index: int) -> float:
    """Seconds of one clip of a batch: those of each pass shared equally by the clips that took part."""
    # A pass of 0.6 s in which 3 of 4 clips took part costs each of these three 0.2 s.
    part = (decoded.trace.evaluated > 0).double()
    return float((decoded.trace.seconds * part[:, index] / part.sum(1).clamp(min=1)).sum())


def one_batch(batch: list[tuple[Order, int]], shares: bool) -> Clips:
    """Clips of several orders in one record; those of one order share its prefill where the model ``shares``."""
    # Clips of the orders A A B: the sources are 0 0 2, and 0 and 2 are fed.
    keys = [id(order) for order, _ in batch]
    sources = [keys.index(key) for key in keys] if shares and len(set(keys)) < len(keys) else None
    return Clips.cat([order.clips.select([clip]) for order, clip in batch], sources)
