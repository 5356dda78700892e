"""One pass seen from the drafts: what was guessed, what the model says now, and the noise to judge with.

Verifiers and couplings read a DraftEvidence; each coupling is evaluated at most once per pass, so a verifier and a
redraft that rest on the same rule share its work.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vidjacobi.sampling.noise import Noise, Purpose
from vidjacobi.sampling.sampler import draw
from vidjacobi.sampling.truncated_probs import DraftProbs, TruncatedProbs
from vidjacobi.shapes import Mask, Tokens


@dataclass(frozen=True)
class Redraft:
    """New tokens of a window, each drawn from the target, and where the draft was kept."""

    tokens: Tokens
    kept: Mask


@runtime_checkable
class Rule(Protocol):
    """Anything that turns a pass into new tokens: a coupling or a verifier. Equal rules are evaluated once."""

    def __call__(self, trial: "DraftEvidence") -> Redraft: ...

    def __hash__(self) -> int: ...


@runtime_checkable
class Coupling(Rule, Protocol):
    """The joint law of a position's draft and its redraft.

    Contract: given everything left of the position and all earlier passes, if the draft follows ``q`` then
    the new token follows the target ``p``, at every position, whatever the joint law. Only noise of this
    window and of the coupling's own purposes may be used. A rule that breaks this says ``guarantee = "lossy"``.
    """

    @property
    def guarantee(self) -> str:
        """ "lossless" if the contract holds, else "lossy"."""
        ...

    @property
    def fresh(self) -> Purpose:
        """Noise that a position's first draft is drawn with."""
        ...

    @property
    def reads_draft_probs(self) -> bool:
        """Whether the draft laws ``q`` are looked at (otherwise they are not stored)."""
        ...


class DraftEvidence:
    """Drafts, target and noise of one window.

    Args:
        drafts: the guessed tokens.
        laws: the laws ``q`` they were drawn from, or None where nothing reads them.
        target: the laws ``p`` of this pass.
        noise: of this window and pass.
    """

    def __init__(self, drafts: Tokens, laws: DraftProbs | None, target: TruncatedProbs, noise: Noise) -> None:
        self.drafts, self._laws, self.target, self.noise = drafts, laws, target, noise
        self._memo: dict[Rule, Redraft] = {}

    @property
    def laws(self) -> DraftProbs:
        """The draft laws ``q``."""
        if self._laws is None:
            raise RuntimeError(
                "draft laws were not stored: a part that reads them must say reads_draft_probs = True"
            )
        return self._laws

    def draw(self, rule: Rule) -> Redraft:
        """What ``rule`` makes of this pass."""
        if rule not in self._memo:
            self._memo[rule] = rule(self)
        return self._memo[rule]

    def from_target(self, purpose: Purpose) -> Tokens:
        """Draws from ``p``."""
        return draw(self.target, self.noise, purpose)

    def from_residual(self, purpose: Purpose, wanted: Mask) -> Tokens:
        """Draws from norm(max(0, p - q)), or from ``p`` where nothing is left; anything where not ``wanted``."""
        return draw(self.target, self.noise, purpose, self.laws, wanted)
