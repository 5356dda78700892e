"""Which drafts become final: accepted ones, and the corrected token where the first rejection fell."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.strategies.couplings import DraftEvidence, Gumbel, Maximal, Redraft, RedraftRule
from vidjacobi.decoding.strategies.draft_tree import RejectedDraft, TreeVerdict, try_in_turn
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import check_whole
from vidjacobi.sampling.noise import Purpose
from vidjacobi.sampling.probs import sort_falling
from vidjacobi.shapes import Mask, Probs


@runtime_checkable
class Verifier(RedraftRule, Protocol):
    """A rule of acceptance: slot by slot, whether the draft is kept, and the token in its place if not.

    The decided tokens of a lane are the verdict's tokens up to and including the first slot that was not
    kept; what the verdict says after it is not used. ``guarantee`` is what it proves for drafts of the
    distribution q: "identical" (the very tokens of AR), "lossless" (its distribution) or "lossy".
    ``noise`` is what a token is drawn with where no draft is in the way.
    """

    @property
    def guarantee(self) -> str: ...

    @property
    def reads_draft_probs(self) -> bool: ...

    @property
    def noise(self) -> Purpose: ...


@runtime_checkable
class TreeVerifier(Verifier, Protocol):
    """A verifier that can also choose among the siblings of the first rejected draft."""

    @property
    def sibling_noise(self) -> Purpose:
        """Noise that the siblings of a draft are drawn with."""
        ...

    def choose_sibling(self, rejected: RejectedDraft) -> TreeVerdict: ...


@dataclass(frozen=True)
class RejectionSampler:
    """Accept x if u q(x) < p(x), correct from the residual norm(max(0, p - q)) (Leviathan et al. 2023).

    Example: drafts a b c d e, of which c is the first that fails. a and b are *accepted*, the token drawn from
    c's residual is the *corrected* one, and d and e are redrafted by the coupling.
    """

    guarantee: ClassVar[str] = "lossless"
    reads_draft_probs: ClassVar[bool] = True
    noise: ClassVar[Purpose] = Purpose.REDRAW
    sibling_noise: ClassVar[Purpose] = Purpose.SIBLING

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        return evidence.draw(Maximal())

    def keeps(self, evidence: DraftEvidence) -> Mask:
        """The rejection test."""
        return Maximal().keeps(evidence)

    def choose_sibling(self, rejected: RejectedDraft) -> TreeVerdict:
        """Sibling by sibling: p becomes norm(max(0, p - q)), q loses the token that was tried (SJD-PAC)."""
        return try_in_turn(rejected)


@dataclass(frozen=True)
class Pathwise:
    """Accept x iff it is argmax(log p + G), G the position's own noise: the token that AR draws from it."""

    guarantee: ClassVar[str] = "identical"
    reads_draft_probs: ClassVar[bool] = False
    noise: ClassVar[Purpose] = Purpose.GUMBEL
    sibling_noise: ClassVar[Purpose] = Purpose.GUMBEL

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        return evidence.draw(Gumbel())

    def choose_sibling(self, rejected: RejectedDraft) -> TreeVerdict:
        """A sibling is right iff it is the token that AR draws."""
        right = rejected.exists & (rejected.siblings == rejected.corrected)
        return TreeVerdict(rejected.corrected, torch.where(right.any(-1), right.long().argmax(-1), -1))


@dataclass(frozen=True)
class Grouped:
    """GSD (lossy): accept x if u q(group) < p(group), correct from the token's own residual.

    The group are the tokens from ``size`` ranks above x to ``size - 1`` below it in the order of p, ties
    together, whose probability differs from p(x) by less than ``closeness``. The published code also asks for
    near embeddings, which are a model's own.
    """

    size: int = 7
    closeness: float = 0.15
    guarantee: ClassVar[str] = "lossy"
    reads_draft_probs: ClassVar[bool] = True
    noise: ClassVar[Purpose] = Purpose.REDRAW

    def __post_init__(self) -> None:
        check_whole("grouped", "size", self.size, 1)
        if not 0 < self.closeness <= 1:
            raise InvalidArgument(f"grouped: closeness must lie in (0, 1], not {self.closeness!r}")

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        target = evidence.target_probs.dense()
        group = self.group(target, evidence.target_probs.of(evidence.drafts)[..., None])
        p, q = (torch.where(group, probs, 0).sum(-1) for probs in (target, evidence.draft_probs.dense()))
        kept = evidence.noise.uniform(Purpose.ACCEPT) * q < p
        redrawn = evidence.from_residual(Purpose.REDRAW, ~kept)
        return Redraft(torch.where(kept, evidence.drafts, redrawn), kept)

    def group(self, probs: Probs, of: Float[Tensor, "b n 1"]) -> Bool[Tensor, "b n v"]:
        """The tokens grouped with one of probability ``of``."""
        # Probs 0.4 0.25 0.15 0.1 0.1 around 0.15 with a size of 2: ranks from two above to one below are 0.4 ...
        # 0.1, ties with the last come along, and 0.4 is left out, since it is not within 0.15.
        falling = sort_falling(probs)
        rank = (probs > of).sum(-1, keepdim=True)
        last = probs.shape[-1] - 1
        highest = falling.gather(-1, (rank - self.size).clamp(0, last))
        lowest = falling.gather(-1, (rank + self.size - 1).clamp(0, last))
        return (probs <= highest) & (probs >= lowest) & ((probs - of).abs() < self.closeness)


VERIFIERS: dict[str, type] = {
    "rejection_sampling": RejectionSampler,
    "pathwise": Pathwise,
    "grouped": Grouped,
}


@dataclass(frozen=True)
class AcceptedPrefix:
    """What a pass decides, slot by slot: accepted drafts, and with ``decided`` the corrected tokens too."""

    accepted: Mask
    decided: Mask


def accept_prefix(
    kept: Mask, valid: Mask, lane: Int[Tensor, "b n"] | None = None, corrects: Mask | None = None
) -> AcceptedPrefix:
    """Per lane the kept drafts before its first rejected one, and that one's correction where ``corrects``.

    Slots are sorted by lane; those that are not ``valid`` decide nothing and break no run. By default there is
    one lane, and corrections everywhere.

    Example with two lanes, A at slots 0-2 and B at slots 3-4 (1: yes)::

        lane       A A A B B
        kept       1 0 1 1 1
        rejected   0 1 0 0 0
        before     0 0 1 0 0    rejections before each slot, within its lane
        accepted   1 0 0 1 1
        decided    1 1 0 1 1    slot 1 is corrected
    """
    may, keeps = valid.numpy(), kept.numpy()
    rejected = may & ~keeps
    before = rejected.cumsum(-1) - rejected
    if lane is not None:
        # The running count at a lane's first slot belongs to earlier lanes: take it off the lane's other slots.
        starts = np.ones(may.shape, bool)
        # In the example ``before`` is 0 0 1 1 1, and 0 0 0 1 1 is taken off.
        starts[:, 1:] = lane.numpy()[:, 1:] != lane.numpy()[:, :-1]
        before -= np.maximum.accumulate(np.where(starts, before, 0), -1)
    run = may & (before == 0)
    decided = run if corrects is None else run & (keeps | corrects.numpy())
    return AcceptedPrefix(torch.from_numpy(run & keeps), torch.from_numpy(decided))
