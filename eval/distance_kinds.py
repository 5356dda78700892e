"""The distances of two sets of features: Frechet, of which FVD is one, and the polynomial MMD that JEDi takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.eval.frechet import trace_root_of_factors
from vidjacobi.eval.moments import DDOF

Features = Float[Tensor, "n f"]
Other = Float[Tensor, "m f"]
Scalar = Float[Tensor, ""]
# from how often each clip occurs, the same in both sets, to the distance of the resampled sets
Resampled = Callable[[Int[Tensor, " n"]], Scalar]


@dataclass(frozen=True)
class DistanceKind:
    """A distance of sets of features.

    Attributes:
        value: the distance of two sets, at least 0.
        resampled: of two sets of the same clips, in float64: the function that a bootstrap calls for every draw.
        facts: what the protocol says of it.
        below: with fewer clips than this, a value is warned about, and the warning says that it is this.
    """

    value: Callable[[Features, Other], float]
    resampled: Callable[[Features, Features], Resampled]
    facts: dict[str, Any]
    below: str


def frechet(generated: Features, real: Other) -> float:
    """The Frechet distance with unbiased covariances, of at least 2 clips in a set."""
    a, b = (_resampled(x.double(), torch.ones(len(x), dtype=torch.long)) for x in (generated, real))
    return max(0.0, float(_between(a, b)))


def resampled_frechet(generated: Features, real: Features) -> Resampled:
    """The Frechet distance of resampled sets, from factors of their covariances."""
    return lambda counts: _between(_resampled(generated, counts), _resampled(real, counts))


class _Sample(NamedTuple):
    """A resampled set: its mean, and a factor of its scatter with a row for each different clip."""

    mean: Float[Tensor, " f"]
    factor: Float[Tensor, "m f"]
    clips: int


def _resampled(features: Features, counts: Int[Tensor, " n"]) -> _Sample:
    """The set in which clip i occurs ``counts[i]`` times."""
    # A clip that occurs twice is one row times sqrt(2) instead of two rows: the factor keeps the same product
    # factor^T factor with fewer rows, about 63 % of the clips.
    kept = counts > 0
    weights = counts[kept].to(features.dtype)
    rows, total = features[kept], int(counts.sum())
    mean = weights @ rows / total
    return _Sample(mean, weights.sqrt()[:, None] * (rows - mean), total)


def _between(a: _Sample, b: _Sample) -> Scalar:
    """The Frechet distance of two sets, computed from their factors."""
    # A covariance is factor^T factor / (clips - 1), so its trace is the sum of squares of the factor divided by that.
    # By way of the covariances, the eigenvalues that are 0 would add the square roots of their rounding errors.
    first, second = (sample.factor / (sample.clips - DDOF) ** 0.5 for sample in (a, b))
    within = first.square().sum() + second.square().sum() - 2 * trace_root_of_factors(first, second)
    return (a.mean - b.mean).square().sum() + within


MMD_TIMES = 100.0  # as JEDi reports it


def mmd(generated: Features, real: Other) -> float:
    """100 times the squared MMD of the kernel (x . y / f)^2, at least 0.

    It is the V-statistic that JEDi's code takes (pairs of a clip with itself included), which lies above the true
    value by about 1/n. With this kernel it is the squared difference of the two mean products x x^T, divided by f^2:
    sets that agree in all of these are at no distance, whatever else they differ in.
    """
    a, b = generated.double(), real.double()
    return max(0.0, MMD_TIMES * float(_kernel(a, a).mean() + _kernel(b, b).mean() - 2 * _kernel(a, b).mean()))


def resampled_mmd(generated: Features, real: Features) -> Resampled:
    """The MMD of resampled sets: the kernels are computed once."""
    within = _kernel(generated, generated) + _kernel(real, real)
    across = _kernel(generated, real)

    def value(counts: Int[Tensor, " n"]) -> Scalar:
        shares = counts.to(within.dtype) / counts.sum()
        return MMD_TIMES * (shares @ (within - 2 * across) @ shares)

    return value


def _kernel(a: Features, b: Other) -> Float[Tensor, "n m"]:
    return (a @ b.T / a.shape[1]).square()


FRECHET = "frechet"
SQUARE_ROOT = "trace from the singular values of the product of the centred features, float64"
DISTANCES: dict[str, DistanceKind] = {
    FRECHET: DistanceKind(
        frechet,
        resampled_frechet,
        {"covariance_ddof": DDOF, "square_root": SQUARE_ROOT},
        "the covariances are singular and the distance is biased upwards by far",
    ),
    "mmd": DistanceKind(
        mmd,
        resampled_mmd,
        {"kernel": "polynomial of degree 2, (x . y / f)^2, V-statistic in float64, times 100"},
        "the distance is biased upwards",
    ),
}
