"""WebDataset shards: tar files in which KEY.mp4 is beside KEY.json and KEY.txt. They are not unpacked.

Source of the rules, such as that a key ends at the first dot of the name: https://github.com/webdataset/webdataset
"""

import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from glob import has_magic, iglob
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

from vidjacobi.datasets.contract import Entry, Episode, Skipped, episode_id
from vidjacobi.datasets.frame_sources import VIDEO_SUFFIXES, trouble_with
from vidjacobi.errors import BadInput
from vidjacobi.video.clips import ReadClip, open_clip, read_frames

LOOKS_FOR = "*.tar with videos in it, or a pattern that matches some (WebDataset)"
_LONGEST_NOTE = 1 << 20  # bytes of a .json or .txt file; larger ones are no caption
T = TypeVar("T")


@dataclass(frozen=True)
class InTar:
    """A video inside a tar file. It is copied to a temporary file whenever it is read."""

    tar: Path
    name: str
    offset: int
    size: int

    def count(self) -> int:
        """Number of frames of the video; the answer is remembered."""
        return _count(self, self.tar.stat().st_mtime_ns if self.tar.exists() else 0)

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; see FrameSource."""
        clip = self.unpacked(lambda path: read_frames(path, start, count, stride=stride))
        return replace(clip, source=f"{self.tar}:{self.name}")

    def unpacked(self, use: Callable[[Path], T]) -> T:
        """The result of ``use``, which is called with the path of the video as a file. Raises BadInput."""
        with tempfile.TemporaryDirectory(prefix="vidjacobi-") as folder:
            path = Path(folder) / f"video{Path(self.name).suffix}"
            try:
                with self.tar.open("rb") as shard:
                    shard.seek(self.offset)
                    path.write_bytes(shard.read(self.size))
            except OSError as error:
                raise BadInput(f"{self.tar}: cannot be read: {error.strerror or error}") from error
            try:
                return use(path)
            except BadInput as error:
                # messages name the shard instead of the temporary file
                raise BadInput(str(error).replace(str(path), f"{self.tar}:{self.name}")) from error


def open_webdataset(root: Path) -> Iterator[Entry]:
    """The videos of all shards, shard after shard. Raises BadInput where there is none."""
    if not recognises(root):
        raise BadInput(f"{root}: no {LOOKS_FOR}")
    return _entries(shards_of(root))


def recognises(root: Path) -> bool:
    """Whether one of the first three shards has a video among its first hundred files."""
    return any(
        _is_video(member) for shard in islice(shards_of(root), 3) for member in islice(_members(shard), 100)
    )


def shards_of(root: Path) -> Iterator[Path]:
    """The tar files in a folder or matching a pattern, or the one at this path."""
    if root.is_file():
        yield from [root] if root.suffix == ".tar" else []
    elif root.is_dir():
        yield from sorted(root.glob("*.tar"))
    elif has_magic(str(root)):
        yield from (Path(path) for path in sorted(iglob(str(root), recursive=True)) if path.endswith(".tar"))


@lru_cache(maxsize=4096)
def _count(video: InTar, changed: int) -> int:
    return video.unpacked(lambda path: open_clip(path).frames)


def _members(shard: Path) -> Iterator[tarfile.TarInfo]:
    """The regular files of a shard, as far as the shard can be read."""
    if trouble_with(shard):
        return
    try:
        with tarfile.open(shard, "r:") as tar:
            yield from (member for member in tar if member.isfile())
    except (OSError, tarfile.TarError):
        return


def _is_video(member: tarfile.TarInfo) -> bool:
    return Path(member.name).suffix.lower() in VIDEO_SUFFIXES


def _key(member: tarfile.TarInfo) -> str:
    # "a.b/clip.0.json" has the key "a.b/clip": only dots of the file name count
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.split(".")[0]


def _entries(shards: Iterator[Path]) -> Iterator[Entry]:
    for shard in shards:
        trouble = trouble_with(shard)
        try:
            if trouble:
                raise OSError(trouble)
            with tarfile.open(shard, "r:") as tar:
                files = (member for member in tar if member.isfile())
                # The files of a key follow each other, so a shard is read once from its beginning to its end.
                for key, group in groupby(files, _key):
                    yield from _episodes(shard, tar, key, list(group))
        except (OSError, tarfile.TarError) as error:
            yield Skipped(episode_id(shard.stem, "rest"), f"{shard}: damaged or compressed: {error}")


def _episodes(shard: Path, tar: tarfile.TarFile, key: str, group: list[tarfile.TarInfo]) -> Iterator[Entry]:
    facts = _facts(tar, group)
    for member in filter(_is_video, group):
        made = episode_id(shard.stem, *Path(key).parts)
        frames = InTar(shard, member.name, member.offset_data, member.size)
        yield Episode(made, frames, None, f"{shard}:{member.name}", facts)


def _facts(tar: tarfile.TarFile, group: list[tarfile.TarInfo]) -> dict[str, object]:
    """The values in KEY.json, and KEY.txt as the text."""
    facts: dict[str, object] = {}
    for member in group:
        suffix = Path(member.name).suffix.lower()
        if suffix not in (".json", ".txt") or member.size > _LONGEST_NOTE:
            continue
        file = tar.extractfile(member)
        text = file.read().decode("utf-8", "replace") if file else ""
        if suffix == ".txt":
            facts["text"] = text.strip()
            continue
        try:
            note = json.loads(text)
        except ValueError:
            continue  # a damaged note does not make the video unusable
        if isinstance(note, dict):
            facts = {**note, **facts}  # KEY.txt goes before a "text" in KEY.json
    return facts
