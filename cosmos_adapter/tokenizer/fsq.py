"""Finite scalar quantisation (Mentzer et al. 2023) as the Cosmos tokenizers use it. No parameters.

A latent channel with L levels is squashed to a range that rounds to L integers; a token is the number whose
digits (first channel least significant) are those integers. Everything is computed in float32: codes are
exact in bfloat16, latents near a rounding border are not.
"""

import math
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

BOUND_MARGIN = 1e-3  # the official epsilon: the outermost codes are reached at finite latents

Latent = Float[Tensor, "b e t h w"]  # e = number of levels
Indices = Int[Tensor, "b t h w"]


class FiniteScalarQuantizer(nn.Module):
    """Latents to codes in [-1, 1] and token ids in ``[0, prod(levels))``, and back. Has no state."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = levels
        self.vocab_size = math.prod(levels)

    def forward(self, latent: Latent) -> tuple[Latent, Indices]:
        """(codes, token ids). Codes carry the gradient of the bound (straight through the rounding)."""
        bounded = self.bound(latent.float())
        rounded = bounded.detach().round() + (bounded - bounded.detach())  # integers, gradient of bounded
        codes = rounded / _column([n // 2 for n in self.levels], latent)
        return codes.to(latent.dtype), self.indices_of(codes.detach())

    def bound(self, latent: Latent) -> Latent:
        """Squash each channel to the open range that rounds to its integers (8: -4..3, 5: -2..2)."""
        half = [(n - 1) * (1 + BOUND_MARGIN) / 2 for n in self.levels]
        offset = [0.5 if n % 2 == 0 else 0.0 for n in self.levels]
        shift = [math.atanh(o / h) for o, h in zip(offset, half, strict=True)]
        return (latent + _column(shift, latent)).tanh() * _column(half, latent) - _column(offset, latent)

    def indices_of(self, codes: Latent) -> Indices:
        """Token ids (int32) of codes in [-1, 1]; -1 where a code is NaN."""
        half = _column([n // 2 for n in self.levels], codes)
        basis = _column(_place_values(self.levels), codes)
        digits = (codes.float() * half + half).round().long()
        ids = (digits * basis).sum(dim=1)
        return torch.where(codes.isnan().any(dim=1), -1, ids).to(torch.int32)

    def codes_of(self, indices: Indices) -> Latent:
        """Codes (float32) of token ids; inverse of ``indices_of``. Ids must lie in ``[0, vocab_size)``."""
        ids = indices.long().unsqueeze(1)
        basis = _column(_place_values(self.levels), ids)
        levels = _column(self.levels, ids)
        half = levels // 2
        return ((ids // basis) % levels - half).float() / half.float()


def _place_values(levels: Sequence[int]) -> list[int]:
    return [math.prod(levels[:i]) for i in range(len(levels))]


def _column(values: Sequence[int] | Sequence[float], like: Tensor) -> Tensor:
    """One value per latent channel, in the shape that broadcasts with latents (ints stay ints)."""
    whole = all(isinstance(value, int) for value in values)
    return _made(tuple(values), torch.int64 if whole else torch.float32, like.device)


@cache
def _made(values: tuple[int | float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once for each device: to copy it there in every pass would wait for a GPU's work."""
    with torch.inference_mode(False):  # whoever comes first, trainings may use it too
        return torch.tensor(values, dtype=dtype, device=device).view(1, -1, 1, 1, 1)
