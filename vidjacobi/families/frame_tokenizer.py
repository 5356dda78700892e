"""An image tokenizer that codes each frame of a clip alone, as a ``vidjacobi.models.tokenizer.VideoTokenizer``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cosmos_adapter.checkpoint import field_values, load_strict, without_weights
from vidjacobi.errors import BadCheckpoint, InvalidArgument, number_of
from vidjacobi.families.released import sizes_of, weights_of
from vidjacobi.families.vq_network import VqNetwork, VqSpec
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import GridTokens, Pixels

FRAMES = 16  # that are encoded at once


@runtime_checkable
class FrameNetwork(Protocol):
    """What a frame tokenizer asks of an image tokenizer, which is a module.

    Attributes:
        stride: pixels of a cell's side.
        codes: how many there are.
    """

    @property
    def stride(self) -> int: ...

    @property
    def codes(self) -> int: ...

    def codes_of(self, pixels: Float[Tensor, "b 3 H W"]) -> Int[Tensor, "b h w"]:
        """The code of each cell of pixels in [-1, 1]."""
        ...

    def pixels_of(self, codes: Int[Tensor, "b h w"]) -> Float[Tensor, "b 3 H W"]:
        """Pixels, not clamped."""
        ...


class FrameTokenizer:
    """A latent frame for each frame.

    Args:
        network: pixels to codes and back.
        frame_size: (height, width) of the pictures, multiples of the network's stride.
        max_frames: most frames of a clip.

    Raises InvalidArgument for another frame size.
    """

    stride_t = 1

    def __init__(self, network: FrameNetwork, frame_size: tuple[int, int], max_frames: int) -> None:
        if any(side < 1 or side % network.stride for side in frame_size):
            raise InvalidArgument(f"frames of {frame_size} are no multiples of {network.stride} pixels")
        assert isinstance(network, nn.Module)
        self.module, self.network = network.eval(), network
        self.frame_size, self.max_frames = frame_size, max_frames

    @torch.no_grad()
    def encode(self, pixels: Pixels) -> GridTokens:
        """Pixels ``[b 3 T H W]`` in [-1, 1] to codes ``[b T h w]``. Raises InvalidArgument for another frame size."""
        if tuple(pixels.shape[3:]) != tuple(self.frame_size):
            raise InvalidArgument(
                f"frames are {tuple(pixels.shape[3:])}, this tokenizer reads {self.frame_size}"
            )
        own = next(self.module.parameters())
        frames = pixels.transpose(1, 2).flatten(0, 1).to(own.device, own.dtype)
        codes = torch.cat([self.network.codes_of(part) for part in frames.split(FRAMES)])
        return codes.unflatten(0, (pixels.shape[0], pixels.shape[2]))

    @torch.no_grad()
    def to_frames(self, tokens: GridTokens) -> Pixels:
        """Codes ``[b T h w]`` to pixels ``[b 3 T H W]`` in [0, 1]. Raises InvalidArgument for a code that is none."""
        count = self.network.codes
        if int(tokens.min()) < 0 or int(tokens.max()) >= count:
            raise InvalidArgument(
                f"codes {int(tokens.min())}..{int(tokens.max())} are not among the {count} there are"
            )
        frames = tokens.flatten(0, 1).to(next(self.module.parameters()).device)
        # one at a time: a frame has the same bits however many are made with it, so a stream's are those of the clip
        made = torch.cat([self.network.pixels_of(part) for part in frames.split(1)])
        pixels = (made.float() * 0.5 + 0.5).clamp(0, 1)
        return pixels.unflatten(0, tuple(tokens.shape[:2])).transpose(1, 2)

    def frame_stream(self) -> "AloneFrames":
        """See ``vidjacobi.models.tokenizer.StreamingTokenizer``."""
        return AloneFrames(self)


@dataclass(frozen=True)
class AloneFrames:
    """A stream of frames each of which is made of its own latent frame alone: there is nothing to remember."""

    tokenizer: FrameTokenizer

    def add(self, tokens: GridTokens) -> Pixels:
        """See ``vidjacobi.models.tokenizer.FrameStream``."""
        return self.tokenizer.to_frames(tokens)

    def fork(self) -> "AloneFrames":
        """It holds nothing of a clip."""
        return self


def load_vq(path: Path, runtime: Runtime, wanted: str) -> VqNetwork:
    """The network in a file of weights, with diffusers' names behind ``model.`` or without, and its ``config.json``.

    ``wanted``: which files are needed and where they are published. Raises BadCheckpoint.
    """
    sizes = sizes_of(path)
    try:
        spec = VqSpec(**field_values(VqSpec, sizes))
    except (TypeError, InvalidArgument) as error:
        raise BadCheckpoint(f"{path} has no config.json of its image tokenizer ({error}): {wanted}") from None
    others = {"norm_type": "group", "act_fn": "silu", "lookup_from_codebook": True}
    if wrong := {key: sizes[key] for key, value in others.items() if sizes.get(key, value) != value}:
        raise BadCheckpoint(f"{path}: {number_of(len(wrong), 'setting')} not supported: {wrong}")
    state = {
        name.removeprefix("model."): part for name, part in weights_of(path, wanted, ("state_dict",)).items()
    }
    with without_weights():
        network = VqNetwork(spec)
    load_strict(network, state, str(path))
    return network.to(runtime.device, runtime.dtype).requires_grad_(False)
