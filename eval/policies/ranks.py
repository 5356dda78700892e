"""Whether two worlds rank policies alike, with intervals over the starts and a ceiling."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vidjacobi.errors import BadInput
from vidjacobi.eval.resampling import DRAWS, Resampled, resampled

BAR = 0.8  # Spearman's correlation from which on a world counts as ranking alike
Best = Float[np.ndarray, "policies starts"]  # the largest coverage of each episode
Means = Float[np.ndarray, "policies draws"]  # over the starts of a draw


@dataclass(frozen=True)
class Agreement:
    """How alike a world ranks: its correlations with the true world, None where all policies are equal there."""

    spearman: Resampled
    pearson: Resampled

    @property
    def meets(self) -> bool:
        """Whether the rank correlation reaches the bar; one that is not defined does not."""
        return self.spearman.value is not None and self.spearman.value >= BAR

    def to_json(self) -> dict[str, Any]:
        """Both, and whether the bar is met."""
        return {
            "spearman": self.spearman.to_json(),
            "pearson": self.pearson.to_json(),
            "meets_bar": self.meets,
        }


def correlations(one: Means, other: Means, by_rank: bool) -> Float[np.ndarray, " draws"]:
    """Of the policies' means in each draw, Spearman's (``by_rank``) or Pearson's; NaN where all are equal in one."""
    if by_rank:
        try:
            from scipy.stats import rankdata
        except ImportError as error:
            raise BadInput(f"rank correlations need scipy: pip install scipy ({error})") from None
        # Spearman's is Pearson's of the ranks, a column for each draw: means 0.2 0.5 0.4 have the ranks 1 3 2.
        one, other = rankdata(one, axis=0), rankdata(other, axis=0)
    one, other = one - one.mean(0), other - other.mean(0)
    with np.errstate(all="ignore"):
        found = (one * other).sum(0) / np.sqrt((one**2).sum(0) * (other**2).sum(0))
    return np.where(np.ptp(one, 0) * np.ptp(other, 0) > 0, found, np.nan)


def agreement(true: Best, other: Best) -> Agreement:
    """Of a world with the true one, over the same starts, which are drawn for all policies together."""

    def of(by_rank: bool) -> Resampled:
        return resampled(
            # ``starts`` is ``[draws n]``: a draw has the same starts for all policies of both worlds.
            lambda starts: correlations(true[:, starts].mean(-1), other[:, starts].mean(-1), by_rank),
            true.shape[1],
        )

    return Agreement(of(True), of(False))


def ceiling(true: Best, seed: int = 0) -> dict[str, Any] | None:
    """How alike two disjoint halves of the true episodes rank: mean, 5 % quantile, starts of a half.

    None where there are fewer than 4 starts, or policies that are all equal.
    """
    rng, half = np.random.default_rng(seed), true.shape[1] // 2
    if half < 2:
        return None
    orders = np.stack([rng.permutation(true.shape[1]) for _ in range(DRAWS)])
    found = correlations(
        true[:, orders[:, :half]].mean(-1), true[:, orders[:, half : 2 * half]].mean(-1), by_rank=True
    )
    known = found[np.isfinite(found)]
    if not len(known):
        return None
    return {"mean": float(known.mean()), "p5": float(np.percentile(known, 5)), "starts": half}


def mean_of(values: Float[np.ndarray, " starts"]) -> Resampled:
    """A mean over the starts; of a difference of two worlds it is a paired one."""
    return resampled(lambda starts: values[starts].mean(-1), len(values))
