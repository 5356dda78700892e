"""One lane at the frontier."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.strategies.lanes.contract import LanePlan, LaneView
from vidjacobi.shapes import Counts


@dataclass(frozen=True)
class Raster:
    """One lane: the window lies at the frontier. Exact with every verifier that is."""

    guarantee: ClassVar[str] = "lossless"

    def __call__(self, board: LaneView) -> LanePlan:
        return one_lane(board, torch.full_like(board.frontier, board.window))

    def nodes(self, wanted: int, window: int) -> int:
        """Always the whole window."""
        return window

    def placeholder(self, board: LaneView) -> Int[Tensor, "b p"]:
        """None: the position in front of a target is decided or holds a draft, so each stands for itself."""
        return torch.arange(board.decided.shape[1], device=board.decided.device).expand_as(board.decided)


def one_lane(board: LaneView, sizes: Counts) -> LanePlan:
    """``sizes`` inputs: the place of an accepted sibling, if the model could not move its cache entry, and as
    many undecided positions as are left."""
    position = torch.arange(board.decided.shape[1], device=board.decided.device)
    feed = board.decided & ~board.written & (position < board.frontier[:, None] - 1)
    behind = board.frontier + sizes - feed.sum(-1)
    lane = torch.zeros_like(position)[None]
    return LanePlan(~board.decided & (position < behind[:, None]), feed, lane, lane == 0)
