"""The first pass: feed the context, decide the first token, remember the laws that drafts will come from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vidjacobi.distributions import is_finite, law_dtype, laws_of, race
from vidjacobi.lanes import Paced
from vidjacobi.law_memory import LawMemory
from vidjacobi.model import Cache
from vidjacobi.noise import Noise, Purpose
from vidjacobi.shapes import Laws
from vidjacobi.state import DecodeState, Parts, Problem
from vidjacobi.trace import PassRecord


@dataclass(frozen=True)
class Prefilled:
    """What the prefill leaves.

    Attributes:
        laws: law ``[b 1 v]`` of each clip's first new position.
        memory: laws of the context's last frame, where the draft rule keeps them.
        finite: whether all logits were.
    """

    laws: Laws
    memory: LawMemory | None
    finite: Tensor


def prefill(problem: Problem, keeps_laws: int, cache: Cache) -> Prefilled:
    """Feed every context (padding on the right is never visible to anything)."""
    context, starts = problem.context, problem.starts
    width, frame = context.shape[1], problem.grid.frame_tokens
    shortest = width if problem.lengths is None else int(starts.min())
    memory = None
    if keeps_laws:
        keep = min(keeps_laws, problem.model.vocab_size)
        memory = LawMemory(context, frame, keep, law_dtype(problem.model.dtype), starts)
    rows = width - shortest + (min(frame, shortest) if memory else 1)
    first = width - rows + 1  # position whose law the first kept row gives
    finite, law = torch.ones((), dtype=torch.bool, device=context.device), None
    for logits in problem.model.prefill(context, cache, rows):
        positions = first + torch.arange(logits.shape[1], device=context.device).expand(len(context), -1)
        inside = positions <= starts[:, None]
        clean = torch.where(inside[..., None], logits, 0)  # without rows of padding
        finite = finite & is_finite(clean)
        laws = laws_of(clean, problem.warp)
        if memory:
            memory.remember(positions, laws, inside & (positions > starts[:, None] - frame))
        here = (positions == starts[:, None]).to(laws.dtype)
        found = torch.einsum("bn,bnv->bv", here, laws)[:, None]
        law = found if law is None else law + found
        first += logits.shape[1]
    assert law is not None
    return Prefilled(law, memory, finite)


def start(problem: Problem, parts: Parts, cache: Cache) -> tuple[DecodeState, PassRecord]:
    """The state in front of the first window: one token decided."""
    begun, starts = prefill(problem, parts.draft.keeps_laws, cache), problem.starts
    empty = torch.zeros(len(starts), problem.columns, dtype=torch.long, device=starts.device)
    one = torch.ones_like(starts)
    noise = Noise(problem.seed, problem.streams, starts[:, None], 0 * one, begun.laws.dtype)
    token = race(begun.laws, noise.exponential(Purpose.GUMBEL, begun.laws.shape[-1]))
    tokens = empty.clone()
    tokens[:, : problem.context.shape[1]] = problem.context
    tokens = tokens.scatter(1, starts[:, None], token)
    position = torch.arange(problem.columns, device=starts.device)
    state = DecodeState(
        tokens=tokens,
        decided=(position <= starts[:, None]) | (position >= problem.ends[:, None]),
        written=(position < starts[:, None]) | (position >= problem.ends[:, None] - 1),
        settled=starts,
        frontier=starts + 1,
        window=None,
        laws=None,
        passes=one,
        memory=begun.memory,
        decided_in=empty.scatter(1, starts[:, None], one[:, None]),
        redrafted=empty,
        finite=begun.finite,
        pace=parts.lanes.begin(len(starts), starts.device) if isinstance(parts.lanes, Paced) else None,
    )
    return state, PassRecord(one, 0 * one, 0 * one, 0 * one, starts)
