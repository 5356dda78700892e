"""Intervals by resampling whole units (starts, episodes), so that what belongs together stays together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

DRAWS, SEED = 2000, 0


@dataclass(frozen=True)
class Resampled:
    """A value and the ends of its 95 % bootstrap interval; None where it is not defined.

    Attributes:
        undefined: the share of draws in which it is not; the ends are those of the others.
    """

    value: float | None
    low: float | None
    high: float | None
    undefined: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """``mean`` (the value), ``low``, ``high``, and ``undefined`` where it ever was."""
        found: dict[str, Any] = {"mean": self.value, "low": self.low, "high": self.high}
        return {**found, "undefined": self.undefined} if self.undefined else found


Statistic = Callable[[Int[np.ndarray, "draws units"]], Float[np.ndarray, " draws"]]


def resampled(statistic: Statistic, units: int, draws: int = DRAWS, seed: int = SEED) -> Resampled:
    """A statistic of units by their numbers, 0 to ``units - 1``, some of them several times in a draw.

    Two statistics with one seed see the same draws, so a statistic of a difference is a paired one. Where a draw has
    no value, it is NaN.
    """
    rng = np.random.default_rng(seed)
    (whole,) = statistic(np.arange(units)[None])
    found = statistic(rng.integers(0, units, (draws, units)))
    known = found[np.isfinite(found)]
    if not np.isfinite(whole) or not len(known):
        return Resampled(None, None, None, 1.0)
    low, high = np.percentile(known, [2.5, 97.5])
    return Resampled(float(whole), float(low), float(high), 1 - len(known) / draws)
