"""Finite scalar quantisation (Mentzer et al. 2023) as the Cosmos tokenizers use it. It has no parameters.

A latent channel with L levels is squashed to a range that rounds to L integers. These integers, counted from 0, are
the digits of a number in a mixed radix, the first channel being the least significant digit; the number is the
token.

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
