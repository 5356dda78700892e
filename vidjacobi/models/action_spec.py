"""What a model asks of the actions that its frames follow: their shape, range and rate, and how they are given to it.

A recording has an action for each of its own frames. A frame of the model may stand for several of them: nano-pusht's
stands for two, whose numbers are given one after the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import real, value_words
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer

# Of a clip of g + 1 frames: row i leads from frame i to frame i + 1.
FrameActions = Float[Tensor, "g k"]


@dataclass(frozen=True)
class ActionSpec:
    """What a model asks.

    Attributes:
        names: of the numbers of one recorded action.
        condition: makes the condition of a clip of ``g + 1`` frames of float32 actions ``[g k]``, k numbers a frame.
        per_frame: recorded actions that lead from one frame to the next, at equal distances in time.
        fps: frames a second that the model was made for; None: any.
        low, high: least and largest number of an action; None: no bound.
        read: the numbers of a recorded action, and where it stands for messages; None: it is a list of numbers.
        no_op: the k numbers of a frame in which nothing is done, of the actions ``[c k]`` before it; None: there is
            no such action.
    """

    names: tuple[str, ...]
    condition: Callable[[FrameActions], Any]
    per_frame: int = 1
    fps: float | None = None
    low: float | None = None
    high: float | None = None
    read: Callable[[object, str], Sequence[float]] | None = None
    no_op: Callable[[FrameActions], Sequence[float]] | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a spec that no action fits."""
        if not self.names or self.per_frame < 1:
            raise InvalidArgument(
                f"an action has a number at least and a frame an action at least, not {self.names} and "
                f"{self.per_frame}"
            )

    @property
    def width(self) -> int:
        """Numbers of a frame's actions."""
        return len(self.names) * self.per_frame

    @property
    def frame_names(self) -> tuple[str, ...]:
        """Names of these numbers: those of the first action end with ``.0`` where there are several."""
        if self.per_frame == 1:
            return self.names
        return tuple(f"{name}.{place}" for place in range(self.per_frame) for name in self.names)

    def is_whole(self, row: object) -> bool:
        """Whether a recorded row holds the actions of a whole frame already, as exported futures do."""
        return self.per_frame > 1 and isinstance(row, list | tuple) and len(row) == self.width

    def numbers(self, row: object, where: str) -> list[float]:
        """A recorded action, or (``is_whole``) all of a frame. Raises InvalidArgument, which says ``where``."""
        if self.read is not None and not self.is_whole(row):
            found = [float(number) for number in self.read(row, where)]
        else:
            found = numbers_of(row, self.width if self.is_whole(row) else len(self.names), where)
        for number in found:
            if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
                least, most = ("any" if bound is None else f"{bound:g}" for bound in (self.low, self.high))
                raise InvalidArgument(
                    f"{where} holds {number:g}, and this model's actions go from {least} to {most}: other units?"
                )
        return found


class ActedPair(NamedTuple):
    """A model, its video tokenizer, and what it asks of actions; None: its frames follow none."""

    model: VideoModel
    tokenizer: VideoTokenizer
    actions: ActionSpec | None


def numbers_of(row: object, count: int, where: str) -> list[float]:
    """A row, listed or an array, as ``count`` finite numbers. Raises InvalidArgument, which says ``where``."""
    if isinstance(row, Tensor | np.ndarray):
        row = row.tolist()
    if isinstance(row, int | float) and count == 1:
        row = [row]
    if not isinstance(row, list | tuple) or len(row) != count:
        found = number_of(len(row), "number") if isinstance(row, list | tuple) else value_words(row)
        raise InvalidArgument(f"{where} must be {number_of(count, 'number')}, not {found}")
    numbers = [real(f"{where}, number {place},", one) for place, one in enumerate(row)]
    if not all(map(isfinite, numbers)):
        raise InvalidArgument(f"{where} holds a number that is not finite")
    return numbers
