"""What a reconstruction is trained to be: near in every pixel, with edges and local contrast where they were.

The perceptual term beside these is in perceptual.py.
Nothing here knows the network that FVD is computed with: training on a metric would make it worthless.
"""

import argparse
from dataclasses import dataclass, fields

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vidjacobi.shapes import Pixels

WINDOW = 8  # pixels; local contrast is the deviation within windows of this size
LEAST = 1e-3  # variance below which contrast does not count


@dataclass(frozen=True)
class Weights:
    """How much each term counts; pixels in [-1, 1]."""

    square: float = 4.0  # beside the mean absolute error, which counts 1
    edge: float = 1.0
    contrast: float = 0.25
    looks: float = 0.15  # of the perceptual term


def add_weights(parser: argparse.ArgumentParser) -> None:
    """An option for each weight."""
    for field in fields(Weights):
        parser.add_argument(f"--{field.name}", type=float, default=field.default, help="weight of a term")


def weights_of(arguments: argparse.Namespace) -> Weights:
    """The weights that were asked for."""
    return Weights(**{field.name: getattr(arguments, field.name) for field in fields(Weights)})


def reconstruction_loss(video: Pixels, target: Pixels, weights: Weights) -> Float[Tensor, ""]:
    """The weighted sum of all terms of this file."""
    error = video - target
    loss = error.abs().mean() + weights.square * error.square().mean()
    if weights.edge:
        loss = loss + weights.edge * edge_error(error)
    if weights.contrast:
        loss = loss + weights.contrast * (deviation(video) - deviation(target)).abs().mean()
    return loss


def edge_error(error: Pixels) -> Float[Tensor, ""]:
    """Mean absolute difference of the differences of neighbours: across, down, in time."""
    return sum(error.diff(dim=axis).abs().mean() for axis in (2, 3, 4)) / 3


def deviation(video: Pixels) -> Float[Tensor, "b c h w"]:
    """Standard deviation of brightness in overlapping windows of each frame; frames stand in the batch."""
    grey = video.mean(1).flatten(0, 1)[:, None]
    mean, square = (F.avg_pool2d(x, WINDOW, WINDOW // 2) for x in (grey, grey.square()))
    return ((square - mean.square()).clamp_min(0) + LEAST).sqrt()
