"""Where nuclei end, found on a CPU by sorting only tokens that can be inside.

Rows are taken a few at a time, so that what is written down for them stays in a core's cache, and memory beside
the logits is small whatever the window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.sampling.probs import SamplingParams, exp_of, fixed_point_scale, to_fixed_point
from vidjacobi.sampling.truncated_probs import SparseRows, TruncatedProbs

BLOCK = 1 << 18  # logits at a time while nuclei are cut
DRAW = 1 << 19  # tokens at a time while some are drawn
KEPT = 1 << 20  # most tokens of nuclei that are written down from the cut to the last draw
# Where nuclei ended in the last pass of a kind, as ``Block.end``: a first guess. Nuclei are the same with any guess.
ENDS: dict[tuple[object, ...], float] = {}
KINDS_KEPT = 64
MARGIN = 0.05  # tokens are looked for that are so many nats less likely than any inside a nucleus so far


def joined(parts: list[SparseRows]) -> SparseRows:
    """Rows of several records in one, in this order."""
    counts = np.concatenate([part.counts for part in parts])
    return SparseRows(
        np.concatenate([part.rows for part in parts]),
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.probs for part in parts]),
        counts,
    )


def cut(probs: TruncatedProbs, sampling: SamplingParams) -> TruncatedProbs:
    """The top-p (and top-k) cutoffs: with floors, totals and, unless they are too many, the tokens inside."""
    count = probs.logits.shape[1]
    peaks = probs.peak.numpy()
    floors, totals = [peaks[:0, 0]], [peaks[:0, 0]]
    kept: list[SparseRows] = []
    kind = probs.vocab_size, sampling.divisor, sampling.top_p, sampling.top_k
    found, least = 0, ENDS[kind] if kind in ENDS else expected_end(probs, sampling)
    ends: list[float] = []
    # Where too many are inside, none are handed on: draws find them again, some rows at a time (``portions``).
    for at in blocks(*probs.logits.shape):
        block = cut_block(
            probs.logits[at].flatten(0, 1).to(probs.dtype), peaks[at].reshape(-1, 1), sampling, least
        )
        if found <= KEPT:
            kept.append(block.inside(at[0].start * count + at[1].start))
            found += len(kept[-1].ids)
        floors.append(block.floor)
        totals.append(block.total)
        # Nuclei end about alike: the next block looks down to the lowest end so far before it looks further.
        ends.append(block.end())
        least = min(least, ends[-1])
    if len(ENDS) >= KINDS_KEPT:
        ENDS.clear()
    if ends:
        ENDS[kind] = min(ends)
    return replace(
        probs,
        floor=torch.from_numpy(np.concatenate(floors)).view_as(probs.peak),
        total=torch.from_numpy(np.concatenate(totals)).view_as(probs.peak),
        sparse_rows=tuple(in_portions(kept)) if found <= KEPT else None,
    )


def expected_end(probs: TruncatedProbs, sampling: SamplingParams) -> float:
    """Where the first row's nucleus ends, as ``Block.end``: so the others' are looked for at first."""
    if not probs.peak.numel():
        return 0.0
    first = probs.logits[0, :1].to(probs.dtype)
    return cut_block(first, probs.peak[0, :1].numpy(), sampling, None).end()


def blocks(clips: int, count: int, vocab_size: int) -> Iterator[tuple[slice, slice]]:
    """Clips and rows in order, about ``BLOCK`` logits at a time: some rows of one clip, or some whole clips."""
    most = max(1, BLOCK // vocab_size)
    # 2^18 logits are 4 rows of 64,000 tokens, a part of one clip, or 262 rows of 1,000: 16 clips of 16 rows.
    together = max(1, most // max(1, count))
    for clip in range(0, clips, together):
        for first in range(0, count, most):
            yield slice(clip, min(clip + together, clips)), slice(first, min(first + most, count))


def in_portions(parts: list[SparseRows]) -> Iterator[SparseRows]:
    """Rows joined into records of about ``DRAW`` tokens."""
    waiting: list[SparseRows] = []
    tokens = 0
    for part in parts:
        waiting.append(part)
        tokens += len(part.ids)
        if tokens >= DRAW:
            yield joined(waiting)
            waiting, tokens = [], 0
    if waiting:
        yield joined(waiting)


@dataclass(frozen=True)
class Likely:
    """Tokens that may be inside, of a few rows.

    Attributes:
        flat: where they stand in all rows laid end to end.
        counts: of each row.
        values: their logits.
    """

    flat: Int[np.ndarray, " m"]
    counts: Int[np.ndarray, " r"]
    values: Float[np.ndarray, " m"]

    def falling(self) -> Float[np.ndarray, "r k"]:
        """The logits of each row in falling order, then -inf."""
        table = np.full((len(self.counts), max(1, self.counts.max())), np.inf, self.values.dtype)
        table[np.arange(table.shape[1]) < self.counts[:, None]] = -self.values
        table.sort(-1)
        return np.negative(table, out=table)


def likely_of(values: Float[np.ndarray, "r v"], least: Float[np.ndarray, "r 1"]) -> Likely:
    """The tokens whose logits are at least so large."""
    flat = np.flatnonzero(values >= least)
    return Likely(flat, counts_of(flat, *values.shape), values.ravel()[flat])


def counts_of(flat: Int[np.ndarray, " m"], rows: int, size: int) -> Int[np.ndarray, " r"]:
    """How many of some rising places lie in each of the rows that lie end to end."""
    # Rows begin at multiples of the vocabulary: of two rows of 3 tokens and flat = 1 4 5 the counts are 1 and 2.
    borders = np.searchsorted(flat, np.arange(rows + 1) * size)
    return borders[1:] - borders[:-1]


@dataclass(frozen=True)
class Block:
    """A few rows, small enough for a processor's cache, and where their nuclei end.

    Attributes:
        weights: exp((x - peak) / divisor) of the logits x.
        floor, total: as in ``TruncatedProbs``.
        likely: all tokens inside and some others.
        lowest: log of the share of all mass that the least likely token inside has.
    """

    weights: Float[np.ndarray, "r v"]
    floor: Float[np.ndarray, "r 1"]
    total: Float[np.ndarray, "r 1"]
    likely: Likely
    lowest: Float[np.ndarray, "r 1"]

    def end(self) -> float:
        """The lowest of ``lowest``; what is no number does not count."""
        return float(np.where(np.isfinite(self.lowest), self.lowest, 0).min())

    def inside(self, first: int) -> SparseRows:
        """The tokens inside; ``first``: the number of the first row."""
        likely, size = self.likely, len(self.floor)
        flat = likely.flat[likely.values >= np.repeat(self.floor[:, 0], likely.counts)]
        return sparse_rows_at(np.arange(first, first + size), flat, self.weights, self.total)


def sparse_rows_at(
    rows: Int[np.ndarray, " r"],
    flat: Int[np.ndarray, " m"],
    weights: Float[np.ndarray, "r v"],
    total: Float[np.ndarray, "r 1"],
) -> SparseRows:
    """Tokens by where they stand in some rows laid end to end."""
    size = weights.shape[1]
    counts = counts_of(flat, len(rows), size)
    row = np.repeat(np.arange(len(rows)), counts)
    return SparseRows(rows, row, flat - row * size, weights.ravel()[flat] / total[row, 0], counts)


@np.errstate(invalid="ignore", divide="ignore")  # rows of NaN or infinity, which the decoders refuse
def cut_block(
    numbers: Float[Tensor, "r v"],
    peak: Float[np.ndarray, "r 1"],
    sampling: SamplingParams,
    least: float | None,
) -> Block:
    """Of a few rows. ``least``: log of the share of the mass at which a nucleus is expected to end."""
    values, size, kind, every = numbers.numpy(), numbers.shape[-1], peak.dtype.type, np.arange(len(peak))
    divisor, scale, floor = (
        kind(sampling.divisor),
        kind(fixed_point_scale(size)),
        np.full(peak.shape, -np.inf, kind),
    )
    if sampling.top_k is not None and sampling.top_k < size:
        floor = np.partition(values, size - sampling.top_k)[:, [size - sampling.top_k]]
        values = np.where(values < floor, kind(-np.inf), values)
    # what is large is torch's, and the few numbers of a row are numpy's: a small operation costs it a third
    weights = exp_of(values - peak, sampling.divisor)
    whole = to_fixed_point(torch.from_numpy(weights), size).sum(-1, keepdim=True).numpy()
    total = whole.astype(kind) / scale
    if sampling.top_p == 1:
        return Block(weights, floor, total, likely_of(values, floor), 0 * peak)
    allowed, log_total = (whole.astype(kind) * kind(sampling.top_p)).astype(np.int64), np.log(total)
    # tokens with a smaller share than this have less than 1 - top_p together, so that none of them is inside
    bound = math.log((1 - sampling.top_p) / size)
    # From the guess that sorts fewest tokens to the one that sorts all: whichever is enough, nuclei are the same.
    guesses = [bound, -math.inf] if least is None else [max(bound, least), bound, -math.inf]
    for guess in guesses:
        likely = likely_of(values, peak + divisor * (log_total + kind(guess - MARGIN)))
        falling = likely.falling()
        upper = (exp_of(falling - peak, sampling.divisor) * scale).astype(np.int64)
        sums = upper.cumsum(-1)
        # More mass than may stand before a token inside: the nucleus of every row ends among these.
        if (sums[:, -1:] > allowed).all():
            break
    # as ``floor_of``
    last = np.minimum((sums <= allowed).sum(-1), falling.shape[1] - 1)
    border = falling[every, last][:, None]
    inside = np.where(falling >= border, upper, 0).sum(-1, keepdims=True).astype(kind) / scale
    lowest = (border - peak) / divisor - log_total
    return Block(weights, np.maximum(border, floor), inside, likely, lowest)
