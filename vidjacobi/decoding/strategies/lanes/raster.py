"""The contract of lanes, and the simplest rule: one lane at the frontier."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.grid import Grid
from vidjacobi.shapes import Counts


@dataclass(frozen=True)
class LaneView:
    """What a lane rule may look at.

    Attributes:
        decided: the decided positions of each clip (all positions after its end too).
        cached: decided positions whose cache entry holds the decided token.
        frontier: first undecided position of each clip.
        exact_prefix: positions before it have the cache entry that one-by-one decoding would have made.
        grid: of one frame; ``offset`` special tokens come before it.
        window: most positions of a pass.
        lane_state: what a StatefulLanes rule keeps from pass to pass, else None.
    """

    decided: Bool[Tensor, "b p"]
    cached: Bool[Tensor, "b p"]
    frontier: Counts
    exact_prefix: Counts
    grid: Grid
    offset: int
    window: int
    lane_state: Float[Tensor, "b k"] | None = None


@dataclass(frozen=True)
class LanePlan:
    """What a pass is to do.

    Attributes:
        targets: undecided positions whose probs it gives; in each lane they follow its decided tokens without gap.
        feed: decided positions to be fed although no target follows them, to write their cache entry.
        lane: first position of the lane that each position belongs to; never falls with the position.
        corrects: lanes (by position) where the first rejected draft is replaced at once; elsewhere it stays open.
    """

    targets: Bool[Tensor, "b p"]
    feed: Bool[Tensor, "b p"]
    lane: Int[Tensor, "#b p"]
    corrects: Bool[Tensor, "#b p"]


@runtime_checkable
class Lanes(Protocol):
    """A rule for the window: "lossless" if every lane waits for all positions to its left, else "lossy"."""

    @property
    def guarantee(self) -> str: ...

    def __call__(self, view: LaneView) -> LanePlan: ...

    def pass_width(self, wanted: int, window: int) -> int:
        """Width of a pass that has ``wanted`` inputs: few different widths, so that shapes rarely change."""
        ...

    def placeholder(self, view: LaneView) -> Int[Tensor, "b p"]:
        """For each position the decided one whose token is fed in its place while it has none itself."""
        ...


@runtime_checkable
class StatefulLanes(Lanes, Protocol):
    """A rule that looks at how many tokens the past passes of each clip decided."""

    def init(self, batch: int, device: torch.device) -> Float[Tensor, "b k"]:
        """The state of clips of which nothing is known."""
        ...

    def update(self, state: Float[Tensor, "b k"], decided: Counts) -> Float[Tensor, "b k"]:
        """The state after one more pass; a clip that decided nothing is finished."""
        ...


@dataclass(frozen=True)
class RasterLane:
    """One lane: the window lies at the frontier. Exact with every verifier that is."""

    guarantee: ClassVar[str] = "lossless"

    def __call__(self, view: LaneView) -> LanePlan:
        return one_lane(view, torch.full_like(view.frontier, view.window))

    def pass_width(self, wanted: int, window: int) -> int:
        """Always the whole window."""
        return window

    def placeholder(self, view: LaneView) -> Int[Tensor, "b p"]:
        """Each position itself: the one before a target is decided or holds a draft, so none needs another."""
        return torch.arange(view.decided.shape[1], device=view.decided.device).expand_as(view.decided)


def one_lane(view: LaneView, sizes: Counts) -> LanePlan:
    """``sizes`` inputs: the place of an accepted sibling, if the model could not move its cache entry, and as
    many undecided positions as are left.

    Example, frontier 5 and size 3: the targets are 5, 6, 7, fed by the inputs at 4, 5, 6. Where position 3 was
    decided by a sibling whose entry could not be moved, it is fed again and takes one of the three inputs.
    """
    position = torch.arange(view.decided.shape[1], device=view.decided.device)
    feed = view.decided & ~view.cached & (position < view.frontier[:, None] - 1)
    end = view.frontier + sizes - feed.sum(-1)
    lane = torch.zeros_like(position)[None]
    return LanePlan(~view.decided & (position < end[:, None]), feed, lane, lane == 0)
