"""Frames as read to pixels as a tokenizer wants them, and back: the arithmetic of the official Cosmos pipeline.

Reading files, grey or alpha pictures and rotation belong to the reader; choosing frames to the caller.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Frames

ClipPixels = Float[Tensor, "c T H W"]
Picture = Float[Tensor, "1 c H W"]


def fit(frames: Frames, size: tuple[int, int]) -> Float[Tensor, "c T h w"]:
    """uint8 RGB frames of any size to float32 pixels in [-1, 1] of ``size = (height, width)``.

    Each frame is scaled (bilinear, antialiased) until it covers ``size`` and its centre is cut out; nothing is
    padded or distorted. Frames are taken one at a time, so the float copy of a large source never stands in
    memory as a whole. Raises InvalidArgument for frames that are not uint8 ``[T H W 3]`` with T >= 1.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8 or 0 in frames.shape:
        raise InvalidArgument(f"frames must be uint8 [T H W 3], got {frames.dtype} {list(frames.shape)}")
    if min(size) < 1:
        raise InvalidArgument(f"size (height, width) must be positive, got {size}")
    pixels = torch.empty(3, len(frames), *size, device=frames.device)
    for i, frame in enumerate(frames):
        picture = frame.permute(2, 0, 1).unsqueeze(0).float() / 255.0 * 2.0 - 1.0
        pixels[:, i] = _cover(picture, size)[0]
    return pixels


def to_uint8(pixels: ClipPixels) -> Frames:
    """Pixels in [0, 1] (a tokenizer's ``to_frames``) to frames, truncated as in the official pipeline."""
    return _bytes(pixels.float().clamp(0.0, 1.0) * 255.0)


def as_seen(pixels: ClipPixels) -> Frames:
    """Pixels in [-1, 1] (from ``fit``) to frames, rounded: what the model was shown, for people to look at."""
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
