"""A clip while it is decoded, as the host sees it: the counts and seconds of its passes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from vidjacobi.errors import VidjacobiError
from vidjacobi.state import DecodeState, Problem
from vidjacobi.trace import Decoded, Trace, decoded_of


class Counted(NamedTuple):
    """One pass of one clip, in the order of ``PassRecord``."""

    decided: int
    accepted: int
    changed: int
    pending: int
    evaluated: int


@dataclass
class Flight:
    """A clip in flight.

    Attributes:
        key, clip: what was asked for, and which clip of it this is.
        start, end: its first new position, and the one behind its last.
        shared_by: clips that have its prefill in common.
        passes, seconds, forward_seconds: what is known of each pass.
        share: seconds, those of a pass shared equally by the clips that took part.
        decoded, error: what became of it.
    """

    key: Any
    clip: int
    start: int
    end: int
    shared_by: int
    passes: list[Counted] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    forward_seconds: list[float] = field(default_factory=list)
    share: float = 0.0
    decoded: Decoded | None = None
    error: VidjacobiError | None = None

    def count(self, numbers: Sequence[int], seconds: float, forward: float, clips: int) -> None:
        """Note a pass that ``clips`` clips took part in."""
        self.passes.append(Counted(*numbers))
        self.seconds.append(seconds)
        self.forward_seconds.append(forward)
        self.share += seconds / clips

    def land(self, state: DecodeState, row: int, law: str) -> None:
        """Cut the clip out of a state in which it is finished."""
        new = slice(self.start, self.end)
        counts = zip(Counted._fields, torch.tensor(self.passes).T[..., None], strict=True)
        trace = Trace(
            **dict(counts),
            seconds=torch.tensor(self.seconds),
            forward_seconds=torch.tensor(self.forward_seconds),
            decided_in=state.decided_in[row : row + 1, new].cpu(),
            redrafted=state.redrafted[row : row + 1, new].cpu(),
        )
        tokens = state.tokens[row : row + 1, new].clone()
        self.decoded = decoded_of(law, tokens, trace, [len(self.passes)], [self.shared_by])


def flights_of(problem: Problem, seconds: float, key: Any = None) -> list[Flight]:
    """The clips of a problem behind their prefill, which took so long."""
    numbers = zip(problem.starts.tolist(), problem.ends.tolist(), problem.shared_by, strict=True)
    flights = [Flight(key, clip, *which) for clip, which in enumerate(numbers)]
    for flight in flights:
        flight.count((1, 0, 0, 0, flight.start), seconds, seconds, len(flights))
    return flights
