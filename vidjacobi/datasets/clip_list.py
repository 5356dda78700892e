"""Which clips of a dataset are wanted: a file that lists ids, optionally with a start frame and a stride."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vidjacobi.datasets.contract import Entry, Skipped
from vidjacobi.datasets.frame_sources import thinned
from vidjacobi.datasets.recorded_actions import CutActions
from vidjacobi.datasets.side_files import parse_json, read_text
from vidjacobi.errors import InvalidArgument


@dataclass(frozen=True)
class Wanted:
    """One line of a clip list. ``start`` and ``stride`` are None where the line does not give them."""

    clip: str
    start: int | None = None
    stride: int | None = None

    @property
    def suffix(self) -> str:
        """The ending of an id that tells parts of one clip apart: "", "@128" or "@128x8"."""
        start = "" if self.start is None else f"@{self.start}"
        return start + ("" if self.stride is None else f"x{self.stride}")


def read_clip_list(path: str | Path) -> list[Wanted]:
    """Parse a clip list.

    A text file has a line ``id [start [stride]]`` for each clip, separated by blanks or commas. ``#`` begins a
    comment, and a header line ``id,start,stride`` is skipped. A JSON file has a list of ids, or an object whose
    keys are ids, as in pixelSplat's evaluation index; keys with the value null are left out.

    Raises InvalidArgument for a file that is neither, lists nothing, or repeats a line.
    """
    if not isinstance(path, str | Path):
        raise InvalidArgument(f"a clip list is the path of a file, not {path!r:.80}")
    path = Path(path)
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path}: this clip list cannot be read: {error}") from error
    if path.suffix.lower() == ".json":
        return _from_json(text, path)
    wanted: dict[Wanted, int] = {}  # with the number of the line, for messages
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#")[0].replace(",", " ").split()
        if not fields or fields[0].casefold() in ("id", "clip", "key"):
            continue
        clip = _from_fields(fields, f"{path}, line {number}")
        if clip in wanted:
            raise InvalidArgument(f"{path}, line {number}: repeats line {wanted[clip]}")
        wanted[clip] = number
    if not wanted:
        raise InvalidArgument(f"{path}: no clip is listed; write one id a line")
    return list(wanted)


def choose(entries: Iterable[Entry], wanted: list[Wanted], start: int, stride: int) -> Iterator[Entry]:
    """The wanted entries in the order of the list, each from the start that the list gives, or else from ``start``.

    An id may be written with or without its folders ("test/0bf152ef84195293"). A clip that is wanted and not there is
    Skipped.
    """
    # Every entry is found under its whole id and under the last part of it.
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        for name in {entry.id, entry.id.rsplit("/", 1)[-1]}:
            found.setdefault(name, []).append(entry)
    for want in wanted:
        matches = found.get(want.clip, [])
        if not matches:
            yield Skipped(want.clip, "in the clip list, but not in this dataset")
        for entry in matches:
            named = replace(entry, id=entry.id + want.suffix)
            yield cut(named, start if want.start is None else want.start, want.stride or stride)


def cut(entry: Entry, start: int, stride: int) -> Entry:
    """An episode of the frames start, start + stride, ...; its metadata holds both numbers."""
    if isinstance(entry, Skipped):
        return entry
    return replace(
        entry,
        frames=thinned(entry.frames, start, stride),
        actions=entry.actions and CutActions(entry.actions, start, stride),
        fps=entry.fps and entry.fps / stride,
        metadata={**entry.metadata, "start": start, "stride": stride},
    )


def _from_json(text: str, path: Path) -> list[Wanted]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from error
    if isinstance(content, dict):
        content = [key for key, value in content.items() if value is not None]
    if not isinstance(content, list) or not content or not all(isinstance(key, str) for key in content):
        raise InvalidArgument(f"{path}: a list of clip ids, or an object with ids as keys, is needed")
    return [Wanted(clip) for clip in dict.fromkeys(content)]


def _from_fields(fields: list[str], where: str) -> Wanted:
    numbers = fields[1:]
    if len(numbers) > 2 or not all(re.fullmatch("[0-9]{1,15}", number) for number in numbers):
        raise InvalidArgument(f"{where}: write `id [start [stride]]`, not {' '.join(fields)!r}")
    start = int(numbers[0]) if numbers else None
    stride = int(numbers[1]) if len(numbers) > 1 else None
    if stride == 0:
        raise InvalidArgument(f"{where}: the stride counts from 1")
    return Wanted(fields[0], start, stride)
