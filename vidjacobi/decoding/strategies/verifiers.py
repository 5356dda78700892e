"""Which drafts become final. A verdict says, slot by slot, whether the draft is kept, and the token if not."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.strategies.couplings import Gumbel, Maximal
from vidjacobi.decoding.strategies.draft_tree import RejectedDraft, TreeVerdict, try_in_turn
from vidjacobi.decoding.strategies.evidence import DraftEvidence, Redraft, Rule
from vidjacobi.errors import InvalidArgument, check_whole
from vidjacobi.sampling.noise import Purpose
from vidjacobi.sampling.reference import sort_falling
from vidjacobi.shapes import Mask, Probs


@runtime_checkable
class Verifier(Rule, Protocol):
    """A rule of acceptance.

    The decided tokens of a lane are the verdict's tokens up to and including the first slot that was not
    kept; what the verdict says behind it is not used. ``guarantee`` is what it proves for drafts of the law q:
    "identical" (the very tokens of AR), "lossless" (its distribution) or "lossy". ``noise`` is what a token is
    drawn with where no draft is in the way.
    """

    @property
    def guarantee(self) -> str: ...

    @property
    def reads_draft_probs(self) -> bool: ...

    @property
    def noise(self) -> Purpose: ...


@runtime_checkable
class TreeVerifier(Verifier, Protocol):
    """A verifier that can also choose among siblings of the first rejected draft."""

    @property
    def sibling_noise(self) -> Purpose:
        """Noise that the siblings of a draft are drawn with."""
        ...

    def among(self, rejected: RejectedDraft) -> TreeVerdict: ...


@dataclass(frozen=True)
class RejectionSampler:
    """Rejection sampling: accept x if u q(x) < p(x), correct from the residual (Leviathan et al. 2023)."""

    guarantee: ClassVar[str] = "lossless"
    reads_draft_probs: ClassVar[bool] = True
    noise: ClassVar[Purpose] = Purpose.REDRAW
    sibling_noise: ClassVar[Purpose] = Purpose.SIBLING

    def __call__(self, trial: DraftEvidence) -> Redraft:
        return trial.draw(Maximal())

    def among(self, rejected: RejectedDraft) -> TreeVerdict:
        """Sibling by sibling: p becomes norm(max(0, p - q)), q loses the token that was tried (SJD-PAC)."""
        return try_in_turn(rejected)


@dataclass(frozen=True)
class Pathwise:
    """Accept x iff it is argmax(log p + G_position), the token that AR draws from the same noise."""

    guarantee: ClassVar[str] = "identical"
    reads_draft_probs: ClassVar[bool] = False
    noise: ClassVar[Purpose] = Purpose.GUMBEL
    sibling_noise: ClassVar[Purpose] = Purpose.GUMBEL

    def __call__(self, trial: DraftEvidence) -> Redraft:
        return trial.draw(Gumbel())

    def among(self, rejected: RejectedDraft) -> TreeVerdict:
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

    def __call__(self, trial: DraftEvidence) -> Redraft:
        target = trial.target.dense()
        group = self.group(target, trial.target.of(trial.drafts)[..., None])
        p, q = (torch.where(group, laws, 0).sum(-1) for laws in (target, trial.laws.dense()))
        kept = trial.noise.uniform(Purpose.ACCEPT) * q < p
        redrawn = trial.from_residual(Purpose.REDRAW, ~kept)
        return Redraft(torch.where(kept, trial.drafts, redrawn), kept)

    def group(self, laws: Probs, of: Float[Tensor, "b n 1"]) -> Bool[Tensor, "b n v"]:
        """The tokens grouped with one of probability ``of``."""
        falling = sort_falling(laws)
        rank = (laws > of).sum(-1, keepdim=True)
        last = laws.shape[-1] - 1
        highest = falling.gather(-1, (rank - self.size).clamp(0, last))
        lowest = falling.gather(-1, (rank + self.size - 1).clamp(0, last))
        return (laws <= highest) & (laws >= lowest) & ((laws - of).abs() < self.closeness)


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
    """Per lane the kept drafts in front of its first rejected one, and that one's correction where ``corrects``.

    Slots are sorted by lane; those that are not ``valid`` decide nothing and break no run. One lane and
    corrections everywhere by default.
    """
    rejected = (valid & ~kept).long()
    before = rejected.cumsum(-1) - rejected
    if lane is not None:
        starts = torch.cat([torch.ones_like(valid[:, :1]), lane[:, 1:] != lane[:, :-1]], 1)
        before = before - torch.where(starts, before, 0).cummax(-1).values
    run = valid & (before == 0)
    return AcceptedPrefix(run & kept, run if corrects is None else run & (kept | corrects))
