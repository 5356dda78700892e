"""The actions that a recording has beside its frames: what a dataset's reader gives where it has any."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from vidjacobi.errors import BadInput, number_of

WITHOUT = (
    "it has no actions: LeRobot has them in the column action, Bridge in its annotations, and a video in NAME.jsonl "
    "beside it, with a line for each frame"
)


@dataclass(frozen=True)
class RecordedActions:
    """Actions of an episode; row i of the recording acts from its frame i until frame i + 1.

    Attributes:
        rows: of the whole recording, as they are there: lists of numbers, or dictionaries of MineRL.
        fps: rows a second; None where nothing says.
        first: the row at the episode's first frame.
        step: rows from one frame of the episode to the next.
        by_number: nothing but their number tells which frame a row belongs to, so it must be that of the frames, or
            one less.
    """

    rows: Sequence[Any]
    fps: float | None
    first: int = 0
    step: int = 1
    by_number: bool = False

    @property
    def frames_per_second(self) -> float | None:
        """Of the episode's frames; None where nothing says."""
        return None if self.fps is None else self.fps / self.step

    def cut(self, start: int, stride: int) -> "RecordedActions":
        """Those of the frames start, start + stride, ... of the episode."""
        return replace(self, first=self.first + start * self.step, step=self.step * stride)

    def check_frames(self, frames: int, where: str) -> None:
        """Raise BadInput where the rows cannot be those of an episode of so many frames."""
        most = self.first + frames * self.step
        if self.by_number and not most - self.step <= len(self.rows) <= most:
            raise BadInput(
                f"{where}: {number_of(len(self.rows), 'action')} for {most} frames: there must be one for each "
                "frame, or for each but the last"
            )


@runtime_checkable
class ActionSource(Protocol):
    """Where the actions of one episode are. Frozen and picklable, as a ``FrameSource``."""

    @property
    def recording(self) -> str:
        """Names the recording: episodes that are parts of one have the same."""
        ...

    def read(self) -> RecordedActions:
        """All of them. Raises BadInput for what is missing, damaged or of no shape."""
        ...


@dataclass(frozen=True)
class CutActions:
    """The actions of the frames start, start + stride, ... of another source's episode."""

    actions: ActionSource
    start: int
    stride: int

    @property
    def recording(self) -> str:
        """See ActionSource."""
        return self.actions.recording

    def read(self) -> RecordedActions:
        """See ActionSource."""
        return self.actions.read().cut(self.start, self.stride)
