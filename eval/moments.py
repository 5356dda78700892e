"""Mean and covariance of features in float64, gathered in parts that can be merged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.output.atomic import replacing

DDOF = 1  # as in TF-GAN, VideoGPT and np.cov; 0 gives visibly smaller distances at a hundred clips


@dataclass(frozen=True)
class Moments:
    """The sufficient statistics of a set of features.

    Attributes:
        count: number of clips.
        mean: mean of each feature.
        scatter: sum over the clips of (feature - mean) (feature - mean)^T.
    """

    count: int
    mean: Float[Tensor, " f"]
    scatter: Float[Tensor, "f f"]

    @property
    def covariance(self) -> Float[Tensor, "f f"]:
        """The unbiased covariance. Raises BadInput for fewer than two clips."""
        if self.count <= DDOF:
            raise BadInput(f"a covariance needs at least 2 clips, and there are {self.count}")
        return self.scatter / (self.count - DDOF)


def moments_of(features: Float[Tensor, "n f"]) -> Moments:
    """The moments of the features of at least one clip. Raises BadInput where a feature is not finite."""
    if not len(features):
        raise InvalidArgument("moments of no clips")
    check_finite(features)
    wide = features.double()
    mean = wide.mean(0)
    # Two passes: sums of squares minus n * mean^2 would lose digits where means are large.
    centred = wide - mean
    return Moments(len(features), mean, centred.T @ centred)


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of both sets together (Chan et al. 1979)."""
    if a.mean.shape != b.mean.shape:
        raise InvalidArgument(f"{len(a.mean)} and {len(b.mean)} features cannot be merged")
    # Two sets of one feature: 1 3 (mean 2, scatter 2) and 8 (mean 8, scatter 0). Together the mean is
    # 2 + 6 * 1/3 = 4 and the scatter is 2 + 0 + 6^2 * 2 * 1 / 3 = 26, the same as (-3)^2 + (-1)^2 + 4^2.
    count = a.count + b.count
    step = b.mean - a.mean
    spread = torch.outer(step, step) * (a.count * b.count / count)
    return Moments(count, a.mean + step * (b.count / count), a.scatter + b.scatter + spread)


def save(moments: Moments, path: Path) -> None:
    """Write moments as a ``.npz`` file, whole or not at all. Raises BadOutput."""
    with replacing(path) as partial:
        np.savez(partial, count=moments.count, mean=moments.mean.numpy(), scatter=moments.scatter.numpy())


def load(path: Path) -> Moments:
    """Read the moments that ``save`` wrote. Raises BadInput for any other file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            count, mean, scatter = int(stored["count"]), stored["mean"], stored["scatter"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
        raise BadInput(f"{path}: holds no moments ({error}); gather them again") from error
    if count < 1 or mean.ndim != 1 or scatter.shape != (len(mean), len(mean)):
        raise BadInput(f"{path}: holds moments that do not belong together; gather them again")
    return Moments(count, torch.from_numpy(mean), torch.from_numpy(scatter))


def check_finite(features: Float[Tensor, "n f"], of: str = "") -> None:
    """Raise BadInput, which names the first clip that has a NaN or an infinity among its features."""
    bad = torch.nonzero(~features.isfinite().all(1)).flatten().tolist()
    if bad:
        raise BadInput(
            f"{of and of + ': '}features of {len(bad)} of {number_of(len(features), 'clip')} are not "
            "finite (the first: "
            f"clip {bad[0]}): its frames or the network's weights are damaged"
        )
