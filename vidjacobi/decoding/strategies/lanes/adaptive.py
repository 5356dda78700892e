"""One lane at the frontier whose length follows the clip: the window with the best expected tokens per second."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.decoding.strategies.lanes.raster import LanePlan, LaneView, RasterLane, one_lane
from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Counts


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
        did = tokens / (passes * entry(self.tokens, index)).clamp(min=1e-9)
        steps = (torch.arange(len(self.sizes), device=state.device) - index[:, None]).abs()
        learned = record + self.trust * 0.5**steps * (did[:, None] - record)
        full = (passes >= self.block)[:, None]
        record = torch.where(full, learned, record)
        counts = torch.where(full, 0, torch.stack([passes, tokens], 1))
        return torch.cat([torch.where(full[:, 0], self.best(record), index)[:, None], counts, record], 1)


def entry(numbers: Sequence[int | float], index: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """``numbers[index]``, without a copy from the host, which a captured pass could not make."""
    return sum(
        (torch.where(index == place, number, 0.0) for place, number in enumerate(numbers)), 0.0 * index
    )
