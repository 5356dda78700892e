"""The contract of lanes: what a rule sees and what it answers."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.grid import Grid
from vidjacobi.shapes import Counts


@dataclass(frozen=True)
class LaneView:
    """What a lane rule may look at.

    Attributes:
        decided: the decided positions of each clip (all behind its end too).
        written: decided positions whose cache entry holds the decided token.
        frontier: first undecided position of each clip.
        settled: positions in front of it have the cache entry that one-by-one decoding would have made.
        grid: of one frame, in front of it ``offset`` special tokens.
        window: most positions of a pass.
        pace: what a StatefulLanes rule keeps from pass to pass, else None.
    """

    decided: Bool[Tensor, "b p"]
    written: Bool[Tensor, "b p"]
    frontier: Counts
    exact_prefix: Counts
    grid: Grid
    offset: int
    window: int
    pace: Float[Tensor, "b k"] | None = None


@dataclass(frozen=True)
class LanePlan:
    """What a pass is to do.

    Attributes:
        targets: undecided positions whose law it gives; in each lane they follow its decided tokens without gap.
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

    def __call__(self, board: LaneView) -> LanePlan: ...

    def nodes(self, wanted: int, window: int) -> int:
        """Width of a pass that has ``wanted`` inputs: few different widths, so that shapes rarely change."""
        ...

    def placeholder(self, board: LaneView) -> Int[Tensor, "b p"]:
        """For each position the decided one whose token is fed in its place while it has none itself."""
        ...


@runtime_checkable
class StatefulLanes(Lanes, Protocol):
    """A rule that looks at how many tokens the past passes of each clip decided."""

    def begin(self, batch: int, device: torch.device) -> Float[Tensor, "b k"]:
        """The pace of clips of which nothing is known."""
        ...

    def after(self, pace: Float[Tensor, "b k"], decided: Counts) -> Float[Tensor, "b k"]:
        """The pace after one more pass; a clip that decided nothing is finished."""
        ...
