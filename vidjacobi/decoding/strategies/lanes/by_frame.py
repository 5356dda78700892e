"""A lane per latent frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.strategies.lanes.raster import LanePlan, LaneView
from vidjacobi.decoding.strategies.lanes.several import few_widths, in_positions, never_fed, same_place
from vidjacobi.registry import check_whole


@dataclass(frozen=True)
class FrameLanes:
    """One lane per frame, in raster order inside it, opened before the frame before is complete (lossy).

    Inside a frame every token but the first has its true left neighbour: what rows lose at their beginnings
    (most of their distance from AR on a model without row-end tokens, docs/log/decoders.md) is kept.

    Args:
        width: positions of a lane, >= 1; None: the window, shared equally by the lanes that can go on.
        reach: complete rows of the frame before beyond the row that a lane works on, >= 0; None: all of its
            rows, which is exact.
    """

    width: int | None = None
    reach: int | None = 1

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("reach", 0)):
            value = getattr(self, name)
            if value is not None:
                check_whole("frames", name, value, least)

    @property
    def guarantee(self) -> str:
        """Exact only if a frame waits for the whole frame before."""
        return "lossless" if self.reach is None else "lossy"

    def __call__(self, view: LaneView) -> LanePlan:
        grid, size = view.grid, view.decided.shape[1]
        frames = (size - view.offset) // grid.frame_tokens
        body = view.decided[:, view.offset : view.offset + frames * grid.frame_tokens]
        count = body.unflatten(1, (-1, grid.frame_tokens)).long().cumprod(-1).sum(-1)
        complete = count // grid.w
        before = torch.cat([torch.full_like(complete[:, :1], grid.h), complete[:, :-1]], 1)
        reach = grid.h if self.reach is None else self.reach
        rows = torch.where(before == grid.h, grid.h, (before - reach).clamp(min=0))
        place = torch.arange(grid.frame_tokens, device=count.device)
        last = rows * grid.w
        width = self.width
        if width is None:
            going = (count < last) & (count < grid.frame_tokens)
            width = (view.window // going.sum(-1, keepdim=True).clamp(min=1)).clamp(min=1)
        end = torch.minimum(count + width, last)
        inside = (place >= count[..., None]) & (place < end[..., None])
        targets = in_positions(inside.flatten(1), view.offset, size) & ~view.decided
        position = torch.arange(size, device=count.device)
        frame = (position - view.offset).div(grid.frame_tokens, rounding_mode="floor")
        lane = (frame * grid.frame_tokens + view.offset).clamp(min=0)[None]
        return LanePlan(targets, never_fed(view, targets), lane, torch.ones_like(targets))

    def pass_width(self, wanted: int, window: int) -> int:
        """The next multiple of 8."""
        return few_widths(wanted, window)

    def placeholder(self, view: LaneView) -> Int[Tensor, "b p"]:
        """The nearest decided token of the same place."""
        return same_place(view)
