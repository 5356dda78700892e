"""A draft tree: siblings beside the drafts of the first slots, evaluated in the same pass.

Where the first rejected draft has a sibling that is accepted in its place, the pass already has the probs after
that sibling, and decides one token more. Level d of the tree holds ``width`` candidates for the d-th slot, and
the first of them (the draft) carries on the chain (SJD-PAC, arXiv 2603.18599; trees as in SpecInfer)::

    level 0   level 1   slots 2, 3 ...
    draft --- draft --- draft --- draft        the chain
    sibling   sibling                          width 3: two siblings a level, each a leaf
    sibling   sibling
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import check_whole
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.probs import gumbel_max, probability, residual
from vidjacobi.sampling.truncated_probs import TruncatedProbs
from vidjacobi.shapes import Probs, Tokens


@dataclass(frozen=True)
class DraftTree:
    """``width`` - 1 siblings at each of the first ``depth`` slots of the window.

    There are fewer levels where they would take more than ``share`` of the window's positions (all but one
    where it is None): in small windows a position is worth more as a draft (docs/log/decoders.md).
    """

    depth: int = 1
    width: int = 4
    share: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("depth", 1), ("width", 2)):
            check_whole("draft_tree", name, getattr(self, name), least)
        if self.share is not None and not 0 < self.share < 1:
            raise InvalidArgument(f"draft_tree: share must lie between 0 and 1, not {self.share!r}")

    def levels(self, window: int) -> int:
        """Slots that have siblings in a pass of ``window`` positions."""
        # A quarter of 16 positions is 4: room for one level of three siblings, whatever depth is asked for.
        most = window - 1 if self.share is None else int(self.share * window)
        return min(self.depth, most // (self.width - 1))

    def count(self, window: int) -> int:
        """Positions of a pass that they take."""
        return self.levels(window) * (self.width - 1)

    def widest(self, room: int) -> int:
        """The least window that holds ``room`` drafts beside the siblings of all levels: a wider one does no more."""
        siblings = self.depth * (self.width - 1)
        return max(room + siblings, 0 if self.share is None else math.ceil(siblings / self.share) + 1)


@dataclass(frozen=True)
class Siblings:
    """Siblings of the first d drafts; one does not exist where q has too few tokens."""

    tokens: Int[Tensor, "b d k"]
    exist: Bool[Tensor, "b d k"]


def draw_siblings(probs: Probs, drafts: Tokens, count: int, exponential: Float[Tensor, "b d v"]) -> Siblings:
    """``count`` draws without replacement from each draft's q without the draft itself.

    The order of q / E (E exponential noise) is that of drawing one after the other. With the noise that the
    draft itself was drawn with, these are the runners-up.
    """
    scores = (probs / exponential).scatter(-1, drafts[..., None], 0)
    best = scores.topk(min(count, probs.shape[-1]), -1)
    # A vocabulary smaller than the level: the slots left over hold token 0 with score 0, and so do not exist.
    missing = count - best.indices.shape[-1]
    tokens = torch.nn.functional.pad(best.indices, (0, missing))
    return Siblings(tokens, torch.nn.functional.pad(best.values, (0, missing)) > 0)


@dataclass(frozen=True)
class RejectedDraft:
    """The first rejected draft of every clip.

    Attributes:
        target_probs: p of its slot.
        draft_probs: q that it and its siblings were drawn from, without replacement. Both are None for a verifier
            that says it reads no draft probs.
        draft: itself.
        corrected: the token of the verdict that knows no siblings.
        siblings, exists: the other candidates, in the order they were drawn.
        noise: of its position.
    """

    target_probs: Float[Tensor, "b 1 v"] | None
    draft_probs: Float[Tensor, "b 1 v"] | None
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
    assert rejected.target_probs is not None
    assert rejected.draft_probs is not None
    # Example, p = 0.2 0.4 0.4 and q = 0.5 0.3 0.2, the draft 0 rejected, then its siblings 1 and 2 in turn:
    #     left         0    1/3  2/3      what p has and q has not
    #     draft_probs  0    0.6  0.4      q without the draft: what sibling 1 was drawn from
    #     sibling 1 is accepted with probability (1/3) / 0.6; else both become 0 0 1, and sibling 2 is accepted
    left = normalised(residual(rejected.target_probs, rejected.draft_probs))
    draft_probs = normalised(rejected.draft_probs.scatter(-1, rejected.draft[..., None], 0))
    uniforms = rejected.noise.uniforms(Purpose.SIBLING_ACCEPT, rejected.siblings.shape[-1])
    hit = torch.full_like(rejected.draft[:, 0], -1)
    for index in range(rejected.siblings.shape[-1]):
        token, exists = rejected.siblings[:, index, None], rejected.exists[:, index, None]
        odds = uniforms[..., index] * probability(draft_probs, token)
        accepted = exists & (odds < probability(left, token))
        # All siblings are tested, so that shapes stay; what comes after the first hit changes nothing.
        hit = torch.where(accepted[:, 0] & (hit < 0), index, hit)
        open_still = ((hit < 0)[:, None] & exists)[..., None]
        left = torch.where(open_still, normalised(residual(left, draft_probs)), left)
        draft_probs = normalised(draft_probs.scatter(-1, token[..., None], 0))
    drawn = gumbel_max(left, rejected.noise.exponential(Purpose.REDRAW, left.shape[-1]))
    chosen = rejected.siblings.gather(1, hit.clamp(min=0)[:, None])
    return TreeVerdict(torch.where((hit >= 0)[:, None], chosen, drawn), hit)


def normalised(weights: Float[Tensor, "b 1 v"]) -> Float[Tensor, "b 1 v"]:
    """Rows divided by their sums; a row of zeros stays."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


@dataclass(frozen=True)
class TreeBranch:
    """The first rejected draft of every clip, and what stands in its place.

    Attributes:
        position: of the rejected draft.
        level: whether it lay on a level with siblings (otherwise nothing changes).
        token: in its place.
        hit: whether that is a sibling, so that the next token could be decided too.
        node: the sibling's index among all of them; 0 where there is none.
        probs, next_token: the distribution ``[b 1 v]`` after the sibling, and the token drawn from it; no probs
            where it is known that no clip has such a sibling.
    """

    position: Int[Tensor, " b"]
    level: Bool[Tensor, " b"]
    token: Tokens
    hit: Bool[Tensor, " b"]
    node: Int[Tensor, " b"]
    probs: TruncatedProbs | None
    next_token: Tokens
