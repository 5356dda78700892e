"""Mean and covariance of features, gathered clip by clip and merged across workers, in float64."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.output.atomic import replacing

DDOF = 1  # as TF-GAN, VideoGPT and np.cov; 0 gives visibly smaller distances at a hundred clips


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of a set of features.

    Attributes:
        count: clips.
        mean: of each feature.
        scatter: sum over clips of (feature - mean) (feature - mean)^T.
    """

    count: int
    mean: Float[Tensor, " f"]
    scatter: Float[Tensor, "f f"]

    @property
    def covariance(self) -> Float[Tensor, "f f"]:
        """Unbiased. Raises BadInput for fewer than two clips."""
        if self.count <= DDOF:
            raise BadInput(f"a covariance needs at least 2 clips, and there are {self.count}")
        return self.scatter / (self.count - DDOF)


def moments_of(features: Float[Tensor, "n f"]) -> Moments:
    """Moments of some clips' features, of one at least. Raises BadInput where a feature is not finite."""
    if not len(features):
        raise InvalidArgument("moments of no clips")
    check_finite(features)
    wide = features.double()
    mean = wide.mean(0)
    centred = wide - mean
    return Moments(len(features), mean, centred.T @ centred)


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of both sets together (Chan et al. 1979)."""
    if a.mean.shape != b.mean.shape:
        raise InvalidArgument(f"{len(a.mean)} and {len(b.mean)} features cannot be merged")
    count = a.count + b.count
    step = b.mean - a.mean
    spread = torch.outer(step, step) * (a.count * b.count / count)
    return Moments(count, a.mean + step * (b.count / count), a.scatter + b.scatter + spread)


def save(moments: Moments, path: Path) -> None:
    """Write a ``.npz`` file, whole or not at all."""
    with replacing(path) as partial:
        np.savez(partial, count=moments.count, mean=moments.mean.numpy(), scatter=moments.scatter.numpy())


def load(path: Path) -> Moments:
    """Read what ``save`` wrote. Raises BadInput for anything else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            count, mean, scatter = int(stored["count"]), stored["mean"], stored["scatter"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
        raise BadInput(f"{path}: holds no moments ({error}); gather them again") from error
    if count < 1 or mean.ndim != 1 or scatter.shape != (len(mean), len(mean)):
        raise BadInput(f"{path}: holds moments that do not belong together; gather them again")
    return Moments(count, torch.from_numpy(mean), torch.from_numpy(scatter))


def check_finite(features: Float[Tensor, "n f"], of: str = "") -> None:
    """Raise BadInput that names the first clip with a NaN or an infinity among its features."""
    bad = torch.nonzero(~features.isfinite().all(1)).flatten().tolist()
    if bad:
        raise BadInput(
            f"{of and of + ': '}features of {len(bad)} of {len(features)} clips are not finite (the first: "
            f"clip {bad[0]}): its frames or the network's weights are damaged"
        )
