"""The latent grid of a clip, where a position lies in it, and what is known to its left."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The latent token grid ``(t, h, w)`` of one clip, read in raster order.

    Cosmos DV8x16x16 at 640x1024 and 33 frames: ``Grid(5, 40, 64)``, 12,800 tokens.
    """

    t: int
    h: int
    w: int

    @property
    def frame_tokens(self) -> int:
        """Tokens of one latent frame."""
        return self.h * self.w

    @property
    def tokens(self) -> int:
        """Tokens of the clip."""
        return self.t * self.h * self.w

    def locate(self, position: int) -> tuple[int, int, int]:
        """(t, h, w) of the raster index ``position``, which does not count special tokens."""
        return position // self.frame_tokens, position // self.w % self.h, position % self.w


def nearest_left(known: Bool[Tensor, "b p"], distance: int) -> Int[Tensor, "b p"]:
    """For every position the nearest known one that lies a whole number of ``distance`` steps to its left, or -1.

    A distance of 1 looks at the left neighbours, ``w`` at the same column of the rows above, ``h * w`` at the same
    place of the frames before.
    """
    # Folded into rows of ``distance`` columns, a step of ``distance`` is a step down one column, and "nearest known"
    # is a running maximum of indices. An example with distance 2, where positions 0, 3 and 4 are known:
    #   index   [0 -1 | -1 3 | 4]        folded   0 -1      running   0 -1      one row later   -1 -1
    #                                            -1  3      maximum   0  3                       0 -1
    #                                             4  .                4  3                       0  3
    #   result  [-1 -1 0 -1 0]
    batch, size = known.shape
    padded = -(-size // distance) * distance
    index = torch.full((batch, padded), -1, dtype=torch.long, device=known.device)
    index[:, :size] = torch.where(known, torch.arange(size, device=known.device), -1)
    newest = index.view(batch, -1, distance).cummax(1).values.view(batch, padded)
    shifted = torch.cat([torch.full_like(newest[:, :distance], -1), newest], 1)
    return shifted[:, :size]
