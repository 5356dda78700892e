"""Other candidates beside the drafts of the first slots, evaluated in the same pass.

If the first rejected draft has a sibling that is accepted in its place, the pass has the law behind that
sibling too and decides one token more. With the drafts they form a tree: level d holds ``width`` candidates
for the d-th slot, the first of which (the draft) carries on the chain (SJD-PAC, arXiv 2603.18599).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument, check_whole
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.reference import gumbel_max, probability, residual
from vidjacobi.shapes import Probs, Tokens


@dataclass(frozen=True)
class DraftTree:
    """``width`` - 1 siblings at each of the first ``depth`` slots of the window.

    There are fewer levels where they would take more than ``share`` of the window's positions (all but one
    where it is None): in small windows a position is worth more as a draft (LOG.md).
    """

    depth: int = 1
    width: int = 4
    share: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("depth", 1), ("width", 2)):
            check_whole("siblings", name, getattr(self, name), least)
        if self.share is not None and not 0 < self.share < 1:
            raise InvalidArgument(f"siblings: share must lie between 0 and 1, not {self.share!r}")

    def levels(self, window: int) -> int:
        """Slots that have siblings in a pass of ``window`` positions."""
        most = window - 1 if self.share is None else int(self.share * window)
        return min(self.depth, most // (self.width - 1))

    def count(self, window: int) -> int:
        """Positions of a pass that they take."""
        return self.levels(window) * (self.width - 1)


@dataclass(frozen=True)
class TreeDrafts:
    """Siblings of the first d drafts; one does not exist where q has too few tokens."""

    tokens: Int[Tensor, "b d k"]
    exist: Bool[Tensor, "b d k"]


def choose(laws: Probs, drafts: Tokens, count: int, exponential: Float[Tensor, "b d v"]) -> TreeDrafts:
    """``count`` draws without replacement from each draft's law ``q`` without the draft itself.

    The race's order is that of drawing one after the other. With the noise that the draft won its own race
    with these are the runners-up.
    """
    scores = (laws / exponential).scatter(-1, drafts[..., None], 0)
    best = scores.topk(min(count, laws.shape[-1]), -1)
    missing = count - best.indices.shape[-1]
    tokens = torch.nn.functional.pad(best.indices, (0, missing))
    return TreeDrafts(tokens, torch.nn.functional.pad(best.values, (0, missing)) > 0)


@dataclass(frozen=True)
class RejectedDraft:
    """The first rejected draft of every clip.

    Attributes:
        target: law p of its slot.
        laws: law q that it and its siblings were drawn from, without replacement.
        draft: itself.
        corrected: the token of the verdict that knows no siblings.
        siblings, exists: the other candidates, in the order they were drawn.
        noise: of its position.
    """

    target: Float[Tensor, "b 1 v"]
    laws: Float[Tensor, "b 1 v"]
    draft: Int[Tensor, "b 1"]
    corrected: Int[Tensor, "b 1"]
    siblings: Int[Tensor, "b k"]
    exists: Bool[Tensor, "b k"]
    noise: Noise


@dataclass(frozen=True)
class TreeVerdict:
    """The token in place of a rejected draft, and which sibling it is (-1: none)."""

    tokens: Int[Tensor, "b 1"]
    hit: Int[Tensor, " b"]


def try_in_turn(rejected: RejectedDraft) -> TreeVerdict:
    """Rejection sampling with candidates drawn without replacement: every test has a uniform of its own."""
    left = unit(residual(rejected.target, rejected.laws))
    law = unit(rejected.laws.scatter(-1, rejected.draft[..., None], 0))
    uniforms = rejected.noise.uniforms(Purpose.SIBLING_ACCEPT, rejected.siblings.shape[-1])
    hit = torch.full_like(rejected.draft[:, 0], -1)
    for index in range(rejected.siblings.shape[-1]):
        token, exists = rejected.siblings[:, index, None], rejected.exists[:, index, None]
        accepted = exists & (uniforms[..., index] * probability(law, token) < probability(left, token))
        hit = torch.where(accepted[:, 0] & (hit < 0), index, hit)
        open_still = ((hit < 0)[:, None] & exists)[..., None]
        left = torch.where(open_still, unit(residual(left, law)), left)
        law = unit(law.scatter(-1, token[..., None], 0))
    vocabulary = left.shape[-1]
    drawn = gumbel_max(left, rejected.noise.exponential(Purpose.REDRAW, vocabulary))
    chosen = rejected.siblings.gather(1, hit.clamp(min=0)[:, None])
    return TreeVerdict(torch.where((hit >= 0)[:, None], chosen, drawn), hit)


def unit(weights: Float[Tensor, "b 1 v"]) -> Float[Tensor, "b 1 v"]:
    """Rows divided by their sums; a row of zeros stays."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
