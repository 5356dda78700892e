"""The distance that infinitely many clips would have, from a line through the distances of subsets over 1/clips.

FID-infinity (Chong and Forsyth 2020) does this for thousands of pictures, where the bias falls as 1/n.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.errors import BadInput
from vidjacobi.eval.distance_kinds import DISTANCES, FRECHET

Features = Float[Tensor, "n f"]
LEAST = 16  # clips
SIZES, REPEATS = 6, 6  # numbers of clips in subsets, from half of all to all, and subsets of each


def extrapolated(generated: Features, real: Features, seed: int = 0, kind: str = FRECHET) -> float:
    """The intercept of the line. Row i of both sets belongs to one clip, and subsets take the same clips of both.

    Raises BadInput for fewer than 16 clips.
    """
    clips = len(real)
    if clips < LEAST or len(generated) != clips:
        raise BadInput(f"an extrapolation needs the same {LEAST} or more clips on both sides, not {clips}")
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(clips / 2, clips, SIZES).round().long().unique().tolist()
    points = []
    for size in sizes:
        for _ in range(1 if size == clips else REPEATS):
            chosen = torch.randperm(clips, generator=generator)[:size]
            points.append((1 / size, DISTANCES[kind].value(generated[chosen], real[chosen])))
    x, y = torch.tensor(points, dtype=torch.float64).T
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float(y.mean() - slope * x.mean())
