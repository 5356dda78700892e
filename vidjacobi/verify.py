"""Which drafts become final. A verdict says, slot by slot, whether the draft is kept, and the token if not."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from vidjacobi.couplings import Gumbel, Maximal
from vidjacobi.shapes import Counts, Mask
from vidjacobi.trial import Coupled, Rule, Trial


@runtime_checkable
class Verifier(Rule, Protocol):
    """A rule of acceptance.

    The decided tokens are the verdict's tokens up to and including the first slot that was not kept; what
    the verdict says behind it is not used. ``law`` is what it proves for any coupling and draft rule:
    "pathwise" (the very tokens of AR), "lossless" (the law of AR) or "lossy".
    """

    @property
    def law(self) -> str: ...

    @property
    def reads_laws(self) -> bool: ...


@dataclass(frozen=True)
class Speculative:
    """Rejection sampling: accept x if u q(x) < p(x), correct from the residual (Leviathan et al. 2023)."""

    law: ClassVar[str] = "lossless"
    reads_laws: ClassVar[bool] = True

    def __call__(self, trial: Trial) -> Coupled:
        return trial.draw(Maximal())


@dataclass(frozen=True)
class Pathwise:
    """Accept x iff it is argmax(log p + G_position), the token that AR draws from the same noise."""

    law: ClassVar[str] = "pathwise"
    reads_laws: ClassVar[bool] = False

    def __call__(self, trial: Trial) -> Coupled:
        return trial.draw(Gumbel())


VERIFIERS: dict[str, type] = {"speculative": Speculative, "pathwise": Pathwise}


def count_accepted(kept: Mask, valid: Mask) -> Counts:
    """Drafts kept in front of the first one that was not."""
    return (kept & valid).long().cumprod(-1).sum(-1)


def count_decided(kept: Mask, valid: Mask) -> Counts:
    """Accepted drafts plus the corrected token, if one fell inside the clip."""
    return (count_accepted(kept, valid) + 1).minimum(valid.sum(-1))
