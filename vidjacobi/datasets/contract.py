"""What a dataset is: a lazy list of episodes, and of entries that cannot be used, with the reason.

Listing opens no video, so ten thousand episodes take seconds; frames and counts are read when they are
asked for. All records are frozen and can be pickled, so that a worker process may read for its parent.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.output.names import LONGEST, safe_name
from vidjacobi.video.clips import ReadClip


@runtime_checkable
class FrameSource(Protocol):
    """Where the frames of one episode lie. Implementations: vidjacobi/datasets/sources.py and its users."""

    def count(self) -> int:
        """Number of frames. Opens the file's index. Raises BadInput when it is missing or damaged."""
        ...

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """Frames start, start + stride, ... and no others. Raises BadInput, also when there are fewer."""
        ...


@dataclass(frozen=True)
class Episode:
    """One sequence of frames.

    id: unique in its dataset, safe relative path ("test/0bf152ef84195293"); see ``folder_name``.
    fps: frames per second where the listing knows them; ``ReadClip.fps`` is what was really read.
    metadata: plain values: text, split, camera, the pose file's path ...
    source: the path that messages name.
    """

    id: str
    frames: FrameSource
    fps: float | None
    source: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Skipped:
    """An entry of the dataset that cannot be used, and why."""

    id: str
    reason: str


Entry = Episode | Skipped


def episode_id(*parts: str) -> str:
    """The parts as one safe relative path. What had to be altered for that gets a hash, to stay distinct."""
    kept = [safe_name(part) for part in parts]
    text = "/".join(kept)
    if kept == list(parts) and len(text.encode()) <= LONGEST:
        return text
    return _marked(text, "\x1f".join(parts))


def folder_name(episode: str) -> str:
    """The one folder name for the outputs of an episode id. Distinct for the ids of one dataset."""
    return safe_name(episode.replace("/", "_"))


def distinct(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries with ids whose folder names differ, also on file systems that ignore case.

    An id whose folder is taken gets a hash of what it was made from.
    """
    taken: set[str] = set()
    for entry in entries:
        name, number = entry.id, 0
        while folder_name(name).casefold() in taken:
            number += 1
            name = _marked(entry.id, f"{entry.id}\x1f{getattr(entry, 'source', '')}\x1f{number}")
        taken.add(folder_name(name).casefold())
        yield entry if name == entry.id else replace(entry, id=name)


def counted(entry: Entry, least: int = 1) -> Entry:
    """The entry, or why it is none: its frames are opened, counted and compared with ``least``."""
    if isinstance(entry, Skipped):
        return entry
    try:
        there = entry.frames.count()
    except BadInput as error:
        return Skipped(entry.id, str(error))
    if there < least:
        return Skipped(entry.id, f"{entry.source}: {there} frames, but {least} are needed")
    return entry


def check_split(split: str | None, there: Iterable[str | None], root: Path) -> None:
    """Refuse a split that a dataset does not have. Raises InvalidArgument."""
    names = sorted({name for name in there if name})
    if split is not None and split not in names:
        held = f"it has {', '.join(names)}" if names else "nothing in it says which split an episode is"
        raise InvalidArgument(f"{root}: no split {split!r} ({held}); choose another or leave split out")


def _marked(text: str, origin: str) -> str:
    mark = sha256(origin.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    kept = text.encode()[: LONGEST - 9].decode("utf-8", "ignore").rstrip(" ./")
    return f"{kept}-{mark}"
