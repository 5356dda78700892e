"""Frechet distance of two Gaussians, |m1 - m2|^2 + tr S1 + tr S2 - 2 tr sqrt(S1 S2), without a matrix square root.

scipy's ``sqrtm`` is leaving scipy in that form and goes wrong on singular products. Two ways that do not:

- from covariances: the eigenvalues of R S2 R, R the symmetric root of S1;
- from features: tr sqrt(S1 S2) is the nuclear norm of X1 X2^T / (n - 1), X the centred features [n f]. With n
  clips fewer than features this is an n x n problem, which makes bootstraps cheap.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.eval.moments import Moments

Covariance = Float[Tensor, "f f"]


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Frechet (2-Wasserstein) distance, at least 0. Raises BadInput for fewer than 2 clips in a set."""
    between = (a.mean - b.mean).square().sum()
    within = a.covariance.trace() + b.covariance.trace() - 2.0 * trace_root(a.covariance, b.covariance)
    return max(0.0, float(between + within))


def trace_root(a: Covariance, b: Covariance) -> Float[Tensor, ""]:
    """tr sqrt(a b) of two symmetric matrices without negative eigenvalues; those of rounding are cut off."""
    values, vectors = torch.linalg.eigh(a)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    inner = root @ b @ root
    return torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0.0).sqrt().sum()


def trace_root_of_factors(a: Float[Tensor, "m f"], b: Float[Tensor, "k f"]) -> Float[Tensor, ""]:
    """tr sqrt(a^T a b^T b): the nuclear norm of a b^T. Factors with more rows than columns are reduced first."""
    return torch.linalg.svdvals(_short(a) @ _short(b).T).sum()


def _short(factor: Float[Tensor, "m f"]) -> Float[Tensor, "k f"]:
    """A factor of the same product with at most f rows."""
    return torch.linalg.qr(factor, mode="r").R if factor.shape[0] > factor.shape[1] else factor
