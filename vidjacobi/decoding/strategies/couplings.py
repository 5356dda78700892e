"""How a redraft depends on the draft it replaces, and the evidence that couplings and verifiers judge by.

Famous decoders are a coupling and a verifier: SJD = Independent + RejectionSampler, MC-SJD = Maximal +
RejectionSampler, SCD's pi_GS = Gumbel + RejectionSampler, Jacobi = Gumbel + Pathwise.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Protocol, runtime_checkable

import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup
from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.sampler import draw, draw_mixed
from vidjacobi.sampling.truncated_probs import DraftProbs, Residual, TruncatedProbs
from vidjacobi.shapes import Mask, Tokens


@dataclass(frozen=True)
class Redraft:
    """New tokens of a window, each drawn from the target, and where the draft was kept."""

    tokens: Tokens
    kept: Mask


@runtime_checkable
class RedraftRule(Protocol):
    """Anything that turns evidence into new tokens: a coupling or a verifier. Equal rules are evaluated once."""

    def __call__(self, evidence: "DraftEvidence") -> Redraft: ...

    def __hash__(self) -> int: ...


@runtime_checkable
class RejectionRule(Protocol):
    """A rule that tests each draft, and draws from the residual in place of one that fails."""

    @property
    def noise(self) -> Purpose:
        """Of that draw."""
        ...

    def keeps(self, evidence: "DraftEvidence") -> Mask: ...


@runtime_checkable
class FreeRule(Protocol):
    """A rule that draws from p, whatever the drafts are."""

    @property
    def free_noise(self) -> Purpose:
        """Of that draw."""
        ...


class DraftEvidence:
    """One pass seen from the drafts of its window: what was guessed, what the model says now, and the noise.

    Each rule is evaluated at most once per pass, so a verifier and a coupling that rest on the same rule share
    its work (``RejectionSampler`` and ``Maximal`` do).

    Args:
        drafts: the guessed tokens.
        draft_probs: the distributions q that they were drawn from, or None where nothing reads them.
        target_probs: the distributions p of this pass.
        noise: of this window and pass.
    """

    def __init__(
        self, drafts: Tokens, draft_probs: DraftProbs | None, target_probs: TruncatedProbs, noise: Noise
    ) -> None:
        self.drafts, self._draft_probs = drafts, draft_probs
        self.target_probs, self.noise = target_probs, noise
        self._memo: dict[RedraftRule, Redraft] = {}

    @property
    def draft_probs(self) -> DraftProbs:
        """The distributions q of the drafts."""
        if self._draft_probs is None:
            raise RuntimeError(
                "draft probs were not stored: a part that reads them must say reads_draft_probs = True"
            )
        return self._draft_probs

    def draw(self, rule: RedraftRule) -> Redraft:
        """What ``rule`` makes of this pass."""
        if rule not in self._memo:
            self._memo[rule] = rule(self)
        return self._memo[rule]

    def judge(
        self, verifier: RedraftRule, coupling: RedraftRule, valid: Mask, one_lane: bool
    ) -> tuple[Redraft, Tokens]:
        """What the verifier makes of this pass, and the coupling's redrafts.

        Corrections are read at the first rejected slot of a lane, and redrafts after it. So where there is one lane,
        and the redrafts come from p whatever the drafts are, one race draws both, each slot from its own probs with
        its own noise.
        """
        pair = rules_of_one_race(verifier, coupling) if one_lane else None
        if pair is None:
            return self.draw(verifier), self.draw(coupling).tokens
        rejecting, free = pair
        kept = rejecting.keeps(self)
        # Kept 1 0 1 0 1: rejected 0 1 0 1 0, and the residual is asked for the first of them alone, 0 1 0 0 0.
        rejected = valid & ~kept
        first = Residual(self.draft_probs, rejected & (rejected.cumsum(-1) == 1), rejecting.noise)
        tokens = draw_mixed(self.target_probs, self.noise, free.free_noise, first)
        return Redraft(torch.where(kept, self.drafts, tokens), kept), tokens

    def from_target(self, purpose: Purpose) -> Tokens:
        """Draws from p."""
        return draw(self.target_probs, self.noise, purpose)

    def from_residual(self, purpose: Purpose, wanted: Mask) -> Tokens:
        """Draws from norm(max(0, p - q)), or from p where nothing is left; anything where not ``wanted``."""
        return draw(self.target_probs, self.noise, purpose, self.draft_probs, wanted)


@lru_cache(maxsize=64)  # to ask a protocol takes longer than a small draw
def rules_of_one_race(
    verifier: RedraftRule, coupling: RedraftRule
) -> "tuple[RejectionRule, FreeRule] | None":
    """The two rules where ``DraftEvidence.judge`` draws for both at once."""
    if isinstance(verifier, RejectionRule) and isinstance(coupling, FreeRule):
        return verifier, coupling
    return None


@runtime_checkable
class Coupling(RedraftRule, Protocol):
    """The joint distribution of a position's draft and its redraft.

    Contract: given everything to the left of the position and all earlier passes, if the draft follows q then
    the new token follows the target p, at every position, whatever the joint distribution. Only noise of this
    window and of the coupling's own purposes may be used. A rule that breaks this says ``guarantee = "lossy"``.
    """

    @property
    def guarantee(self) -> str:
        """ "lossless" if the contract holds, else "lossy"."""
        ...

    @property
    def draft_noise(self) -> Purpose:
        """Noise that a position's first draft is drawn with."""
        ...

    @property
    def reads_draft_probs(self) -> bool:
        """Whether the distributions q are looked at (otherwise they are not stored)."""
        ...


@dataclass(frozen=True)
class Independent:
    """Redraft from p with noise of this pass; it agrees with the draft by chance only (SJD, Teng et al. 2024)."""

    draft_noise: ClassVar[Purpose] = Purpose.FRESH
    free_noise: ClassVar[Purpose] = Purpose.REDRAW
    reads_draft_probs: ClassVar[bool] = False
    guarantee: ClassVar[str] = "lossless"

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        tokens = evidence.from_target(self.free_noise)
        return Redraft(tokens, tokens == evidence.drafts)


@dataclass(frozen=True)
class Maximal:
    """Keep the draft as often as any coupling can: with probability 1 - TV(p, q) (MC-SJD, algorithm 2).

    The one home of the rejection test: ``RejectionSampler`` reads its verdict from here.
    """

    draft_noise: ClassVar[Purpose] = Purpose.FRESH
    reads_draft_probs: ClassVar[bool] = True
    guarantee: ClassVar[str] = "lossless"

    def keeps(self, evidence: DraftEvidence) -> Mask:
        """The rejection test."""
        p, q = evidence.target_probs.of(evidence.drafts), evidence.draft_probs.of(evidence.drafts)
        # Accept x if u < p(x) / q(x), written without the division, which q(x) = 0 would break.
        # With p(x) = 0.3, q(x) = 0.4 and u = 0.7: 0.7 * 0.4 = 0.28 < 0.3, accepted.
        return evidence.noise.uniform(Purpose.ACCEPT) * q < p

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        kept = self.keeps(evidence)
        # Otherwise draw from norm(max(0, p - q)), which makes up for what was kept too often.
        # With p = 0.5 0.3 0.2 and q = 0.2 0.3 0.5 that is always token 0: the drafts 0, 1, 2 are drawn and kept
        # with probability 0.2, 0.3, 0.2, and the 0.3 that is left makes token 0 as likely as p wants it.
        redrawn = evidence.from_residual(Purpose.REDRAW, ~kept)
        return Redraft(torch.where(kept, evidence.drafts, redrawn), kept)


@dataclass(frozen=True)
class Gumbel:
    """Redraft argmax(log p + G), G the position's own Gumbel noise, the same in every pass (SCD's pi_GS).

    Two passes agree with probability at least (1 - TV) / (1 + TV).
    """

    draft_noise: ClassVar[Purpose] = Purpose.GUMBEL
    free_noise: ClassVar[Purpose] = Purpose.GUMBEL
    reads_draft_probs: ClassVar[bool] = False
    guarantee: ClassVar[str] = "lossless"

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        tokens = evidence.from_target(self.free_noise)
        return Redraft(tokens, tokens == evidence.drafts)


@dataclass(frozen=True)
class Mixture:
    """With probability ``alpha`` (0..1) the coupling named ``of``, else an independent redraft (MC-SJD, sec. 5)."""

    alpha: float
    of: str = "maximal"
    coupled: Coupling = field(init=False)
    guarantee: ClassVar[str] = "lossless"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InvalidArgument(f"alpha must lie in [0, 1], not {self.alpha}")
        entry = lookup("coupling", self.of, {"maximal": Maximal, "gumbel": Gumbel})
        object.__setattr__(self, "coupled", entry())

    @property
    def draft_noise(self) -> Purpose:
        return self.coupled.draft_noise

    @property
    def reads_draft_probs(self) -> bool:
        return self.coupled.reads_draft_probs

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        # The coin knows neither draft nor redrafts, so each side of it follows p, and what is chosen does too.
        heads = evidence.noise.uniform(Purpose.COIN) < self.alpha
        coupled, free = evidence.draw(self.coupled), evidence.draw(Independent())
        return Redraft(
            torch.where(heads, coupled.tokens, free.tokens), torch.where(heads, coupled.kept, free.kept)
        )


@dataclass(frozen=True)
class Reuse:
    """Keep the draft x if p(x) > ``threshold`` q(x), else draw from p anew (SJD++). Lossy.

    This is a test on the token's own value, so what stays no longer follows p, although p is stored as its
    distribution as everywhere here. The only public code keeps the old q, which is further off.
    """

    threshold: float = 0.5
    draft_noise: ClassVar[Purpose] = Purpose.FRESH
    reads_draft_probs: ClassVar[bool] = True
    guarantee: ClassVar[str] = "lossy"

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise InvalidArgument(f"reuse: threshold must be at least 0, not {self.threshold!r}")

    def __call__(self, evidence: DraftEvidence) -> Redraft:
        p, q = evidence.target_probs.of(evidence.drafts), evidence.draft_probs.of(evidence.drafts)
        kept = p > self.threshold * q
        return Redraft(torch.where(kept, evidence.drafts, evidence.draw(Independent()).tokens), kept)


COUPLINGS: dict[str, type] = {
    "independent": Independent,
    "maximal": Maximal,
    "gumbel": Gumbel,
    "mixture": Mixture,
    "reuse": Reuse,
}
