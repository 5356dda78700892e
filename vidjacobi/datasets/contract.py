"""What a dataset is: a lazy list of episodes, and of entries that cannot be used, with the reason.

To list a dataset opens no video, so ten thousand episodes take seconds. Frames and their number are read when they
are asked for. All records are frozen and can be pickled, so that a worker process may read for its parent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

from vidjacobi.datasets.recorded_actions import ActionSource
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.output.run_folder import LONGEST, safe_name
from vidjacobi.video.records import ReadClip


@runtime_checkable
class FrameSource(Protocol):
    """Where the frames of one episode are. ``frame_sources`` and the modules that import it implement it."""

    def count(self) -> int:
        """Number of frames. This opens the index of the file. Raises BadInput where it is missing or damaged."""
        ...

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The ``count`` frames start, start + stride, ... Raises BadInput, also where there are fewer."""
        ...


@dataclass(frozen=True)
class Episode:
    """One sequence of frames.

    Attributes:
        id: unique in its dataset, and a safe relative path ("test/0bf152ef84195293"); see ``folder_name``.
        frames: where its frames are.
        fps: frames per second, where the listing knows them. ``ReadClip.fps`` is the rate of what was read.
        source: the path that messages name.
        metadata: plain values such as a text, the split, the camera or the path of the pose file.
        actions: where the actions between its frames are; None where the dataset has none.
    """

    id: str
    frames: FrameSource
    fps: float | None
    source: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    actions: ActionSource | None = None


@dataclass(frozen=True)
class Skipped:
    """An entry of a dataset that cannot be used, and the reason."""

    id: str
    reason: str


Entry = Episode | Skipped
# What reading files of others raises: no such path, wrong types and keys, numbers out of range, nesting too deep.
TROUBLE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    BadInput,
)


def entry_or_reason(made: str, where: object, make: Callable[[], Entry]) -> Entry:
    """The entry that ``make`` makes, or a Skipped that says what is wrong with ``where`` it comes from."""
    try:
        return make()
    except BadInput as error:
        return Skipped(made, str(error))
    except TROUBLE as error:
        return Skipped(made, f"{where}: {reason_of(error)}")


def to_the_end(entries: Iterator[Entry], root: Path) -> Iterator[Entry]:
    """The entries; if the listing breaks off, a Skipped stands for what would follow, and nothing is raised."""
    try:
        yield from entries
    except TROUBLE as error:
        yield Skipped(
            "rest", f"{root}: its listing broke off here, and what follows is lost: {reason_of(error)}"
        )


def reason_of(error: BaseException) -> str:
    """An error in words: a message that was written for users as it is, others with their type."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, RecursionError):
        return "nested too deep to be read"
    plain = isinstance(error, BadInput) or type(error) is ValueError
    return str(error)[:300] if plain else f"it has not what is expected there ({error!r:.200})"


def episode_id(*parts: str) -> str:
    """The parts as one safe relative path. Where a part had to be changed, a hash of the original is appended."""
    # ("test", "clip 1") stays "test/clip 1", and ("test", "a:b") becomes something like "test/a_b-3f2a9c1e", so that
    # "a:b" and "a?b" keep different ids.
    kept = [safe_name(part) for part in parts]
    text = "/".join(kept)
    if kept == list(parts) and len(text.encode()) <= LONGEST:
        return text
    return _marked(text, "\x1f".join(parts))


def folder_name(episode: str) -> str:
    """The name of the folder for the outputs of an episode. No two ids of a dataset have the same."""
    return safe_name(episode.replace("/", "_"))


def distinct(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries with ids whose folder names all differ, also on file systems that ignore case.

    An id whose folder name is taken already gets a hash of its id, its source and a number.
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
    """The entry if it has at least ``least`` frames that can be read, or else a Skipped that says why not."""
    if isinstance(entry, Skipped):
        return entry
    try:
        there = entry.frames.count()
    except BadInput as error:
        return Skipped(entry.id, str(error))
    if there < least:
        return Skipped(entry.id, f"{entry.source}: {number_of(there, 'frame')}, but {least} are needed")
    return entry


def check_split(split: str | None, there: Iterable[str | None], root: Path) -> None:
    """Raise InvalidArgument for a split that is not among those of a dataset; None is always allowed."""
    names = sorted({name for name in there if name})
    if split is not None and split not in names:
        held = f"it has {', '.join(names)}" if names else "nothing in it says which split an episode is"
        raise InvalidArgument(f"{root}: no split {split!r} ({held}); choose another or leave split out")


def _marked(text: str, origin: str) -> str:
    try:
        content = origin.encode("utf-8", "surrogateescape")  # names of files that are not UTF-8
    except UnicodeEncodeError:
        content = origin.encode("utf-8", "surrogatepass")  # half of a pair, which JSON may hold
    mark = sha256(content).hexdigest()[:8]
    # A hyphen and 8 letters need 9 bytes; cutting bytes may split a character, which "ignore" then drops.
    kept = text.encode()[: LONGEST - 9].decode("utf-8", "ignore").rstrip(" ./")
    return f"{kept}-{mark}"
