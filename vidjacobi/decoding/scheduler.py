"""Clips from a queue: a row that is free goes to the next one, or batch after batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from vidjacobi.decoding.group import Group
from vidjacobi.decoding.jacobi import Batch, Retired, parts_of
from vidjacobi.decoding.prefill import Prefilled, begin, prefill
from vidjacobi.decoding.state import Problem
from vidjacobi.decoding.trace import Decoded, clip_of
from vidjacobi.errors import BadModelOutput, VidjacobiError
from vidjacobi.models.protocol import Cache, has_free_rows
from vidjacobi.runtime import Clock


@dataclass(frozen=True)
class Order:
    """Futures of one context: the clips of ``problem``, whose ``room`` is that of the whole queue.

    ``key`` is the caller's, who finds it in ``Done``.
    """

    key: Any
    problem: Problem


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


def continuous_batching(orders: Orders, rows: int) -> Iterator[Done]:
    """Decode with at most ``rows`` clips at a time; a clip that is finished makes room for the next between passes.

    Orders are taken when a row is free. The model must have free rows (``vidjacobi.models.protocol.has_free_rows``).
    """
    counter = Counter(orders)
    batch: Batch | None = None
    while True:
        while (batch is None or batch.seated < rows) and (found := counter.next()):
            if isinstance(found, Done):
                yield found
                continue
            batch = batch or Batch(found.order.problem, rows)
            found.seat(batch)
        if batch is None or not batch.seated:
            if counter.closed:
                return
            continue
        for landed in batch.step():
            yield from each_of(landed, batch.parts.guarantee)


def each_of(landed: Retired, guarantee: str) -> Iterator[Done]:
    """The clips that left a batch, one by one."""
    group = landed.group
    whole = None if landed.error else group.decoded(guarantee)
    for clip in landed.clips:
        alone = whole and clip_of(whole, clip)
        share = group.share(alone.stats.passes if alone else len(group.passes))
        yield Done(group.key, group.names[clip], alone, landed.error, share)


class Ready:
    """An order whose context is prefilled, in a cache of one row, and its futures that have no row yet."""

    @torch.inference_mode()
    def __init__(self, order: Order) -> None:
        self.order, problem = order, order.problem
        self._parts = parts_of(problem)
        clock = Clock(problem.context.device, problem.measure)
        started = clock.now()
        self._cache: Cache = problem.model.make_cache(1, problem.context.shape[1])
        self._begun: Prefilled = prefill(problem.part([0]), self._parts.draft.keeps_probs, self._cache)
        self._waiting, self._seconds = list(range(len(problem.noise_keys))), clock.now() - started

    @property
    def waiting(self) -> int:
        """Futures without a row."""
        return len(self._waiting)

    @torch.inference_mode()
    def seat(self, batch: Batch) -> None:
        """Seat as many futures as there are free rows."""
        problem, count = self.order.problem, batch.rows - batch.seated
        clips, self._waiting = self._waiting[:count], self._waiting[count:]
        part, futures = problem.part(clips), len(problem.noise_keys)
        shared_by = [futures] * len(clips)
        group = Group(part, self._seconds, futures, shared_by, self.order.key, clips)
        first = [0] * len(clips)
        batch.seat(group, begin(part, self._parts, self._begun.rows(first)), self._cache, first)


class Counter:
    """Hands out orders that still have futures to be seated; takes a new one only when there are none left."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._ready: Ready | None = None
        self.closed = False

    def next(self) -> Ready | Done | None:
        """The order in hand or the next one; None if there is none, now or (``closed``) at all."""
        if self._ready and self._ready.waiting:
            return self._ready
        self._ready = None
        try:
            order = next(self._orders)
        except StopIteration:
            self.closed = True
            return None
        if not isinstance(order, Order):
            return order
        self._ready = Ready(order)
        return self._ready


def static_batching(run: Callable[[Problem], Decoded], orders: Orders, rows: int) -> Iterator[Done]:
    """Decode ``rows`` clips at a time, each batch to its end. An order may be spread over several batches."""
    batch: list[tuple[Order, int]] = []
    for order in orders:
        if isinstance(order, Done):
            yield order
            continue
        if order is not None:
            for clip in range(len(order.problem.noise_keys)):
                batch.append((order, clip))
                if len(batch) == rows:
                    yield from finished(run, batch)
                    batch = []
        elif batch:
            yield from finished(run, batch)
            batch = []
    if batch:
        yield from finished(run, batch)


def finished(run: Callable[[Problem], Decoded], batch: list[tuple[Order, int]]) -> Iterator[Done]:
    """Decode one batch; if the model returned no law, each clip alone, to see whose it is."""
    try:
        decoded = run(one_problem(batch))
    except BadModelOutput as error:
        if len(batch) == 1:
            yield Done(batch[0][0].key, batch[0][1], error=error)
            return
        for one in batch:
            yield from finished(run, [one])
        return
    for index, (order, clip) in enumerate(batch):
        alone = clip_of(decoded, index)
        yield Done(order.key, clip, alone, share=share_of(decoded, index))


def share_of(decoded: Decoded, index: int) -> float:
    """Seconds of one clip of a batch: those of each pass shared equally by the clips that took part."""
    part = (decoded.trace.evaluated > 0).double()
    return float((decoded.trace.seconds * part[:, index] / part.sum(1).clamp(min=1)).sum())


def one_problem(batch: list[tuple[Order, int]]) -> Problem:
    """Clips of several orders as one problem; those of one order share its prefill where the model can."""
    parts = [order.problem.part([clip]) for order, clip in batch]
    lengths, counts = (torch.cat([getattr(part, name) for part in parts]) for name in ("starts", "ends"))
    keys = [id(order) for order, _ in batch]
    shares = len(set(keys)) < len(keys) and has_free_rows(parts[0].model)
    return Problem(
        model=parts[0].model,
        context=torch.nn.utils.rnn.pad_sequence([part.context[0] for part in parts], True),
        new_tokens=max(part.new_tokens for part in parts),
        sampling=parts[0].sampling,
        window=parts[0].window,
        seed=parts[0].seed,
        noise_keys=torch.cat([part.noise_keys for part in parts]),
        parts=parts[0].parts,
        lengths=lengths if len({part.context.shape[1] for part in parts}) > 1 else None,
        counts=counts - lengths if len({part.new_tokens for part in parts}) > 1 else None,
        sources=tuple(keys.index(key) for key in keys) if shares else None,
        measure=parts[0].measure,
    )
