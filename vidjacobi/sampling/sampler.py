"""From logits to tokens: truncated probs, draws by Gumbel-max, the likeliest tokens.

There are two paths, which give the same tokens (``is_sparse`` decides):

- on a CPU only the tokens inside a row's nucleus are raced and get noise, some rows at a time (here, and where a
  nucleus ends in sparse_cutoffs.py);
- elsewhere, and in compiled code, every token of the vocabulary takes part (dense.py).
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.sampling import dense, sparse_cutoffs
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import SamplingParams, SparseProbs, normalise, probs_dtype, weights_of
from vidjacobi.sampling.sparse_cutoffs import DRAW, sparse_rows_at
from vidjacobi.sampling.truncated_probs import (
    DraftProbs,
    SparseRows,
    TruncatedProbs,
    is_inside,
    takes_sparse_path,
)
from vidjacobi.shapes import Logits, Mask, Tokens


def to_truncated_probs(logits: Logits, sampling: SamplingParams, fused: bool = False) -> TruncatedProbs:
    """The probs of ``logits_to_probs``, without sorting the vocabulary.

    ``fused``: in a pass that a compiler takes (``Recipe.fused``), or that is counted as if one did.
    """
    peak = logits.amax(-1, keepdim=True).to(probs_dtype(logits.dtype))
    divisor = torch.full_like(peak, sampling.divisor)
    if sampling.greedy:
        likeliest = logits.argmax(-1, keepdim=True)
        return TruncatedProbs(logits, peak, peak, torch.ones_like(peak), divisor, likeliest, fused=fused)
    # where they end is not known yet
    probs = TruncatedProbs(logits, peak, peak, peak, divisor, fused=fused)
    return (sparse_cutoffs if is_sparse(probs) else dense).cut(probs, sampling)


def is_sparse(probs: TruncatedProbs) -> bool:
    """Whether draws from these probs look only at the tokens inside their nuclei."""
    return not probs.fused and takes_sparse_path(probs.logits)


def draw(
    target: TruncatedProbs,
    noise: Noise,
    purpose: Purpose,
    drawn: DraftProbs | None = None,
    wanted: Mask | None = None,
) -> Tokens:
    """argmax(log w + G) of every row, w = p, or max(0, p - q) where draft probs are given, and p where that is 0.

    Rows that are not ``wanted`` may return anything.
    """
    if is_sparse(target):
        return draw_sparse(target, noise, purpose, drawn, wanted)
    return dense.draw(target, noise, purpose, drawn)


def top_k_probs(probs: TruncatedProbs, keep: int) -> SparseProbs:
    """The ``keep`` likeliest tokens of each row, renormalised. Where there are fewer, the rest has probability 0."""
    return (sparse_top_k if is_sparse(probs) else dense.top_k_probs)(probs, keep)


def portions(probs: TruncatedProbs, wanted: Mask | None) -> Iterator[SparseRows]:
    """The tokens of the wanted rows, a few rows at a time."""
    every = torch.arange(probs.logits.shape[:2].numel())
    if probs.sparse_rows is not None:
        for csr in probs.sparse_rows:
            yield csr if wanted is None else csr.part(wanted.flatten()[csr.rows])
        return
    chosen = every if wanted is None else every[wanted.flatten()]
    for rows in chosen.split(max(1, DRAW // probs.vocab_size)) if len(chosen) else ():
        at = rows // probs.logits.shape[1], rows % probs.logits.shape[1]
        logits, peak, floor, total, divisor, *only = (part[at] for part in probs.tensors)
        numbers = logits.to(probs.dtype)
        inside = is_inside(numbers, torch.arange(probs.vocab_size), floor, only[0] if only else None)
        yield sparse_rows_at(rows, np.flatnonzero(inside.numpy()), weights_of(numbers, peak, divisor), total)


def draw_sparse(
    target: TruncatedProbs, noise: Noise, purpose: Purpose, drawn: DraftProbs | None, wanted: Mask | None
) -> Tokens:
    """``draw``, with noise for the tokens inside only."""
    shape = target.logits.shape[:2]
    tokens = torch.zeros(shape.numel(), dtype=torch.long)
    for csr in portions(target, wanted):
        if not len(csr.ids):  # rows of NaN, which the decoders refuse
            continue
        weights = csr.probs if drawn is None else gained(csr, drawn)
        scores = weights / noise.exponential_for(purpose, csr.here, torch.from_numpy(csr.ids))
        tokens[csr.rows] = winners(csr, scores.numpy())
    return tokens.view(shape)


def gained(csr: SparseRows, drawn: DraftProbs) -> Float[Tensor, " m"]:
    """max(0, p - q) of the tokens; p itself in rows where nothing is left."""
    left = (csr.probs - mass_of_drafts(drawn, csr)).clamp_(min=0)
    some = np.ones(len(csr.counts), bool)
    some[csr.counts > 0] = np.logical_or.reduceat(left.numpy() > 0, starts_of(csr.counts))
    return left if some.all() else torch.where(torch.from_numpy(some[csr.row]), left, csr.probs)


def mass_of_drafts(drawn: DraftProbs, csr: SparseRows) -> Float[Tensor, " m"]:
    """What ``q`` gives to the tokens."""
    count, last = drawn.slot.shape[1], drawn.last
    mass = torch.full_like(csr.probs, drawn.fresh.floor)
    if drawn.fresh.ids.shape[-1]:
        mass += entries_of(drawn, csr)

    def each(rows: Tensor) -> Tensor:
        """A number of every row for each of its tokens."""
        return torch.from_numpy(np.repeat(rows.numpy(), csr.counts))

    clip, slot, ids = csr.rows // count, drawn.slot.flatten()[csr.rows], torch.from_numpy(csr.ids)
    at = clip, slot.clamp(min=0)
    numbers = last.logits[each(at[0]), each(at[1]), ids].to(last.dtype)
    peak, floor, total, divisor, *only = (each(part[at][:, 0]) for part in last.tensors[1:])
    inside = is_inside(numbers, ids, floor, only[0] if only else None)
    carried = torch.where(inside, weights_of(numbers, peak, divisor) / total, 0)
    return torch.where(each(slot) >= 0, carried, mass)


def entries_of(drawn: DraftProbs, csr: SparseRows) -> Float[Tensor, " m"]:
    """Mass of the tokens among the entries of fresh drafts' probs; 0 in rows whose drafts are not fresh."""
    fresh = (drawn.slot < 0).flatten()[csr.rows].numpy()
    entries, probs = (x.flatten(0, 1)[csr.rows[fresh]].numpy() for x in (drawn.fresh.ids, drawn.fresh.probs))
    size = drawn.vocab_size
    rows = np.flatnonzero(fresh)[:, None] * size
    keys, place = np.unique(rows + entries, return_inverse=True)  # a token may stand in several entries
    sums = np.append(np.bincount(place.ravel(), probs.ravel(), len(keys)), 0.0)
    wanted = csr.row * size + csr.ids
    found = np.searchsorted(keys, wanted)
    there = np.append(keys, -1)[found] == wanted
    return torch.from_numpy(np.where(there, sums[found], 0.0)).to(csr.probs.dtype)


def starts_of(counts: np.ndarray) -> np.ndarray:
    """Where the tokens of each row that has some begin."""
    return (np.cumsum(counts) - counts)[counts > 0]


def winners(csr: SparseRows, scores: np.ndarray) -> Int[Tensor, " r"]:
    """The token of each row with the largest score, the lowest id on ties."""
    best = np.zeros(len(csr.counts), scores.dtype)
    best[csr.counts > 0] = np.maximum.reduceat(scores, starts_of(csr.counts))
    hits = np.flatnonzero(scores == best[csr.row])[::-1]  # the lowest id is written last
    tokens = np.zeros(len(csr.counts), np.int64)
    tokens[csr.row[hits]] = csr.ids[hits]
    return torch.from_numpy(tokens)


def sparse_top_k(target: TruncatedProbs, keep: int) -> SparseProbs:
    """``top_k_probs``; of equally likely tokens the lower ids."""
    shape = *target.logits.shape[:2], min(keep, target.vocab_size)
    ids = torch.zeros(shape[0] * shape[1], shape[2], dtype=torch.long)
    probs = torch.zeros(ids.shape, dtype=target.dtype)
    for csr in portions(target, None):
        chosen = likeliest(csr, shape[2])
        row = csr.row[chosen]
        at = csr.rows[torch.from_numpy(row)], torch.from_numpy(rank_in_row(row, len(csr.counts)))
        ids[at] = torch.from_numpy(csr.ids[chosen])
        probs[at] = csr.probs[torch.from_numpy(chosen)]
    return SparseProbs(ids.view(shape), normalise(probs.view(shape)))


def likeliest(csr: SparseRows, keep: int) -> np.ndarray:
    """Indices of each row's ``keep`` likeliest tokens."""
    widest, probs = csr.counts.max(initial=0), csr.probs.numpy()
    if widest <= keep:
        return np.arange(len(probs))
    table = np.zeros((len(csr.counts), widest), probs.dtype)
    table[np.arange(widest) < csr.counts[:, None]] = probs
    least = np.partition(table, widest - keep, -1)[:, widest - keep]
    above, ties = np.flatnonzero(probs > least[csr.row]), np.flatnonzero(probs == least[csr.row])
    room = keep - np.bincount(csr.row[above], minlength=len(csr.counts))
    row = csr.row[ties]
    return np.sort(np.concatenate([above, ties[rank_in_row(row, len(csr.counts)) < room[row]]]))


def rank_in_row(row: np.ndarray, rows: int) -> np.ndarray:
    """How many entries of the same row come before each; ``row`` rises. Example: 0 0 1 1 1 gives 0 1 0 1 2."""
    counts = np.bincount(row, minlength=rows)
    return np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
