"""The first pass: feed the context, decide the first token, remember the laws that drafts will come from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from vidjacobi.decoding.state import DecodeState, Problem, Strategies
from vidjacobi.decoding.strategies.frame_probs import FrameProbsCache
from vidjacobi.decoding.strategies.lanes import StatefulLanes
from vidjacobi.models.protocol import Cache, different, prefill_once
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.reference import is_finite, probs_dtype
from vidjacobi.sampling.sampler import draw, to_truncated_probs
from vidjacobi.shapes import Logits


@dataclass(frozen=True)
class Prefilled:
    """What the prefill leaves, a row for each different context.

    Attributes:
        logits: those of the first new position, ``[b 1 v]``.
        memory: laws of the context's last frame, where the draft rule keeps them.
        finite: whether all its logits were.
    """

    logits: Logits
    memory: FrameProbsCache | None
    finite: Bool[Tensor, " b"]

    def rows(self, rows: Sequence[int]) -> "Prefilled":
        """Some rows, in this order."""
        index = torch.tensor(rows, device=self.logits.device)
        memory = None if self.memory is None else self.memory.rows(index)
        return Prefilled(self.logits[index], memory, self.finite[index])


def prefill(problem: Problem, keeps_probs: int, cache: Cache) -> Prefilled:
    """Feed every different context (padding on the right is never visible to anything)."""
    own = problem if problem.sources is None else problem.part(different(problem.sources)[0])
    context, starts = own.context, own.starts
    width, frame = context.shape[1], problem.grid.frame_tokens
    shortest = width if problem.lengths is None else int(starts.min())
    memory = None
    if keeps_probs:
        keep = min(keeps_probs, problem.model.vocab_size)
        memory = FrameProbsCache.of_context(context, frame, keep, probs_dtype(problem.model.dtype), starts)
    rows = width - shortest + (min(frame, shortest) if memory else 1)
    first = width - rows + 1  # position whose law the first kept row gives
    finite, law = torch.ones_like(starts, dtype=torch.bool), None  # law: logits of the first new position
    for logits in prefill_once(problem.model, problem.context, problem.sources, cache, rows):
        positions = first + torch.arange(logits.shape[1], device=context.device).expand(len(context), -1)
        inside = positions <= starts[:, None]
        finite = finite & is_finite(logits, inside)
        if memory:
            clean = logits if problem.lengths is None else torch.where(inside[..., None], logits, 0)
            recent = inside & (positions > starts[:, None] - frame)
            memory = memory.remember(positions, to_truncated_probs(clean, problem.sampling), recent)
        slot = (starts - first)[:, None, None].clamp(0, logits.shape[1] - 1)
        found = logits.gather(1, slot.expand(-1, -1, logits.shape[-1]))
        here = (positions == starts[:, None]).any(-1)[:, None, None]
        law = found if law is None else torch.where(here, found, law)
        first += logits.shape[1]
    assert law is not None
    return Prefilled(law, memory, finite)


def start(problem: Problem, parts: Strategies, cache: Cache) -> DecodeState:
    """The state in front of the first window: the contexts are in the cache and one token is decided."""
    begun = prefill(problem, parts.draft.keeps_probs, cache)
    if problem.sources is not None:
        begun = begun.rows(different(problem.sources)[1])
    return begin(problem, parts, begun)


def begin(problem: Problem, parts: Strategies, begun: Prefilled) -> DecodeState:
    """The state in front of the first window, from what the prefill left of each clip."""
    starts, ends = problem.starts, problem.ends
    empty = torch.zeros(len(starts), problem.columns, dtype=torch.long, device=starts.device)
    one = torch.ones_like(starts)
    law = to_truncated_probs(begun.logits, problem.sampling)
    token = draw(
        law, Noise(problem.seed, problem.noise_keys, starts[:, None], 0 * one, law.dtype), Purpose.GUMBEL
    )
    tokens = empty.clone()
    tokens[:, : problem.context.shape[1]] = problem.context
    tokens = tokens.scatter(1, starts[:, None], token)
    position = torch.arange(problem.columns, device=starts.device)
    return DecodeState(
        seeds=torch.full_like(starts, problem.seed),
        noise_keys=problem.noise_keys,
        starts=starts,
        ends=ends,
        tokens=tokens,
        decided=(position <= starts[:, None]) | (position >= ends[:, None]),
        written=(position < starts[:, None]) | (position >= ends[:, None] - 1),
        exact_prefix=starts,
        frontier=starts + 1,
        window=None,
        laws=None,
        passes=one,
        memory=begun.memory,
        decided_in=empty.scatter(1, starts[:, None], one[:, None]),
        redrafted=empty,
        finite=begun.finite,
        pace=parts.lanes.begin(len(starts), starts.device)
        if isinstance(parts.lanes, StatefulLanes)
        else None,
    )
