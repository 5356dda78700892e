"""The 3-D Haar wavelet transform before and after the tokenizer's network. It has no parameters.

A level of the transform halves each axis: a pair of neighbours (a, b) becomes their mean (a + b) / 2, called L
(low), and half their difference (a - b) / 2, called H (high). From the two, a = L + H and b = L - H are exact
again. Along the row 1 3 4 4 the means are 2 4 and the half differences -1 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Video = Float[Tensor, "b rgb T H W"]


def patch(video: Video, size: int, starts: bool = True) -> Float[Tensor, "b p t h w"]:
    """``log2(size)`` Haar levels: every axis shrinks by ``size``, and there are ``size**3`` times the channels.

    At the start of a clip the first frame is repeated until it occurs ``size`` times, so that the first step in time
    depends on this frame alone (causality). ``H`` and ``W`` must be multiples of ``size``. ``T`` must be 1 modulo
    ``size`` at the start of a clip, and a multiple of ``size`` in a later piece, where nothing is repeated.
    """
    if starts:
        first = video[:, :, :1].expand(-1, -1, size - 1, -1, -1)
        video = torch.cat([first, video], dim=2)
    # Size 4: frames 0 1 2 3 4 become 0 0 0 0 1 2 3 4, which two levels turn into two steps of 64 bands for each
    # colour.
    while size > 1:
        video, size = _analyse(video), size // 2
    return video


def unpatch(bands: Float[Tensor, "b p t h w"], size: int, starts: bool = True) -> Video:
    """The inverse of ``patch``: ``p / size**3`` channels and ``t * size`` frames, less ``size - 1`` at a start."""
    repeats = size - 1 if starts else 0
    while size > 1:
        bands, size = _synthesise(bands), size // 2
    return bands[:, :, repeats:]


def _analyse(x: Video) -> Float[Tensor, "b p t h w"]:
    """One level: eight bands, LLL, LLH, ..., HHH (letters: time, height, width), one after the other in the channels.

    It is the orthonormal transform divided by 2*sqrt(2): means and half differences along each axis.
    """
    # Each axis doubles the list of bands: [x], then [L, H] in time, then [LL, LH, HL, HH], then all eight.
    parts = [x]
    for axis in (2, 3, 4):
        parts = [band for part in parts for band in _halve(part, axis)]
    return torch.cat(parts, dim=1)


def _halve(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return (even + odd) * 0.5, (even - odd) * 0.5


def _synthesise(x: Float[Tensor, "b p t h w"]) -> Video:
    # Backwards, from the last axis to the first: neighbours in the list are the L and the H of that axis.
    parts = list(x.chunk(8, dim=1))
    for axis in (4, 3, 2):
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [
            torch.stack([low + high, low - high], axis + 1).flatten(axis, axis + 1) for low, high in pairs
        ]
    return parts[0]
