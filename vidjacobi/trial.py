"""One pass seen from the drafts: what was guessed, what the model says now, and the noise to judge with.

Verifiers and couplings read a Trial; each coupling is evaluated at most once per pass, so a verifier and a
redraft that rest on the same rule share its work.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vidjacobi.noise import Noise, Purpose
from vidjacobi.shapes import Laws, Mask, Tokens

T = TypeVar("T")


@dataclass(frozen=True)
class Coupled:
    """New tokens of a window, each drawn from the target, and where the draft was kept."""

    tokens: Tokens
    kept: Mask


@runtime_checkable
class Rule(Protocol):
    """Anything that turns a pass into new tokens: a coupling or a verifier. Equal rules are evaluated once."""

    def __call__(self, trial: "Trial") -> Coupled: ...

    def __hash__(self) -> int: ...


@runtime_checkable
class Coupling(Rule, Protocol):
    """The joint law of a position's draft and its redraft.

    Contract: given everything left of the position and all earlier passes, if the draft follows ``q`` then
    the new token follows the target ``p``, at every position, whatever the joint law. Only noise of this
    window and of the coupling's own purposes may be used. A rule that breaks this says ``law = "lossy"``.
    """

    @property
    def law(self) -> str:
        """ "lossless" if the contract holds, else "lossy"."""
        ...

    @property
    def fresh(self) -> Purpose:
        """Noise that a position's first draft is drawn with."""
        ...

    @property
    def reads_laws(self) -> bool:
        """Whether the draft laws ``q`` are looked at (otherwise they are not stored)."""
        ...


class Trial:
    """Drafts, target and noise of one window.

    Args:
        drafts: the guessed tokens.
        laws: the laws ``q`` they were drawn from, or None where nothing reads them.
        target: the laws ``p`` of this pass.
        noise: of this window and pass.
    """

    def __init__(self, drafts: Tokens, laws: Laws | None, target: Laws, noise: Noise) -> None:
        self.drafts, self._laws, self.target, self.noise = drafts, laws, target, noise
        self._memo: dict[Hashable, object] = {}

    @property
    def laws(self) -> Laws:
        """The draft laws ``q``."""
        if self._laws is None:
            raise RuntimeError(
                "draft laws were not stored: a part that reads them must say reads_laws = True"
            )
        return self._laws

    def draw(self, rule: Rule) -> Coupled:
        """What ``rule`` makes of this pass."""
        return self._once(rule, lambda: rule(self))

    def exponential(self, purpose: Purpose) -> Float[Tensor, "b n v"]:
        """The window's race noise of one purpose, for tokens that the target allows (1 for the others)."""
        return self._once(purpose, lambda: self.noise.exponential_where(purpose, self.target > 0))

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._memo:
            self._memo[key] = make()
        return cast(T, self._memo[key])
