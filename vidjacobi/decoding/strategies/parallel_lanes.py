"""Rules with several lanes: a lane per row of the grid, or per latent frame. Most of them are lossy."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.decoding.strategies.drafts import nearest_left
from vidjacobi.decoding.strategies.lanes import AdaptiveLane, LanePlan, LaneView, RasterLane
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import check_whole

STAND_INS = ("frame", "row")


@dataclass(frozen=True)
class RowLanes:
    """One lane per row of the grid (ZipAR, PJD), opened before the row above is complete (lossy).

    Args:
        context: decided tokens of the row above that open a row; None for all of them, which is exact.
        width: positions of a lane, >= 1.
        frames: row h of a frame opens once rows 0..h+frames of the frame before are complete; None: all rows.
        lead: columns that the row above keeps before a lane's drafts; None for no such limit.
        correct: "all" lanes replace their first rejected draft at once, or only the "top" one (PJD).
        stand_in_of: whose token stands in for the end of an unfinished row above: the "frame" before, at the
            same place, or the newest of that "row" (ZipAR).
        refresh: most positions per pass whose cache entry, computed on an incomplete context, is made anew.
    """

    context: int | None = None
    width: int = 8
    frames: int | None = None
    lead: int | None = None
    correct: str = "all"
    stand_in_of: str = "frame"
    refresh: int = 0

    def __post_init__(self) -> None:
        for name, least in (("context", 1), ("width", 1), ("frames", 0), ("lead", 1), ("refresh", 0)):
            value = getattr(self, name)
            if value is None and name not in ("width", "refresh"):
                continue
            check_whole("rows", name, value, least)
        if self.correct not in ("all", "top"):
            raise InvalidArgument(f"rows: correct must be 'all' or 'top', not {self.correct!r}")
        if self.stand_in_of not in STAND_INS:
            raise InvalidArgument(f"rows: stand_in_of must be one of {STAND_INS}, not {self.stand_in_of!r}")

    @property
    def guarantee(self) -> str:
        """Exact only if a row waits for the whole row above and a frame for the whole frame before."""
        return "lossless" if self.context is None and self.frames is None and not self.refresh else "lossy"

    def __call__(self, view: LaneView) -> LanePlan:
        width = view.grid.w
        size, device = view.decided.shape[1], view.decided.device
        count, is_open, above = self.progress(view)
        column = torch.arange(width, device=device)
        # Rows of 4 tokens with 4, 2 and 0 decided (x), width 2, all open. Two drafts (o) follow in each row that
        # has room:
        #     x x x x
        #     x x o o
        #     o o . .     a lead of 2 keeps only the first: the row above has decided 2, and 2 - 2 is column 0
        rows = (column >= count[..., None]) & (column < (count + self.width)[..., None]) & is_open[..., None]
        if self.lead is not None:
            limit = torch.where(above < width, above - self.lead, width)
            rows &= column <= limit[..., None]
        targets = in_positions(rows.flatten(1), view.offset, size) & ~view.decided
        position = torch.arange(size, device=device)
        # A lane is named by its first position. Special tokens get a smaller number, since lanes never fall.
        row = (position - view.offset).div(width, rounding_mode="floor")
        lane = (row * width + view.offset).clamp(min=0)[None]
        corrects = torch.ones_like(targets)
        if self.correct == "top":
            top = (view.frontier[:, None] - view.offset).div(width, rounding_mode="floor")
            corrects = row[None] == top
        return LanePlan(targets, self.feeds(view, targets, position), lane, corrects)

    def progress(self, view: LaneView) -> tuple[Int[Tensor, "b r"], Bool[Tensor, "b r"], Int[Tensor, "b r"]]:
        """(decided tokens, whether it may be worked on, decided tokens of the row above) of every row."""
        grid = view.grid
        frames = (view.decided.shape[1] - view.offset) // grid.frame_tokens
        body = view.decided[:, view.offset : view.offset + frames * grid.frame_tokens]
        # The product along a row stays 1 up to the first gap, so the sum counts the tokens before it: 1 1 0 1 is 2.
        count = body.unflatten(1, (-1, grid.w)).long().cumprod(-1).sum(-1)
        first = torch.arange(count.shape[1], device=count.device) % grid.h == 0
        # A frame's first row has none above it in its own frame, and waits for nothing there.
        above = torch.where(first, grid.w, count.roll(1, 1))
        above[:, 0] = grid.w
        ready = above >= min(self.context or grid.w, grid.w)
        complete = (count == grid.w).unflatten(1, (-1, grid.h)).long().cumprod(-1).sum(-1)
        before = torch.cat([torch.full_like(complete[:, :1], grid.h), complete[:, :-1]], 1)
        reach = grid.h if self.frames is None else self.frames
        # Row h wants h + reach + 1 complete rows of the frame before. Frames of 3 rows: ``frames=0`` wants 1 2 3 of
        # them, row by row, ``frames=1`` wants 2 3 3, and ``frames=None`` wants 3 3 3.
        needed = (torch.arange(grid.h, device=count.device) + reach + 1).clamp(max=grid.h)
        return count, ready & (before[..., None] >= needed).flatten(1), above

    def feeds(
        self, view: LaneView, targets: Bool[Tensor, "b p"], position: Int[Tensor, " p"]
    ) -> Bool[Tensor, "b p"]:
        """Decided tokens that were never fed, and the first ones whose entry is not AR's if they are refreshed."""
        feed = never_fed(view, targets)
        if self.refresh:
            followed = torch.cat([targets[:, 1:], torch.zeros_like(targets[:, :1])], 1)
            ahead = (position >= view.exact_prefix[:, None]) & (position < view.frontier[:, None])
            feed |= ahead & (position < view.exact_prefix[:, None] + self.refresh) & ~followed
        return feed

    def pass_width(self, wanted: int, window: int) -> int:
        """The next multiple of 8."""
        return few_widths(wanted, window)

    def placeholder(self, view: LaneView) -> Int[Tensor, "b p"]:
        """The nearest decided position of the same place, or of the row."""
        if self.stand_in_of == "row":
            return nearest_left(view.decided, 1)
        return same_place(view)


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
        # Frames of 4 x 4, of which frame 0 has decided 9 tokens, two rows and one token more. With reach 1 row 0 of
        # frame 1 may be worked on. A window of 8 is shared by both lanes: the targets are 9 to 12 and 16 to 19.
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


LANES: dict[str, type] = {
    "raster": RasterLane,
    "adaptive": AdaptiveLane,
    "rows": RowLanes,
    "frames": FrameLanes,
}


def never_fed(view: LaneView, targets: Bool[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """Decided tokens without a cache entry that no target follows, so that other lanes may see them."""
    # The input of a target is the position before it: such a one is fed anyway.
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
