"""Truncated probs and draws over the whole vocabulary: static shapes and no host read. For GPUs and for compilers.

Everything is a chain of operations on ``[n v]`` that ends in one number a row. A compiler makes each a single pass
over the logits (it fuses them), and nuclei are then cut without sorting, in a few such passes. Without a compiler
every operation writes its result down: rows are taken a few at a time so that memory stays small, and logits are
sorted, which moves less than many passes would. ``TruncatedProbs.fused`` says which of the two it is.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.sampling.noise import Noise, Purpose, exponential_of, spread_of_all
from vidjacobi.sampling.probs import (
    SamplingParams,
    SparseProbs,
    fixed_point_scale,
    gumbel_max,
    normalise,
    share_of,
    total_of,
    weights_of,
)
from vidjacobi.sampling.truncated_probs import DraftProbs, Residual, TruncatedProbs, from_tensors
from vidjacobi.shapes import Probs, Tokens

DIGIT = 3  # bits of a logit that a pass over the logits settles
BITS = {torch.bfloat16: 16, torch.float16: 19, torch.float32: 32, torch.float64: 64}  # all that are not 0
AT_A_TIME = 1 << 23  # logits, where nothing is fused


def cut(probs: TruncatedProbs, sampling: SamplingParams) -> TruncatedProbs:
    """With floors and totals."""
    blocks = in_blocks((probs.logits, probs.peak, probs.divisor), None if probs.fused else AT_A_TIME)
    parts = [cut_rows(logits, peak, divisor, sampling, probs.fused) for logits, peak, divisor in blocks]
    floor, inside = (joined(part) for part in zip(*parts, strict=True))
    total = total_of(inside, probs.vocab_size, probs.dtype)
    return replace(probs, floor=floor.view_as(probs.peak), total=total.view_as(probs.peak))


def in_blocks(parts: Sequence[Tensor], most: int | None) -> list[tuple[Tensor, ...]]:
    """Rows of all clips, about ``most`` logits at a time; None: all at once."""
    flat = [part.flatten(0, 1) for part in parts]
    rows, size = parts[0].shape[:2].numel(), parts[0].shape[-1]
    step = rows if most is None else max(1, most // size)
    return [tuple(part[first : first + step] for part in flat) for first in range(0, max(1, rows), step)]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all blocks."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def cut_rows(
    logits: Float[Tensor, "r v"],
    peak: Float[Tensor, "r 1"],
    divisor: Float[Tensor, "r 1"],
    sampling: SamplingParams,
    fused: bool,
) -> tuple[Float[Tensor, "r 1"], Int[Tensor, "r 1"]]:
    """Floors, and the masses inside, of some rows."""
    if not fused and sampling.top_p < 1:
        logits = logits.sort(-1, descending=True).values
    size, keep = logits.shape[-1], sampling.top_k or logits.shape[-1]
    # to_fixed_point, in place
    mass = weights_of(logits, peak, divisor).mul_(fixed_point_scale(size)).to(torch.int64)
    least = None
    if keep < size:
        least = logits.topk(keep, -1).values[..., -1:].to(peak.dtype)
        mass = torch.where(logits >= least, mass, 0)
    if sampling.top_p == 1:
        floor = torch.full_like(peak, -torch.inf) if least is None else least
        return floor, mass.sum(-1, keepdim=True)
    if fused:
        bits = BITS[logits.dtype]
        allowed = share_of(mass.sum(-1, keepdim=True), sampling.top_p, peak.dtype)
        codes = codes_of(logits.to(peak.dtype), bits)
        border = number_of(lowest_inside(codes, mass, allowed, bits), bits, peak.dtype)
        floor = border if least is None else torch.maximum(border, least)
        return floor, torch.where(logits >= floor, mass, 0).sum(-1, keepdim=True)
    # As floor_of. In falling order the sum at a token is the mass before the next one: the last token inside is the
    # first whose sum is more than what is allowed.
    sums = mass.cumsum_(-1)
    allowed = share_of(sums[..., -1:], sampling.top_p, peak.dtype)
    last = torch.searchsorted(sums, allowed, right=True).clamp_(max=size - 1)
    border = logits.gather(-1, last).to(peak.dtype)
    floor = border if least is None else torch.maximum(border, least)
    # Ties with the last one are inside too: all before the first one that is not, or (0) all there are.
    outside = (logits < floor).view(torch.uint8).argmax(-1, keepdim=True)
    return floor, sums.gather(-1, outside.sub_(1).remainder_(size))


def lowest_inside(
    codes: Int[Tensor, "r v"], mass: Int[Tensor, "r v"], allowed: Int[Tensor, "r 1"], bits: int
) -> Int[Tensor, "r 1"]:
    """The smallest code with at most the allowed mass above it, by radix select.

    Instead of sorting, the answer is built digit by digit (``DIGIT`` bits at a time), from the most significant one:
    a pass over the codes takes the mass above each of a few candidates, and every candidate with too much mass above
    it raises the digit by one. Example with codes of 4 bits, 2 bits a digit, and 8 units allowed::

        codes      1   5   6   9   14
        mass       2   3   4   5   6
        candidates 4, 8, 12:   mass above 18, 11, 6     two are too much: the first digit is 2 (code 8 and up)
        candidates 9, 10, 11:  mass above  6,  6, 6     none is: the second digit is 0
        outside = 8, so the lowest code inside is 9     (6 units above it, 11 above 8)
    """

    def too_much(candidate: Int[Tensor, "r 1"]) -> Bool[Tensor, "r 1"]:
        return torch.where(codes > candidate, mass, 0).sum(-1, keepdim=True) > allowed

    zero = torch.zeros_like(codes[:, :1])
    # The sign first: where too much mass lies above 0, all codes up to 0 are outside; elsewhere the lowest code is.
    outside = torch.where(too_much(zero), zero, zero - 2 ** (bits - 1))  # the sign
    left = bits - 1
    while left:
        width = min(DIGIT, left)
        left -= width
        steps = [too_much(outside + (digit << left)) for digit in range(1, 1 << width)]
        outside = outside + (sum(step.to(codes.dtype) for step in steps) << left)
    return outside + 1


def codes_of(numbers: Float[Tensor, "r v"], bits: int) -> Int[Tensor, "r v"]:
    """Order-preserving integer codes: whole numbers in the same order, of which only ``bits`` bits are not 0."""
    whole = 64 if numbers.dtype == torch.float64 else 32
    pattern = numbers.view(torch.int64 if whole == 64 else torch.int32)
    return in_order(pattern, whole) >> (whole - bits)


def number_of(codes: Int[Tensor, "r 1"], bits: int, dtype: torch.dtype) -> Float[Tensor, "r 1"]:
    """The numbers that have these codes; minus infinity for lower codes."""
    whole = 64 if dtype == torch.float64 else 32
    shift = whole - bits
    none = torch.full_like(codes[..., :1], -torch.inf, dtype=dtype)
    codes = torch.maximum(codes, codes_of(none, bits))
    # The bits that were dropped: 0 in positive numbers, and 1 in negative ones, whose bits are flipped.
    pattern = codes << shift | (codes < 0).to(codes.dtype) * ((1 << shift) - 1)
    return in_order(pattern, whole).view(dtype)


def in_order(pattern: Int[Tensor, "*s"], bits: int) -> Int[Tensor, "*s"]:
    """Bit patterns of floating-point numbers as whole numbers in the same order, and back.

    Patterns of positive numbers already rise with the number; those of negative ones fall, so all their bits but
    the sign are flipped. Example in a float format of 8 bits::

        number                -2    -1    1     2
        pattern               0xC0  0xB8  0x38  0x40
        as a signed integer   -64   -72   56    64      -1 stands before -2
        flipped               -65   -57   56    64      in order
    """
    return pattern ^ (pattern >> (bits - 1) & (1 << (bits - 1)) - 1)


def draw(
    target: TruncatedProbs,
    noise: Noise,
    purpose: Purpose,
    drawn: DraftProbs | None,
    residual: Residual | None = None,
) -> Tokens:
    """As ``vidjacobi.sampling.sampler.draw``; with a ``residual`` only its rows are drawn from one."""
    count, keys = len(target.tensors), noise.keys(purpose)
    if residual is not None:
        # Noise is a function of its key, so one race draws both kinds of rows, each with its own purpose.
        keys = torch.where(residual.rows, noise.keys(residual.noise), keys)
    parts = [*target.tensors, keys[..., None]]
    if drawn is not None:
        parts += [source_of(drawn), drawn.fresh.ids, drawn.fresh.probs]
    if residual is not None:
        parts.append(residual.rows[..., None])
    tokens = []
    for rows in in_blocks(parts, None if target.fused else AT_A_TIME):
        row, key = from_tensors(part[None] for part in rows[:count]), rows[count]
        weights = row.dense()
        if drawn is not None:
            draft = draft_rows(drawn, *rows[count + 1 : count + 4])
            # of p without anything taken off, p is left
            weights = rest_of(weights, draft if residual is None else draft.mul_(rows[-1]))
        spread = spread_of_all(row.vocab_size, key.device)
        tokens.append(gumbel_max(weights, exponential_of(key[None], spread, row.dtype))[0])
    return joined(tokens).view(target.logits.shape[:2])


def rest_of(target: Probs, draft: Probs) -> Probs:
    """max(0, p - q), and p itself where nothing is left. Changes ``draft``."""
    left = torch.sub(target, draft, out=draft).clamp_(min=0)
    # a row of which nothing is left is 0 everywhere
    return left.addcmul_(target, (left.amax(-1, keepdim=True) <= 0).to(target.dtype))


def source_of(drawn: DraftProbs) -> Int[Tensor, "b n 1"]:
    """The row of the last pass, counted through all clips, that each draft's q is in; -1 for fresh ones."""
    if len(drawn.slot) == 1:
        return drawn.slot[..., None]
    clip = torch.arange(len(drawn.slot), device=drawn.slot.device)[:, None]
    size = drawn.last.logits.shape[1]
    return torch.where(drawn.slot < 0, -1, clip * size + drawn.slot)[..., None]


def draft_rows(
    drawn: DraftProbs, source: Int[Tensor, "r 1"], ids: Int[Tensor, "r k"], probs: Float[Tensor, "r k"]
) -> Float[Tensor, "1 r v"]:
    """The distributions q of some rows."""
    fresh = SparseProbs(ids[None], probs[None], drawn.fresh.floor)
    rows = source[:, 0].clamp(min=0)
    carried = from_tensors(part.flatten(0, 1)[rows][None] for part in drawn.last.tensors)
    return fresh.instead_of(carried.dense(), (source < 0)[None, :, 0])


def top_k_probs(probs: TruncatedProbs, keep: int) -> SparseProbs:
    """As ``vidjacobi.sampling.sampler.top_k_probs``."""
    keep = min(keep, probs.vocab_size)
    if probs.only is not None:
        # Greedy: one token has all the mass, and the entries after it have none.
        first = (torch.arange(keep, device=probs.only.device) == 0).to(probs.dtype)
        return SparseProbs(probs.only.expand(-1, -1, keep), first.expand(*probs.only.shape[:2], -1))
    ids = probs.logits.topk(keep, -1).indices
    return SparseProbs(ids, normalise(probs.at(ids)))
