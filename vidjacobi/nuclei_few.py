"""Nuclei and draws on a CPU: only tokens that can be in a nucleus are sorted, raced and get noise.

Rows are taken a few at a time, so that what is written down for them stays in a core's cache, and memory beside
the logits is small whatever the window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.distributions import (
    SparseLaws,
    Warp,
    floor_of,
    masses,
    normalise,
    share_of,
    total_of,
    weights_of,
)
from vidjacobi.noise import Noise, Purpose
from vidjacobi.nuclei import DraftLaws, Few, Nuclei, is_inside
from vidjacobi.shapes import Mask, Tokens

BLOCK = 1 << 18  # logits at a time while nuclei are cut
DRAW = 1 << 19  # tokens at a time while some are drawn
KEPT = 1 << 22  # most tokens of nuclei that are written down from the cut to the last draw
MARGIN = 0.05  # tokens are looked for that are so many nats less likely than any inside a nucleus so far


def joined(parts: list[Few]) -> Few:
    """Rows of several records one behind the other."""
    counts = np.concatenate([part.counts for part in parts])
    return Few(
        torch.cat([part.rows for part in parts]),
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([part.ids for part in parts]),
        torch.cat([part.probs for part in parts]),
        counts,
    )


def cut(nuclei: Nuclei, warp: Warp) -> Nuclei:
    """With floors, totals and, unless they are too many, the tokens inside."""
    size, logits = nuclei.vocab_size, nuclei.logits.flatten(0, 1)
    peaks, divisors = nuclei.peak.flatten(0, 1), nuclei.divisor.flatten(0, 1)
    least, first, found = None, 0, 0
    blocks: list[Block] = []
    few: list[Few] = []
    while first < len(logits):
        last = first + (1 if least is None else max(1, BLOCK // size))  # one row tells where nuclei end
        peak, divisor = peaks[first:last], divisors[first:last]
        block = cut_block(logits[first:last].to(peak.dtype), peak, divisor, warp, least)
        blocks.append(block)
        if found <= KEPT:
            few.append(block.few(first))
            found += len(few[-1].ids)
        lowest = block.lowest.nan_to_num(0, 0, 0).amin()
        least = lowest if least is None else torch.minimum(least, lowest)
        first = last
    return replace(
        nuclei,
        floor=torch.cat([block.floor for block in blocks]).view_as(nuclei.peak),
        total=torch.cat([block.total for block in blocks]).view_as(nuclei.peak),
        few=tuple(in_portions(few)) if found <= KEPT else None,
    )


def in_portions(parts: list[Few]) -> Iterator[Few]:
    """Rows joined into records of about ``DRAW`` tokens."""
    waiting: list[Few] = []
    for part in parts:
        waiting.append(part)
        if sum(len(one.ids) for one in waiting) >= DRAW:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)


@dataclass(frozen=True)
class Block:
    """A few rows, small enough for a processor's cache, and where their nuclei end.

    Attributes:
        numbers, weights: logits, and exp((x - peak) / divisor).
        floor, total: as in ``Nuclei``.
        lowest: log of the share of all mass that the least likely token inside has.
    """

    numbers: Float[Tensor, "r v"]
    weights: Float[Tensor, "r v"]
    floor: Float[Tensor, "r 1"]
    total: Float[Tensor, "r 1"]
    lowest: Float[Tensor, "r 1"]

    def few(self, first: int) -> Few:
        """The tokens inside; ``first``: the number of the first row."""
        rows = torch.arange(first, first + len(self.floor))
        return tokens_inside(rows, self.numbers.numpy() >= self.floor.numpy(), self.weights, self.total)


def tokens_inside(
    rows: Int[Tensor, " r"],
    inside: Bool[np.ndarray, "r v"],
    weights: Float[Tensor, "r v"],
    total: Float[Tensor, "r 1"],
) -> Few:
    """The tokens of some rows for which ``inside`` holds."""
    counts, flat = places_of(inside)
    row = np.repeat(np.arange(len(counts)), counts)
    probs = weights.flatten()[torch.from_numpy(flat)] / total[torch.from_numpy(row), 0]
    return Few(rows, row, flat - row * inside.shape[1], probs, counts)


def places_of(mask: Bool[np.ndarray, "r v"]) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " m"]]:
    """How many entries of each row hold, and where they stand, the rows one behind the other."""
    flat = np.flatnonzero(mask)
    return np.diff(np.searchsorted(flat, np.arange(len(mask) + 1) * mask.shape[1])), flat


def cut_block(
    numbers: Float[Tensor, "r v"],
    peak: Float[Tensor, "r 1"],
    divisor: Float[Tensor, "r 1"],
    warp: Warp,
    least: Float[Tensor, ""] | None,
) -> Block:
    """Of a few rows. ``least``: log of the share of the mass at which a nucleus is expected to end."""
    size = numbers.shape[-1]
    floor = torch.full_like(peak, -torch.inf)
    if warp.top_k is not None and warp.top_k < size:
        floor = torch.from_numpy(np.partition(numbers.numpy(), size - warp.top_k)[:, [size - warp.top_k]])
        numbers = numbers.masked_fill(numbers < floor, -torch.inf)
    weights = weights_of(numbers, peak, divisor)
    whole = masses(weights, size).sum(-1, keepdim=True)
    if warp.top_p == 1:
        return Block(numbers, weights, floor, total_of(whole, size, peak.dtype), torch.zeros_like(peak))
    allowed = share_of(whole, warp.top_p, peak.dtype)
    log_whole = total_of(whole, size, peak.dtype).log()
    # tokens with a smaller share than this have less than 1 - top_p together, so that none of them is inside
    bound = math.log((1 - warp.top_p) / size)
    guesses = [bound, -math.inf] if least is None else [max(bound, float(least)), bound, -math.inf]
    for guess in guesses:
        falling = falling_from(numbers, peak + divisor * (log_whole + (guess - MARGIN)))
        upper = masses(weights_of(falling, peak, divisor), size)
        if bool((upper.sum(-1, keepdim=True) > allowed).all()):
            break
    border = floor_of(falling, upper, allowed)
    total = total_of(torch.where(falling >= border, upper, 0).sum(-1, keepdim=True), size, peak.dtype)
    return Block(numbers, weights, torch.maximum(border, floor), total, (border - peak) / divisor - log_whole)


def falling_from(numbers: Float[Tensor, "r v"], least: Float[Tensor, "r 1"]) -> Float[Tensor, "r k"]:
    """The logits of each row that are at least so large, in falling order, behind them -inf."""
    values = numbers.numpy()
    counts, flat = places_of(values >= least.numpy())
    rising = np.full((len(values), max(1, counts.max())), -np.inf, values.dtype)
    rising[np.arange(rising.shape[1]) < counts[:, None]] = values.ravel()[flat]
    rising.sort(-1)
    return torch.from_numpy(rising).flip(-1)


def portions(nuclei: Nuclei, wanted: Mask | None) -> Iterator[Few]:
    """The tokens of the wanted rows, a few rows at a time."""
    every = torch.arange(nuclei.logits.shape[:2].numel())
    if nuclei.few is not None:
        for few in nuclei.few:
            yield few if wanted is None else few.part(wanted.flatten()[few.rows])
        return
    chosen = every if wanted is None else every[wanted.flatten()]
    for rows in chosen.split(max(1, DRAW // nuclei.vocab_size)) if len(chosen) else ():
        logits, peak, floor, total, divisor, *only = (part.flatten(0, 1)[rows] for part in nuclei.parts)
        numbers = logits.to(nuclei.dtype)
        inside = is_inside(numbers, torch.arange(nuclei.vocab_size), floor, only[0] if only else None)
        yield tokens_inside(rows, inside.numpy(), weights_of(numbers, peak, divisor), total)


def draw(
    target: Nuclei, noise: Noise, purpose: Purpose, drawn: DraftLaws | None, wanted: Mask | None
) -> Tokens:
    """As ``vidjacobi.law_stage.draw``."""
    shape = target.logits.shape[:2]
    tokens = torch.zeros(shape.numel(), dtype=torch.long)
    for few in portions(target, wanted):
        if not len(few.ids):  # rows of NaN, which the decoders refuse
            continue
        weights = few.probs if drawn is None else gained(few, drawn)
        scores = weights / noise.exponential_for(purpose, few.here, torch.from_numpy(few.ids))
        tokens[few.rows] = winners(few, scores.numpy())
    return tokens.view(shape)


def gained(few: Few, drawn: DraftLaws) -> Float[Tensor, " m"]:
    """max(0, p - q) of the tokens; p itself in rows where nothing is left."""
    left = (few.probs - mass_of_drafts(drawn, few)).clamp_(min=0)
    some = np.ones(len(few.counts), bool)
    some[few.counts > 0] = np.logical_or.reduceat(left.numpy() > 0, starts_of(few.counts))
    return left if some.all() else torch.where(torch.from_numpy(some[few.row]), left, few.probs)


def mass_of_drafts(drawn: DraftLaws, few: Few) -> Float[Tensor, " m"]:
    """What ``q`` gives to the tokens."""
    here, ids = few.here, torch.from_numpy(few.ids)
    slot = drawn.slot.flatten()[here]
    mass = torch.full_like(few.probs, drawn.fresh.floor)
    if drawn.fresh.ids.shape[-1]:
        mass += entries_of(drawn, few)
    last = drawn.last
    if last is None:
        return mass
    source = here // drawn.slot.shape[1] * last.logits.shape[1] + slot.clamp(min=0)
    logits = last.logits.reshape(-1).take(source * last.vocab_size + ids)
    peak, floor, total, divisor, *only = (part.flatten().take(source) for part in last.parts[1:])
    numbers = logits.to(last.dtype)
    inside = is_inside(numbers, ids, floor, only[0] if only else None)
    carried = torch.where(inside, weights_of(numbers, peak, divisor) / total, 0)
    return torch.where(slot >= 0, carried, mass)


def entries_of(drawn: DraftLaws, few: Few) -> Float[Tensor, " m"]:
    """Mass of the tokens among the entries of fresh drafts' laws; 0 in rows whose drafts are not fresh."""
    mass = torch.zeros_like(few.probs)
    entries, probs = drawn.fresh.ids.flatten(0, 1)[few.rows], drawn.fresh.probs.flatten(0, 1)[few.rows]
    fresh, ends = (drawn.slot < 0).flatten()[few.rows].numpy(), np.cumsum(few.counts)
    scratch = torch.zeros(drawn.vocab_size, dtype=probs.dtype)
    for row in np.flatnonzero(fresh & (few.counts > 0)):
        first, last = ends[row] - few.counts[row], ends[row]
        scratch.scatter_add_(0, entries[row], probs[row])
        mass[first:last] = scratch[torch.from_numpy(few.ids[first:last])]
        scratch[entries[row]] = 0
    return mass


def starts_of(counts: np.ndarray) -> np.ndarray:
    """Where the tokens of each row that has some begin."""
    return (np.cumsum(counts) - counts)[counts > 0]


def winners(few: Few, scores: np.ndarray) -> Int[Tensor, " r"]:
    """The token of each row with the largest score, the lowest id on ties."""
    best = np.zeros(len(few.counts), scores.dtype)
    best[few.counts > 0] = np.maximum.reduceat(scores, starts_of(few.counts))
    hits = np.flatnonzero(scores == best[few.row])[::-1]  # the lowest id is written last
    tokens = np.zeros(len(few.counts), np.int64)
    tokens[few.row[hits]] = few.ids[hits]
    return torch.from_numpy(tokens)


def strongest(nuclei: Nuclei, keep: int) -> SparseLaws:
    """As ``vidjacobi.law_stage.strongest``; of equally likely tokens the lower ids."""
    shape = *nuclei.logits.shape[:2], min(keep, nuclei.vocab_size)
    ids = torch.zeros(shape[0] * shape[1], shape[2], dtype=torch.long)
    probs = torch.zeros(ids.shape, dtype=nuclei.dtype)
    for few in portions(nuclei, None):
        chosen = likeliest(few, shape[2])
        row = few.row[chosen]
        at = few.rows[torch.from_numpy(row)], torch.from_numpy(rank_in_row(row, len(few.counts)))
        ids[at] = torch.from_numpy(few.ids[chosen])
        probs[at] = few.probs[torch.from_numpy(chosen)]
    return SparseLaws(ids.view(shape), normalise(probs.view(shape)))


def likeliest(few: Few, keep: int) -> np.ndarray:
    """Indices of each row's ``keep`` likeliest tokens."""
    widest, probs = few.counts.max(initial=0), few.probs.numpy()
    if widest <= keep:
        return np.arange(len(probs))
    table = np.zeros((len(few.counts), widest), probs.dtype)
    table[np.arange(widest) < few.counts[:, None]] = probs
    least = np.partition(table, widest - keep, -1)[:, widest - keep]
    above, ties = np.flatnonzero(probs > least[few.row]), np.flatnonzero(probs == least[few.row])
    room = keep - np.bincount(few.row[above], minlength=len(few.counts))
    row = few.row[ties]
    return np.sort(np.concatenate([above, ties[rank_in_row(row, len(few.counts)) < room[row]]]))


def rank_in_row(row: np.ndarray, rows: int) -> np.ndarray:
    """How many entries of the same row stand in front of each; ``row`` rises."""
    counts = np.bincount(row, minlength=rows)
    return np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
