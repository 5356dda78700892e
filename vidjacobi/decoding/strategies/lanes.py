"""Which positions a pass evaluates: the contract of lanes, and the rules with one lane at the frontier.

A lane is a run of neighbouring positions with a frontier of its own. A rule sees only which positions are decided,
never a token, so a lossless decoder stays lossless under any of them as long as a lane waits for everything to its
left. Rules with several lanes are in parallel_lanes.py, and so is the registry. All tensors here are on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
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
    decided, frontier = view.decided.numpy(), view.frontier.numpy()[:, None]
    position = np.arange(decided.shape[1])
    feed = decided & ~view.cached.numpy() & (position < frontier - 1)
    # What is fed again takes inputs from the drafts, so that no pass is wider than was asked for.
    end = frontier + sizes.numpy()[:, None] - feed.sum(-1, keepdims=True)
    lane = np.zeros((1, len(position)), np.int64)
    return LanePlan(*map(torch.from_numpy, (~decided & (position < end), feed, lane, lane == 0)))


@dataclass(frozen=True)
class AdaptiveLane:
    """Every ``block`` passes the size that promises most tokens per second for the next ones.

    The promise of a size is its tokens per pass in the curve, times how this clip did against the curve
    lately, over its seconds per pass in the curve. A clip's record at one size speaks for the others too, half
    as much per step between them. Only counts of past passes are looked at and the seconds are those of the
    file, so tokens do not depend on the machine or its mood, and the decoder stays as lossless as its parts.

    Args:
        curve: name of the file that the numbers below come from (``vidjacobi curve`` writes one).
        sizes: window sizes, rising.
        seconds: of a pass of each size, on the device that the curve speaks of.
        tokens: decided per pass at each size.
        block: passes between two choices.
        trust: weight of a new block against a size's record, in (0, 1].
    """

    curve: str
    sizes: Sequence[int]
    seconds: Sequence[float]
    tokens: Sequence[float]
    block: int = 8
    trust: float = 0.5
    guarantee: ClassVar[str] = "lossless"

    def __post_init__(self) -> None:
        for name in ("sizes", "seconds", "tokens"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.sizes) == len(self.seconds) == len(self.tokens) > 0:
            raise InvalidArgument("adaptive: sizes, seconds and tokens must be lists of one length")
        if list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 1:
            raise InvalidArgument(f"adaptive: sizes must rise and be at least 1, not {list(self.sizes)}")
        if min(self.seconds) <= 0 or min(self.tokens) <= 0:
            raise InvalidArgument("adaptive: seconds and tokens must be positive")
        if self.block < 1 or not 0 < self.trust <= 1:
            raise InvalidArgument("adaptive: block must be at least 1 and trust in (0, 1]")

    def __call__(self, view: LaneView) -> LanePlan:
        assert view.lane_state is not None
        chosen = entry(self.sizes, view.lane_state[:, 0]).long().clamp(max=view.window)
        return one_lane(view, chosen)

    def pass_width(self, wanted: int, window: int) -> int:
        """The smallest size that holds them all: what a clip gets must not depend on its mates in the batch."""
        return min([size for size in self.sizes if wanted <= size <= window], default=window)

    def placeholder(self, view: LaneView) -> Int[Tensor, "b p"]:
        """None, as in raster."""
        return RasterLane().placeholder(view)

    def init(self, batch: int, device: torch.device) -> Float[Tensor, "b k"]:
        """Columns: index of the size, passes and tokens of the block, then how each size did (1: as the curve)."""
        state = torch.ones(batch, 3 + len(self.sizes), dtype=torch.float64, device=device)
        state[:, 0] = self.best(state[:, 3:])
        state[:, 1:3] = 0
        return state

    def best(self, record: Float[Tensor, "b s"]) -> Float[Tensor, " b"]:
        """Index of the size with most tokens per second."""
        rates = [tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]
        promised = [column * rate for column, rate in zip(record.unbind(-1), rates, strict=True)]
        return torch.stack(promised, -1).argmax(-1).to(record.dtype)

    def update(self, state: Float[Tensor, "b k"], decided: Counts) -> Float[Tensor, "b k"]:
        """Count the pass; at the end of a block learn from it and choose again."""
        index, passes, tokens, record = state[:, 0], state[:, 1], state[:, 2], state[:, 3:]
        passes, tokens = passes + (decided > 0), tokens + decided
        # Sizes 8 16 32, whose curve says 2 3 4 tokens a pass: where 8 passes at 16 decided 30, ``did`` is 1.25, a
        # quarter more than the curve. With trust 0.5 the records 1 1 1 become 1.0625 1.125 1.0625: half of the
        # surprise is believed at the size itself, and a quarter at those one step away.
        did = tokens / (passes * entry(self.tokens, index)).clamp(min=1e-9)
        steps = (torch.arange(len(self.sizes), device=state.device) - index[:, None]).abs()
        learned = record + self.trust * 0.5**steps * (did[:, None] - record)
        # A block is one observation: within it nothing is learned.
        full = (passes >= self.block)[:, None]
        record = torch.where(full, learned, record)
        counts = torch.where(full, 0, torch.stack([passes, tokens], 1))
        return torch.cat([torch.where(full[:, 0], self.best(record), index)[:, None], counts, record], 1)


def entry(numbers: Sequence[int | float], index: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """``numbers[index]``, without a copy from the host, which a captured pass could not make."""
    return sum(
        (torch.where(index == place, number, 0.0) for place, number in enumerate(numbers)), 0.0 * index
    )
