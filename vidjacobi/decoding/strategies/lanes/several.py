"""What rules with several lanes share."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.decoding.strategies.lanes.raster import LaneView
from vidjacobi.grid import nearest_left


def never_fed(view: LaneView, targets: Bool[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """Decided tokens without a cache entry that no target follows, so that other lanes may see them."""
    followed = torch.cat([targets[:, 1:], torch.zeros_like(targets[:, :1])], 1)
    return view.decided & ~view.cached & ~followed


def few_widths(wanted: int, window: int) -> int:
    """The next multiple of 8, at most the window."""
    return min(-(-wanted // 8) * 8, window)


def same_place(view: LaneView) -> Int[Tensor, "b p"]:
    """The nearest decided position at the same place of an earlier frame; the nearest of all where there is none."""
    earlier = nearest_left(view.decided, view.grid.frame_tokens)
    return torch.where(earlier >= 0, earlier, nearest_left(view.decided, 1))


def in_positions(body: Bool[Tensor, "b g"], offset: int, size: int) -> Bool[Tensor, "b p"]:
    """A mask over grid places as one over positions."""
    mask = torch.zeros(body.shape[0], size, dtype=torch.bool, device=body.device)
    mask[:, offset : offset + body.shape[1]] = body
    return mask
