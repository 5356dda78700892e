"""From logits to tokens: truncated probs, draws by Gumbel-max, the likeliest tokens.

There are two paths, which give the same tokens (``is_sparse`` decides):

- on a CPU only the tokens inside a row's nucleus are raced and get noise, some rows at a time (here; where a nucleus
  ends is found in sparse_cutoffs.py, for small vocabularies by ``cut_small``);
- elsewhere, and in compiled code, every token of the vocabulary takes part (dense.py).
"""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float, Int

from vidjacobi.sampling import sparse_cutoffs
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import (
    SamplingParams,
    SparseProbs,
    exp_of,
    fixed_point_scale,
    normalise,
    probs_dtype,
    weights_of,
)
from vidjacobi.sampling.sparse_cutoffs import DRAW, sparse_rows_at
from vidjacobi.sampling.truncated_probs import (
    DraftProbs,
    Residual,
    SparseRows,
    TruncatedProbs,
    is_inside,
    takes_sparse_path,
)
from vidjacobi.shapes import Logits, Mask, Tokens

SMALL = 2048  # tokens of a vocabulary that is cheaper to sort than to search for what can be inside


def to_truncated_probs(logits: Logits, sampling: SamplingParams, fused: bool = False) -> TruncatedProbs:
    """The probs of ``logits_to_probs``, without sorting the vocabulary.

    ``fused``: in a pass that a compiler takes (``Recipe.fused``), or that is counted as if one did.
    """
    if not fused and takes_sparse_path(logits) and is_small(logits, sampling):
        return cut_small(logits, sampling)
    peak = logits.amax(-1, keepdim=True).to(probs_dtype(logits.dtype))
    divisor = torch.full_like(peak, sampling.divisor)
    if sampling.greedy:
        likeliest = logits.argmax(-1, keepdim=True)
        return TruncatedProbs(logits, peak, peak, torch.ones_like(peak), divisor, likeliest, fused=fused)
    # where they end is not known yet
    probs = TruncatedProbs(logits, peak, peak, peak, divisor, fused=fused)
    found: TruncatedProbs = (sparse_cutoffs if is_sparse(probs) else whole()).cut(probs, sampling)
    return found


def is_small(logits: Logits, sampling: SamplingParams) -> bool:
    """Whether ``cut_small`` makes these probs."""
    return logits.shape[-1] <= SMALL and logits.numel() > 0 and sampling.top_p < 1 and not sampling.greedy


@np.errstate(invalid="ignore")  # rows of NaN or infinity, which the decoders refuse
def cut_small(logits: Logits, sampling: SamplingParams) -> TruncatedProbs:
    """The probs of small vocabularies, by a sort of all rows at once."""
    size, dtype, shape = logits.shape[-1], probs_dtype(logits.dtype), (*logits.shape[:2], 1)
    numbers = logits.to(dtype).numpy().reshape(-1, size)
    every, kind = np.arange(len(numbers)), numbers.dtype.type
    rising = np.sort(-numbers, -1)  # of the negated logits, so that the likeliest token comes first
    peak = np.where(np.isnan(rising[:, -1:]), np.nan, -rising[:, :1])
    scale = kind(fixed_point_scale(size))
    weights = exp_of(rising[:, :1] - rising, sampling.divisor)
    upper, least = (weights * scale).astype(np.int64), kind(-np.inf)  # as ``to_fixed_point``
    if sampling.top_k is not None and sampling.top_k < size:
        least = -rising[:, [sampling.top_k - 1]]
        upper = np.where(-rising >= least, upper, 0)
    # As floor_of: a token is inside with at most the allowed mass before it. ``sums``: mass down to each token.
    #     probs     0.5  0.25  0.1   0.1   0.05     five tokens, top-p 0.8
    #     sums      0.5  0.75  0.85  0.95  1        more than allowed from the third token on
    #     so the third is the last one inside, and the floor its 0.1; the fourth ties with it, and the total is 0.95
    sums = torch.from_numpy(upper).cumsum(-1).numpy()  # a quarter of numpy's time
    more = sums > (sums[:, -1:].astype(kind) * kind(sampling.top_p)).astype(np.int64)
    more[:, -1] = True
    floor = np.maximum(-rising[every, more.argmax(-1)][:, None], least)
    inside = numbers >= floor  # ties with the last one too
    flat = np.flatnonzero(inside)
    ends = np.searchsorted(flat, size * (every + 1))
    counts = ends.copy()
    counts[1:] -= ends[:-1]
    row = np.repeat(every, counts)
    total = sums[every, counts - 1][:, None].astype(kind) / scale
    table = exp_of(numbers - peak, sampling.divisor)
    table /= total
    table *= inside
    rows = SparseRows(every, row, flat - row * size, table.ravel()[flat], counts)
    top, least_inside, whole_mass = (torch.from_numpy(part.reshape(shape)) for part in (peak, floor, total))
    made, divisors = torch.from_numpy(table.reshape(logits.shape)), torch.full_like(top, sampling.divisor)
    return TruncatedProbs(logits, top, least_inside, whole_mass, divisors, None, made, (rows,))


def whole() -> ModuleType:
    """dense.py, which a CPU does without."""
    from vidjacobi.sampling import dense

    return dense


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
    drawn_tokens: Tokens = whole().draw(target, noise, purpose, drawn)
    return drawn_tokens


def draw_mixed(target: TruncatedProbs, noise: Noise, purpose: Purpose, residual: Residual) -> Tokens:
    """``draw`` from p, and in some rows from the residual: one race over the vocabulary where it is not sparse.

    Rows before the first of those may return anything.
    """
    if not is_sparse(target):
        mixed: Tokens = whole().draw(target, noise, purpose, residual.drafts, residual)
        return mixed
    rows = residual.rows.numpy()
    # Draws from p are wanted behind a residual row only: 0 1 0 0 gives 0 0 1 1.
    after = torch.from_numpy(np.logical_or.accumulate(rows, -1) & ~rows)
    rest = draw_sparse(target, noise, purpose, None, after)
    corrected = draw_sparse(target, noise, residual.noise, residual.drafts, residual.rows)
    return torch.where(residual.rows, corrected, rest)


def top_k_probs(probs: TruncatedProbs, keep: int) -> SparseProbs:
    """The ``keep`` likeliest tokens of each row, renormalised. Where there are fewer, the rest has probability 0."""
    if not is_sparse(probs):
        every: SparseProbs = whole().top_k_probs(probs, keep)
        return every
    shape = probs.logits.shape[:2]
    found = sparse_top_k(probs, keep, torch.ones(shape, dtype=torch.bool))
    return SparseProbs(found.ids.view(*shape, -1), found.probs.view(*shape, -1))


def portions(probs: TruncatedProbs, wanted: Mask | None) -> Iterator[SparseRows]:
    """The tokens of the wanted rows, a few rows at a time."""
    chosen = None if wanted is None else wanted.numpy().ravel()
    if probs.sparse_rows is not None:
        for csr in probs.sparse_rows:
            yield csr if chosen is None else csr.part(chosen[csr.rows])
        return
    every = torch.arange(probs.logits.shape[:2].numel())
    every = every if chosen is None else every[torch.from_numpy(chosen)]
    for rows in every.split(max(1, DRAW // probs.vocab_size)) if len(every) else ():
        at = rows // probs.logits.shape[1], rows % probs.logits.shape[1]
        logits, peak, floor, total, divisor, *only = (part[at] for part in probs.tensors)
        numbers = logits.to(probs.dtype)
        inside = is_inside(numbers, torch.arange(probs.vocab_size), floor, only[0] if only else None)
        weights = weights_of(numbers, peak, divisor).numpy()
        yield sparse_rows_at(rows.numpy(), np.flatnonzero(inside.numpy()), weights, total.numpy())


def draw_sparse(
    target: TruncatedProbs, noise: Noise, purpose: Purpose, drawn: DraftProbs | None, wanted: Mask | None
) -> Tokens:
    """``draw``, with noise for the tokens inside only."""
    shape = target.logits.shape[:2]
    tokens = np.zeros(shape.numel(), np.int64)
    for csr in portions(target, wanted):
        if not len(csr.ids):  # rows of NaN, which the decoders refuse
            continue
        weights = csr.probs if drawn is None else gained(csr, drawn)
        exponential = noise.exponential_for(purpose, csr.here, csr.ids)
        tokens[csr.rows] = winners(csr, weights / exponential)
    return torch.from_numpy(tokens).view(shape)


def gained(csr: SparseRows, drawn: DraftProbs) -> Float[np.ndarray, " m"]:
    """max(0, p - q) of the tokens; p itself in rows where nothing is left."""
    left = np.maximum(csr.probs - mass_of_drafts(drawn, csr), 0)
    some = np.ones(len(csr.counts), bool)
    # ``reduceat`` has no answer for a row without tokens: ``starts_of`` leaves such rows out.
    some[csr.counts > 0] = np.logical_or.reduceat(left > 0, starts_of(csr.counts))
    return left if some.all() else np.where(some[csr.row], left, csr.probs)


def mass_of_drafts(drawn: DraftProbs, csr: SparseRows) -> Float[np.ndarray, " m"]:
    """What ``q`` gives to the tokens."""
    count, last = drawn.slot.shape[1], drawn.last
    slot = drawn.slot.numpy().ravel()[csr.rows]
    mass = np.full(csr.probs.shape, drawn.fresh.floor, csr.probs.dtype)
    if drawn.fresh.ids.shape[-1] and (slot < 0).any():
        mass += entries_of(drawn, csr)
    if (slot < 0).all():
        return mass
    at = csr.rows // count, np.maximum(slot, 0)
    if last.table is not None:
        carried = last.table.numpy()[at[0][csr.row], at[1][csr.row], csr.ids]
        return np.where((slot >= 0)[csr.row], carried, mass)
    each = tuple(torch.from_numpy(part[csr.row]) for part in at)
    numbers = last.logits[(*each, torch.from_numpy(csr.ids))].to(last.dtype)
    of_rows = (torch.from_numpy(part.numpy()[at][csr.row, 0]) for part in last.tensors[1:])
    peak, floor, total, divisor, *only = of_rows
    inside = is_inside(numbers, torch.from_numpy(csr.ids), floor, only[0] if only else None).numpy()
    carried = np.where(inside, weights_of(numbers, peak, divisor).numpy() / total.numpy(), 0)
    return np.where((slot >= 0)[csr.row], carried, mass)


def entries_of(drawn: DraftProbs, csr: SparseRows) -> Float[np.ndarray, " m"]:
    """Mass of the tokens among the entries of fresh drafts' probs; 0 in rows whose drafts are not fresh."""
    fresh = drawn.slot.numpy().ravel()[csr.rows] < 0
    of_fresh = csr.rows[fresh] // drawn.slot.shape[1], csr.rows[fresh] % drawn.slot.shape[1]
    entries, probs = (part.numpy()[of_fresh] for part in (drawn.fresh.ids, drawn.fresh.probs))
    size = drawn.vocab_size
    # (row, token) as one number, so that one list is looked up: in a vocabulary of 10 token 7 of row 2 is 27.
    rows = np.flatnonzero(fresh)[:, None] * size
    keys, place = np.unique(rows + entries, return_inverse=True)  # a token may stand in several entries
    sums = np.append(np.bincount(place.ravel(), probs.ravel(), len(keys)), 0.0)
    wanted = csr.row * size + csr.ids
    found = np.searchsorted(keys, wanted)
    there = np.append(keys, -1)[found] == wanted
    return np.where(there, sums[found], 0.0).astype(csr.probs.dtype)


def starts_of(counts: np.ndarray) -> np.ndarray:
    """Where the tokens of each row that has some begin."""
    return (np.cumsum(counts) - counts)[counts > 0]


def winners(csr: SparseRows, scores: np.ndarray) -> Int[np.ndarray, " r"]:
    """The token of each row with the largest score, the lowest id on ties."""
    best = np.zeros(len(csr.counts), scores.dtype)
    best[csr.counts > 0] = np.maximum.reduceat(scores, starts_of(csr.counts))
    hits = np.flatnonzero(scores == best[csr.row])[::-1]  # the lowest id is written last
    tokens = np.zeros(len(csr.counts), np.int64)
    tokens[csr.row[hits]] = csr.ids[hits]
    return tokens


def sparse_top_k(target: TruncatedProbs, keep: int, wanted: Mask) -> SparseProbs:
    """``top_k_probs`` of the rows that are ``wanted`` ``[1 m k]``; of equally likely tokens the lower ids."""
    size, number = min(keep, target.vocab_size), wanted.numpy().ravel().cumsum() - 1
    ids = np.zeros((number[-1] + 1 if len(number) else 0, size), np.int64)
    probs = np.zeros(ids.shape, target.total.numpy().dtype)
    for csr in portions(target, wanted):
        chosen = likeliest(csr, size)
        row = csr.row[chosen]
        at = number[csr.rows[row]], rank_in_row(row, len(csr.counts))
        ids[at], probs[at] = csr.ids[chosen], csr.probs[chosen]
    return SparseProbs(torch.from_numpy(ids)[None], normalise(torch.from_numpy(probs)[None]))


def likeliest(csr: SparseRows, keep: int) -> np.ndarray:
    """Indices of each row's ``keep`` likeliest tokens."""
    widest, probs = csr.counts.max(initial=0), csr.probs
    if widest <= keep:
        return np.arange(len(probs))
    # ``least`` is the smallest probability that is kept. Of 0.4 0.2 0.2 0.2 two are kept: one lies above 0.2, so
    # there is room for the first of the ties.
    table = np.zeros((len(csr.counts), widest), probs.dtype)
    table[np.arange(widest) < csr.counts[:, None]] = probs
    # numpy's partition takes twice as long where most of a row is 0
    least = torch.from_numpy(table).topk(keep, -1, sorted=False).values.amin(-1).numpy()
    above, ties = np.flatnonzero(probs > least[csr.row]), np.flatnonzero(probs == least[csr.row])
    room = keep - np.bincount(csr.row[above], minlength=len(csr.counts))
    row = csr.row[ties]
    return np.sort(np.concatenate([above, ties[rank_in_row(row, len(csr.counts)) < room[row]]]))


def rank_in_row(row: np.ndarray, rows: int) -> np.ndarray:
    """How many entries of the same row come before each; ``row`` rises. Example: 0 0 1 1 1 gives 0 1 0 1 2."""
    counts = np.bincount(row, minlength=rows)
    return np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
