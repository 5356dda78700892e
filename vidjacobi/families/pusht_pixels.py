"""The image tokenizer of nano-pusht: a code for each patch, read off that patch's own pixels alone.

Where a frame does not change its codes do not either: whatever normalises over a whole frame makes a third of the
quiet codes flicker when a T moves elsewhere. The encoder knows which place a patch has, so the goal and the walls
take no codes. The decoder sees the neighbours and the places.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cosmos_adapter.checkpoint import field_values, load_strict, without_weights
from cosmos_adapter.tokenizer.haar_fsq import FiniteScalarQuantizer
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.frame_tokenizer import FrameTokenizer
from vidjacobi.families.released import sizes_of, weights_of
from vidjacobi.runtime import Runtime

Patches = Float[Tensor, "b c h w"]
WANTED = "the folder tokenizer that scripts/nano pusht-export writes"


@dataclass(frozen=True)
class PatchSpec:
    """Sizes.

    Attributes:
        levels: of the codes, see ``FiniteScalarQuantizer``.
        patch, side: pixels of a patch's side; patches of a frame's side.
        read, drawn, fine: channels of the encoder, and of the decoder at a patch and at half a patch each.
        max_frames: most frames of a clip.
    """

    levels: tuple[int, ...] = (8, 8, 8, 8)
    patch: int = 8
    side: int = 8
    read: int = 192
    drawn: int = 144
    fine: int = 48
    max_frames: int = 8

    def __post_init__(self) -> None:
        """Raises InvalidArgument for sizes that cannot be built."""
        if self.patch % 2 or min(self.patch, self.side, self.read, self.drawn, self.fine) < 1:
            raise InvalidArgument(f"patches of {self.patch} pixels or other sizes of {self} are not possible")

    def to_config(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


class ChannelNorm(nn.Module):
    """Root mean square over the channels of one place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Patches) -> Patches:
        scale = x.float().square().mean(1, keepdim=True).add(1e-6).rsqrt()
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)


class PatchBlock(nn.Module):
    """A residual block: ``reach`` 1 sees its own place alone, 3 the neighbours too."""

    def __init__(self, channels: int, reach: int, widen: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels * widen, reach, padding=reach // 2)
        self.second = nn.Conv2d(channels * widen, channels, 1)

    def forward(self, x: Patches) -> Patches:
        return x + self.second(F.silu(self.first(self.norm(x))))


class PatchNetwork(nn.Module):
    """Pixels in [-1, 1] to codes and back, see ``vidjacobi.families.frame_tokenizer.FrameNetwork``."""

    def __init__(self, spec: PatchSpec) -> None:
        super().__init__()
        self.spec, self.stride, self.codes = spec, spec.patch, math.prod(spec.levels)
        grid, digits, half = (spec.side, spec.side), len(spec.levels), spec.patch // 2
        self.quantizer = FiniteScalarQuantizer(spec.levels)
        self.read_in = nn.Conv2d(3 * spec.patch**2, spec.read, 1)
        self.read_place = nn.Parameter(torch.zeros(spec.read, *grid))
        self.read = nn.Sequential(*[PatchBlock(spec.read, 1, 2) for _ in range(3)])
        self.read_out = nn.Sequential(ChannelNorm(spec.read), nn.Conv2d(spec.read, digits, 1))
        self.draw_in = nn.Conv2d(digits, spec.drawn, 1)
        self.draw_place = nn.Parameter(torch.zeros(spec.drawn, *grid))
        self.draw = nn.Sequential(
            PatchBlock(spec.drawn, 1, 2),
            *[PatchBlock(spec.drawn, 3, 1) for _ in range(4)],
            ChannelNorm(spec.drawn),
            nn.Conv2d(spec.drawn, spec.fine * 4, 1),
            nn.PixelShuffle(2),
            *[PatchBlock(spec.fine, 3, 1) for _ in range(3)],
            ChannelNorm(spec.fine),
            nn.Conv2d(spec.fine, 3 * half**2, 3, padding=1),
            nn.PixelShuffle(half),
        )

    def latents(self, pixels: Float[Tensor, "b 3 H W"]) -> Patches:
        """What is rounded to codes."""
        # 1 - pixels: a white patch is zero, and so are most patches of a picture
        return self.read_out(
            self.read(self.read_in(F.pixel_unshuffle(1 - pixels, self.stride)) + self.read_place)
        )

    def rounded(self, latents: Patches) -> tuple[Patches, Int[Tensor, "b h w"]]:
        """(digits as the decoder reads them, codes); the gradient passes through the rounding."""
        digits, codes = self.quantizer(latents.float().unsqueeze(2))
        return digits.squeeze(2), codes.squeeze(1)

    def drawn(self, digits: Patches) -> Float[Tensor, "b 3 H W"]:
        """Pixels of digits, not clamped."""
        return self.draw(self.draw_in(digits.to(self.draw_place.dtype)) + self.draw_place)

    def codes_of(self, pixels: Float[Tensor, "b 3 H W"]) -> Int[Tensor, "b h w"]:
        """The code of each patch."""
        return self.rounded(self.latents(pixels))[1].long()

    def pixels_of(self, codes: Int[Tensor, "b h w"]) -> Float[Tensor, "b 3 H W"]:
        """Not clamped."""
        return self.drawn(self.quantizer.codes_of(codes.unsqueeze(1)).squeeze(2))


def load(path: Path, runtime: Runtime) -> FrameTokenizer:
    """The tokenizer in a folder with its ``config.json``. Raises BadCheckpoint."""
    state, sizes = weights_of(path, WANTED, ("state_dict",)), sizes_of(path)
    try:
        spec = PatchSpec(**field_values(PatchSpec, sizes))
    except (TypeError, InvalidArgument) as error:
        raise BadCheckpoint(f"{path} has sizes that are not possible ({error}): wanted {WANTED}") from None
    with without_weights():
        network = PatchNetwork(spec)
    load_strict(network, state, str(path))
    side = spec.patch * spec.side
    made = network.to(runtime.device, runtime.dtype).requires_grad_(False)
    return FrameTokenizer(made, (side, side), spec.max_frames)
