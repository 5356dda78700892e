"""What a tokenizer computes without parameters: the Haar transform around its network, finite scalar quantisation.

**3-D Haar wavelet transform**, before and after the network. A level of the transform halves each axis: a pair of
neighbours (a, b) becomes their mean (a + b) / 2, called L (low), and half their difference (a - b) / 2, called H
(high). From the two, a = L + H and b = L - H are exact again. Along the row 1 3 4 4 the means are 2 4 and the half
differences -1 0.

**Finite scalar quantisation** (FSQ, Mentzer et al. 2023) as the Cosmos tokenizers use it. A latent channel with L
levels is squashed to a range that rounds to L integers. These integers, counted from 0, are the digits of a number in
a mixed radix, the first channel being the least significant digit; the number is the token.

An example with levels (8, 5, 5): place values are 1, 8 and 8 * 5 = 40, so there are 8 * 5 * 5 = 200 tokens. The
latents of one place round to (-1, 2, 0). Counted from 0 they are the digits (-1 + 4, 2 + 2, 0 + 2) = (3, 4, 2), and
the token is 3 * 1 + 4 * 8 + 2 * 40 = 115. Backwards, the digits of 115 are 115 % 8 = 3, 115 // 8 % 5 = 4 and 115 //
40 % 5 = 2. The codes that the decoder reads are the rounded integers divided by L // 2: (-1/4, 2/2, 0/2).

Everything is computed in float32: codes are exact in bfloat16, but latents near a border between two integers are
not.
"""

import math
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

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


BOUND_MARGIN = 1e-3  # the official epsilon: it makes the outermost integers reachable by finite latents

Latent = Float[Tensor, "b e t h w"]  # e = number of levels
Indices = Int[Tensor, "b t h w"]


class FiniteScalarQuantizer(nn.Module):
    """Latents to codes in [-1, 1] and token ids in ``[0, prod(levels))``, and back."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = levels
        self.vocab_size = math.prod(levels)

    def forward(self, latent: Latent) -> tuple[Latent, Indices]:
        """(codes, token ids) of latents. The gradient of the codes passes straight through the rounding."""
        # The straight-through estimator: bounded - bounded.detach() is 0 with the gradient of bounded.
        bounded = self.bound(latent.float())
        rounded = bounded.detach().round() + (bounded - bounded.detach())
        codes = rounded / _column([n // 2 for n in self.levels], latent)
        return codes.to(latent.dtype), self.indices_of(codes.detach())

    def bound(self, latent: Latent) -> Latent:
        """Squash each channel to the open range that rounds to its integers: -4..3 for 8 levels, -2..2 for 5."""
        # tanh has a symmetric range, and an even number of levels has no integer in the middle. So the range of an
        # even channel is moved down by half, from (-3.5, 3.5) to (-4, 3), and the shift inside tanh keeps 0 at 0.
        half = [(n - 1) * (1 + BOUND_MARGIN) / 2 for n in self.levels]
        offset = [0.5 if n % 2 == 0 else 0.0 for n in self.levels]
        shift = [math.atanh(o / h) for o, h in zip(offset, half, strict=True)]
        return (latent + _column(shift, latent)).tanh() * _column(half, latent) - _column(offset, latent)

    def indices_of(self, codes: Latent) -> Indices:
        """Token ids (int32) of codes in [-1, 1], and -1 where a code is NaN."""
        half = _column([n // 2 for n in self.levels], codes)
        basis = _column(_place_values(self.levels), codes)
        digits = (codes.float() * half + half).round().long()
        ids = (digits * basis).sum(dim=1)
        return torch.where(codes.isnan().any(dim=1), -1, ids).to(torch.int32)

    def codes_of(self, indices: Indices) -> Latent:
        """Codes (float32) of token ids in ``[0, vocab_size)``: the inverse of ``indices_of``."""
        ids = indices.long().unsqueeze(1)
        basis = _column(_place_values(self.levels), ids)
        levels = _column(self.levels, ids)
        half = levels // 2
        return ((ids // basis) % levels - half).float() / half.float()


def _place_values(levels: Sequence[int]) -> list[int]:
    return [math.prod(levels[:i]) for i in range(len(levels))]


def _column(values: Sequence[int] | Sequence[float], like: Tensor) -> Tensor:
    """One value for each latent channel, in a shape that broadcasts with latents; whole numbers stay whole."""
    whole = all(isinstance(value, int) for value in values)
    # A fake tensor, which predictions of memory and time run on, gets one of its own: it must never be remembered.
    make = _made if type(like) is Tensor else _made.__wrapped__
    return make(tuple(values), torch.int64 if whole else torch.float32, like.device)


@cache
def _made(values: tuple[int | float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The tensor of ``_column``, made once for each device: a copy to a GPU in every pass would wait for its work."""
    # The first caller may be in inference mode, and a training may use the same tensor later.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).view(1, -1, 1, 1, 1)
