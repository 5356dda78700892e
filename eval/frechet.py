"""Frechet distance of two Gaussians, |m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1 S2), without a matrix square root.

scipy's ``sqrtm`` changes in newer versions and is wrong for singular products, which FVD of few clips always has.
Only the trace of the root is needed, and there are two ways to compute it:

- From covariances: S1 S2 has the eigenvalues of R S2 R, where R is the symmetric root of S1. These are not negative,
  and the trace is the sum of their square roots.
- From features: it is the nuclear norm (the sum of the singular values) of X1 X2^T / (n - 1), where X [n f] are the
  centred features of n clips. With fewer clips than features this is an n x n problem, so that bootstraps are cheap.

For diagonal covariances both are the sum over the features of the products of the two deviations: with deviations
(1, 2) and (3, 1) the trace is 1 * 3 + 2 * 1 = 5. The distance of equal means is then (1 - 3)^2 + (2 - 1)^2 = 5.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.eval.moments import Moments

Covariance = Float[Tensor, "f f"]


def frechet_distance(a: Moments, b: Moments) -> float:
    """The squared Frechet (2-Wasserstein) distance, at least 0. Raises BadInput for fewer than 2 clips in a set."""
    between = (a.mean - b.mean).square().sum()
    within = a.covariance.trace() + b.covariance.trace() - 2.0 * trace_root(a.covariance, b.covariance)
    return max(0.0, float(between + within))


def trace_root(a: Covariance, b: Covariance) -> Float[Tensor, ""]:
    """tr sqrt(a b) of two symmetric matrices whose eigenvalues are not negative."""
    # Rounding can make eigenvalues of 0 slightly negative; they are set to 0.
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    inner = root @ b @ root  # symmetric up to rounding, and exactly so after the mean with its transpose
    return torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0.0).sqrt().sum()


def trace_root_of_factors(a: Float[Tensor, "m f"], b: Float[Tensor, "k f"]) -> Float[Tensor, ""]:
    """tr sqrt(a^T a b^T b), which is the nuclear norm of a b^T."""
    return torch.linalg.svdvals(_short(a) @ _short(b).T).sum()


def _short(factor: Float[Tensor, "m f"]) -> Float[Tensor, "k f"]:
    """A matrix with the same product factor^T factor and at most f rows."""
    # factor = Q R with orthonormal Q, so R^T R is the same product.
    return torch.linalg.qr(factor, mode="r").R if factor.shape[0] > factor.shape[1] else factor
