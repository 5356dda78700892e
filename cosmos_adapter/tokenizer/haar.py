"""The 3-D Haar patches in front of and behind the tokenizer's network (no parameters)."""

import torch
from jaxtyping import Float
from torch import Tensor

Video = Float[Tensor, "b rgb T H W"]


def patch(video: Video, size: int, starts: bool = True) -> Float[Tensor, "b p t h w"]:
    """``log2(size)`` Haar levels: ``T + size - 1``, ``H`` and ``W`` shrink by ``size``, bands go to channels.

    The first frame is repeated ``size`` times, so that it alone makes the first latent step (causality).
    ``H`` and ``W`` must be multiples of ``size`` and ``T`` must be 1 modulo ``size``. A piece that does not
    start the clip has nothing repeated, and its ``T`` is a multiple of ``size``.
    """
    if starts:
        first = video[:, :, :1].expand(-1, -1, size - 1, -1, -1)
        video = torch.cat([first, video], dim=2)
    while size > 1:
        video, size = _analyse(video), size // 2
    return video


def unpatch(bands: Float[Tensor, "b p t h w"], size: int, starts: bool = True) -> Video:
    """Inverse of ``patch``: ``p / size**3`` channels, ``t * size - (size - 1)`` frames (later: ``t * size``)."""
    repeats = size - 1 if starts else 0
    while size > 1:
        bands, size = _synthesise(bands), size // 2
    return bands[:, :, repeats:]


def _analyse(x: Video) -> Float[Tensor, "b p t h w"]:
    """One level; bands in the order LLL, LLH, ..., HHH (letters: time, height, width), band-major.

    The orthonormal transform divided by 2*sqrt(2), i.e. means and half differences along each axis.
    """
    parts = [x]
    for axis in (2, 3, 4):
        parts = [band for part in parts for band in _halve(part, axis)]
    return torch.cat(parts, dim=1)


def _halve(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return (even + odd) * 0.5, (even - odd) * 0.5


def _synthesise(x: Float[Tensor, "b p t h w"]) -> Video:
    parts = list(x.chunk(8, dim=1))
    for axis in (4, 3, 2):
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [
            torch.stack([low + high, low - high], axis + 1).flatten(axis, axis + 1) for low, high in pairs
        ]
    return parts[0]
