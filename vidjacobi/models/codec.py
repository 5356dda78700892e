"""Frames to tokens and back: uint8 frames <-> pixels <-> latent grid.

The arithmetic is that of the official Cosmos pipeline. Reading files, grey or alpha pictures and rotation belong to
``vidjacobi.video``; choosing frames to the caller.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import value_words
from vidjacobi.models.tokenizer import FrameStream, StreamingTokenizer, VideoTokenizer
from vidjacobi.shapes import Frames, GridTokens

ClipPixels = Float[Tensor, "c T H W"]
Picture = Float[Tensor, "1 c H W"]
_MOST_CUT = 128  # pixels of a scaled frame for each that is kept; a 16:9 video on a square tokenizer has 1.8


def frames_to_tokens(clips: Sequence[Frames], tokenizer: VideoTokenizer) -> GridTokens:
    """Clips of equally many frames, of any size, to their latent grids ``[b t h w]``, encoded together.

    Beside other clips the last bit of a pixel may differ, and so may a token: encode clips one by one where they
    must not depend on their neighbours. Raises InvalidArgument for frames that ``fit`` refuses.
    """
    return tokenizer.encode(torch.stack([fit(frames, tokenizer.frame_size) for frames in clips]))


def tokens_to_frames(
    grid: Int[Tensor, "t h w"], tokenizer: VideoTokenizer, first: int = 0, count: int | None = None
) -> Frames:
    """``count`` frames (None: all) of one clip's whole grid, from frame ``first`` on, in the host's memory."""
    pixels = tokenizer.to_frames(grid[None])[0]
    # cut before the conversion, so that only what is wanted is converted and copied to the host
    last = None if count is None else first + count
    return to_uint8(pixels[:, first:last]).cpu()


@runtime_checkable
class Detokenizer(Protocol):
    """Turns the decided latent frames of a chunk into frames, sample by sample, each sample's in order.

    Attributes:
        step: latent frames that it takes at a time.
        while_decoding: whether it may work between two passes; else the decode and its cache must be gone.
    """

    step: int
    while_decoding: bool

    def frames(self, sample: int, latents: GridTokens) -> Frames:
        """The frames of the next ``step`` decided latent frames ``[1 step h w]`` of a sample."""
        ...


class WholeDetokenizer:
    """All latent frames of a chunk at once, which any tokenizer can do.

    Args:
        contexts: grids ``[samples t h w]`` of the chunk's context.
        step: new latent frames of the chunk.
    """

    while_decoding = False

    def __init__(self, tokenizer: VideoTokenizer, contexts: GridTokens, step: int) -> None:
        self.step = step
        self._tokenizer, self._contexts = tokenizer, contexts

    def frames(self, sample: int, latents: GridTokens) -> Frames:
        """See Detokenizer."""
        context = self._contexts[sample]
        grid = torch.cat([context, latents[0].to(context.device)])
        return tokens_to_frames(grid, self._tokenizer, first=frames_of(len(context), self._tokenizer))


class IncrementalDetokenizer:
    """Latent frame by latent frame, with a tokenizer that remembers where it stopped.

    Args:
        contexts: grids ``[samples t h w]``, or ``[1 t h w]`` where all samples share one context and the work on it.
    """

    step = 1
    while_decoding = True

    def __init__(self, tokenizer: StreamingTokenizer, contexts: GridTokens, samples: int) -> None:
        # samples that share a context fork its stream, so that the context is read once
        begun = [_after(tokenizer.frame_stream(), context) for context in contexts.split(1)]
        self._streams = begun if len(begun) == samples else [begun[0].fork() for _ in range(samples)]

    def frames(self, sample: int, latents: GridTokens) -> Frames:
        """See Detokenizer."""
        return to_uint8(self._streams[sample].add(latents)[0]).cpu()


def _after(stream: FrameStream, context: GridTokens) -> FrameStream:
    """The stream after a context, whose own frames are not wanted."""
    for latent in context.split(1, 1):
        stream.add(latent)
    return stream


def frames_of(latents: int, tokenizer: VideoTokenizer) -> int:
    """Frames that a clip of so many latent frames has."""
    return 1 + tokenizer.stride_t * (latents - 1)


def fit(frames: Frames, size: tuple[int, int]) -> Float[Tensor, "c T h w"]:
    """uint8 RGB frames of any size to float32 pixels in [-1, 1] of ``size = (height, width)``.

    Each frame is scaled (bilinear, antialiased) until it covers ``size`` and its centre is cut out; nothing is
    padded or distorted. Frames are taken one at a time, so the float copy of a large source never stands in
    memory as a whole. Raises InvalidArgument for frames that are not uint8 ``[T H W 3]`` with T >= 1, and for a
    shape of which next to nothing would stay.
    """
    check_frames(frames)
    if min(size) < 1:
        raise InvalidArgument(f"size (height, width) must be positive, got {size}")
    height, width = covering_size((frames.shape[1], frames.shape[2]), size)
    if height * width > _MOST_CUT * size[0] * size[1]:
        raise InvalidArgument(
            f"frames of {frames.shape[2]}x{frames.shape[1]} would be scaled to {width}x{height}, of which "
            f"{size[1]}x{size[0]} is kept: cut out the part that matters first"
        )
    # [-1, 1] is the range that the tokenizer was trained on
    pixels = torch.empty(3, len(frames), *size, device=frames.device)
    for i, frame in enumerate(frames):
        picture = frame.permute(2, 0, 1).unsqueeze(0).float() / 255.0 * 2.0 - 1.0
        pixels[:, i] = _cover(picture, size)[0]
    return pixels


def check_frames(frames: object) -> None:
    """Raise InvalidArgument for what is no uint8 tensor ``[T H W 3]`` with T, H and W >= 1."""
    if not isinstance(frames, Tensor):
        raise InvalidArgument(f"frames must be a uint8 tensor [T H W 3], not {value_words(frames)}")
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8 or 0 in frames.shape:
        raise InvalidArgument(f"frames must be uint8 [T H W 3], got {frames.dtype} {list(frames.shape)}")


def to_uint8(pixels: ClipPixels) -> Frames:
    """Pixels in [0, 1] (a tokenizer's ``to_frames``) to frames, truncated as in the official pipeline."""
    return _bytes(pixels.float().clamp(0.0, 1.0) * 255.0)


def as_seen(pixels: ClipPixels) -> Frames:
    """Pixels in [-1, 1] (from ``fit``) to frames, rounded: the context as the model was shown it."""
    return _bytes(((pixels.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round())


def _bytes(scaled: ClipPixels) -> Frames:
    return scaled.to(torch.uint8).permute(1, 2, 3, 0).contiguous()


def covering_size(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Smallest (height, width) with ``source``'s proportions, rounded up, that covers ``size``."""
    # the quotients in this order: a last-bit difference moves the ceiling by a pixel
    scale = max(size[1] / source[1], size[0] / source[0])
    return math.ceil(scale * source[0]), math.ceil(scale * source[1])


def _cover(picture: Picture, size: tuple[int, int]) -> Float[Tensor, "1 c h w"]:
    height, width = covering_size((picture.shape[2], picture.shape[3]), size)
    if (height, width) != picture.shape[2:]:
        picture = F.interpolate(
            picture, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
    # round, half to even, as torchvision's centre crop
    top, left = round((height - size[0]) / 2.0), round((width - size[1]) / 2.0)
    return picture[:, :, top : top + size[0], left : left + size[1]]
