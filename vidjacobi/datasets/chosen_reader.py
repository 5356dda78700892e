"""Episodes whose videos are read by a reader that was chosen by name."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vidjacobi.datasets.contract import Entry, Episode, FrameSource
from vidjacobi.registry import lookup
from vidjacobi.video.records import DEFAULT, READERS, ReadClip, reading_with


@dataclass(frozen=True)
class ReadWith:
    """The frames of another source, whose videos are read by ``reader``, in whichever process that happens."""

    frames: FrameSource
    reader: str

    def count(self) -> int:
        """Number of frames, which no reader changes."""
        return self.frames.count()

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ... Raises BadInput, also for a file that the reader refuses."""
        with reading_with(self.reader):
            return self.frames.read(start, count, stride)


def read_with(entries: Iterable[Entry], reader: str) -> Iterator[Entry]:
    """The entries, whose videos are read by ``reader``. Raises InvalidArgument for an unknown one."""
    lookup("reader", reader, READERS)
    if reader == DEFAULT:
        return iter(entries)
    return (
        replace(entry, frames=ReadWith(entry.frames, reader)) if isinstance(entry, Episode) else entry
        for entry in entries
    )
