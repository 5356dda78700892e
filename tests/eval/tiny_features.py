"""A feature network that costs nothing, and clips for it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidjacobi.eval.features import Extractor, squash
from vidjacobi.shapes import Frames

SIDE = 8


class Statistics(nn.Module):
    """The means and deviations of the colours, and how much they change over time."""

    def forward(self, pixels: Float[Tensor, "b c T s s"]) -> Float[Tensor, "b f"]:
        moved = pixels.diff(dim=2).abs().mean((1, 2, 3, 4))[:, None]
        return torch.cat([pixels.mean((2, 3, 4)), pixels.std((2, 3, 4)), moved], 1)


def make_extractor(label: str = "FVD-tiny") -> Extractor:
    def prepare(frames: Frames) -> Float[Tensor, "c T s s"]:
        pictures = [squash(frame.permute(2, 0, 1)[None].float(), SIDE)[0] for frame in frames]
        return torch.stack(pictures, 1) / 255

    protocol = {"distance": label, "features": "tiny", "weights_sha256": "none", "least_frames": 9}
    return Extractor(label, protocol, Statistics(), prepare)


def clip(seed: int, frames: int = 9, height: int = 16, width: int = 24) -> Frames:
    """A clip of noise around a random colour, uint8 RGB."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randint(40, 216, (3,), generator=generator)
    noise = torch.randint(-40, 40, (frames, height, width, 3), generator=generator)
    return (colour + noise).to(torch.uint8)
