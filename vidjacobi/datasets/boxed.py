"""Episodes whose frames are read in another process, with limited time and memory, as commands do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vidjacobi.datasets.contract import Entry, Episode, FrameSource
from vidjacobi.video.records import ReadClip
from vidjacobi.video.timed_reader import shared


@dataclass(frozen=True)
class Boxed:
    """The frames of another source, read by the process of ``timed_reader``.

    Attributes:
        source: what messages name where the other process gives no answer.
    """

    frames: FrameSource
    source: str

    def count(self) -> int:
        """Number of frames. Raises BadInput, also where reading hangs, crashes or takes too much memory."""
        return shared().count(self.frames, self.source)

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; raises as ``count``."""
        return shared().read(self.frames, start, count, stride, self.source)


def boxed(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, whose frames are read in another process."""
    for entry in entries:
        if isinstance(entry, Episode):
            yield replace(entry, frames=Boxed(entry.frames, entry.source))
        else:
            yield entry
