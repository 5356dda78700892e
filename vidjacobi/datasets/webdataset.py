"""WebDataset shards: tar files in which KEY.mp4 is beside KEY.json and KEY.txt. They are not unpacked.

Source of the rules, such as that a key ends at the first dot of the name: https://github.com/webdataset/webdataset
"""

import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from glob import has_magic, iglob
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from vidjacobi.datasets.contract import Entry, Episode, Skipped, entry_or_reason, episode_id
from vidjacobi.datasets.frame_sources import trouble_with
from vidjacobi.datasets.side_files import encoding_in, parse_json
from vidjacobi.errors import BadInput
from vidjacobi.video.clips import ReadClip, open_clip, read_frames
from vidjacobi.video.probe import counted, is_video_name

LOOKS_FOR = "*.tar with videos in it, or a pattern that matches some (WebDataset)"
LOOKED_AT = 3  # shards by which a folder is recognised
NOTES = (".json", ".txt")
PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "zstd",
    b'\x04"M\x18': "lz4",
}
_LONGEST_NOTE = 1 << 20  # bytes of a .json or .txt file; larger ones are no caption
_PIECE = 1 << 20  # bytes copied at a time
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
                with self.tar.open("rb") as shard, path.open("wb") as copy:
                    shard.seek(self.offset)
                    for piece in _pieces(self.size):  # a whole video would take as much memory
                        copy.write(shard.read(piece))
            except OSError as error:
                raise BadInput(f"{self.tar}: cannot be read: {error.strerror or error}") from error
            try:
                return use(path)
            except BadInput as error:
                # messages name the shard instead of the temporary file
                raise BadInput(str(error).replace(str(path), f"{self.tar}:{self.name}")) from error


def _pieces(size: int) -> Iterator[int]:
    """The sizes of the pieces in which ``size`` bytes are copied."""
    yield from (min(_PIECE, size - at) for at in range(0, size, _PIECE))


def open_webdataset(root: Path) -> Iterator[Entry]:
    """The videos of all shards, shard after shard. Raises BadInput where there is none."""
    shards = list(shards_of(root))
    if not any(map(_holds_video, islice(shards, LOOKED_AT))):
        packed = next(filter(_packing, shards), None)
        why = f"; {_packed_words(packed)}" if packed else ""
        raise BadInput(f"{root}: no {LOOKS_FOR}{why}")
    return chain.from_iterable(map(_entries, shards))


def recognises(root: Path) -> bool:
    """Whether one of the first three shards has a video among its first hundred files, or there are only shards.

    What is in a compressed shard is not looked at: where there is nothing else, to be told so helps more than to be
    told that nothing is there.
    """
    shards = list(islice(shards_of(root), LOOKED_AT))
    if any(map(_holds_video, shards)):
        return True
    others = [path for path in root.iterdir() if not path.name.startswith(".")] if root.is_dir() else []
    return any(map(_packing, shards)) and set(others) <= set(shards_of(root))


def no_clips(root: Path) -> str | None:
    """Counts and names what of the first shards becomes no entry: files without a video of their key, and others."""
    names = []
    for shard in islice(shards_of(root), LOOKED_AT):  # of a large set, all headers take minutes
        members = [member.name for member in _members(shard) if not _is_hidden(member.name)]
        keys = {_key(name) for name in members if is_video_name(name)}
        names += [f"{shard.name}:{n}" for n in members if not (_is_used(n) and _key(n) in keys)]
    return f"{counted(names)} of the first {LOOKED_AT} shards" if names else None


def shards_of(root: Path) -> Iterator[Path]:
    """The tar files in a folder or matching a pattern, or the one at this path; compressed ones too."""
    if root.is_file():
        yield from [root] if _is_shard(root) else []
    elif root.is_dir():
        yield from sorted(filter(_is_shard, root.iterdir()))
    elif has_magic(str(root)):
        yield from filter(_is_shard, map(Path, sorted(iglob(str(root), recursive=True))))


def _is_shard(path: Path) -> bool:
    name = path.name.lower()
    return (
        not name.startswith(".")
        and re.search(r"\.(tar(\.(gz|bz2|xz|zst|lz4))?|tgz|tbz2?|txz)$", name) is not None
    )


def _packing(shard: Path) -> str | None:
    """The program that has compressed a shard, by its first bytes."""
    try:
        with shard.open("rb") as file:
            head = file.read(8)
    except OSError:
        return None
    return next((name for magic, name in PACKED.items() if head.startswith(magic)), None)


def _packed_words(shard: Path) -> str:
    program = _packing(shard)
    return f"{shard.name} is compressed ({program}), so no video in it can be reached: unpack it with `{program} -d`"


@lru_cache(maxsize=4096)
def _count(video: InTar, changed: int) -> int:
    return video.unpacked(lambda path: open_clip(path).frames)


def _holds_video(shard: Path) -> bool:
    return any(
        is_video_name(member.name) and not _is_hidden(member.name) for member in islice(_members(shard), 100)
    )


def _members(shard: Path, broken: list[str] | None = None) -> Iterator[tarfile.TarInfo]:
    """The regular files of a shard, as far as it can be read; why not further is added to ``broken``."""
    try:
        if trouble := trouble_with(shard):
            raise OSError(trouble)
        if _packing(shard):
            raise OSError(f"{shard}: {_packed_words(shard)}")
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isfile() and member.offset_data + member.size <= size:
                    yield member
    except Exception as error:  # damaged headers make tarfile raise nearly anything
        said = str(error) if type(error) is OSError else f"{shard}: damaged or cut short: {error}"
        if broken is not None:
            broken.append(said)


def _is_hidden(name: str) -> bool:
    """Whether a file or one of its folders is hidden; macOS packs a file ._NAME beside every NAME."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _is_used(name: str) -> bool:
    return is_video_name(name) or os.path.splitext(name)[1].lower() in NOTES


def _key(name: str) -> str:
    # "a.b/clip.0.json" has the key "a.b/clip": only dots of the file name count
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.split(".")[0]


def _entries(shard: Path) -> Iterator[Entry]:
    broken: list[str] = []
    # The files of a key may lie anywhere in a shard, so all names come first; they are in the headers only.
    groups: dict[str, list[tarfile.TarInfo]] = {}
    for member in _members(shard, broken):
        if not _is_hidden(member.name) and _is_used(member.name):
            groups.setdefault(_key(member.name), []).append(member)
    for key, group in groups.items():
        videos = [member for member in group if is_video_name(member.name)]
        for video in videos:
            alone = len(videos) == 1
            # "take 0.1.mp4" and "take 0.2.mp4" have one key, and ids of their own
            made = episode_id(shard.stem, *Path(key if alone else os.path.splitext(video.name)[0]).parts)
            make = partial(_episode, shard, made, video, [n for n in group if n not in videos], alone)
            yield entry_or_reason(made, f"{shard}:{video.name}", make)
    for said in broken:
        yield Skipped(episode_id(shard.stem, "rest"), said)


def _episode(
    shard: Path, made: str, video: tarfile.TarInfo, notes: list[tarfile.TarInfo], alone: bool
) -> Episode:
    if video.issparse():
        raise BadInput(
            f"{shard}:{video.name}: stored with holes, which is not read; pack it again without --sparse"
        )
    facts = _facts(shard, [note for note in notes if alone or _belongs(note.name, video.name)])
    frames = InTar(shard, video.name, video.offset_data, video.size)
    return Episode(made, frames, None, f"{shard}:{video.name}", facts)


def _belongs(note: str, video: str) -> bool:
    """Whether a note of a key with several videos is one of this video: by its own name, or by the key alone."""
    # of 7.left.mp4: 7.left.txt, 7.left.mp4.json and 7.txt, but not 7.right.txt
    return os.path.splitext(note)[0] in (os.path.splitext(video)[0], video, _key(video))


def _facts(shard: Path, notes: list[tarfile.TarInfo]) -> dict[str, object]:
    """The values in KEY.json, and KEY.txt as the text."""
    facts: dict[str, object] = {}
    for note in notes:
        if note.size > _LONGEST_NOTE:
            continue
        with shard.open("rb") as file:
            file.seek(note.offset_data)
            content = file.read(note.size)
        text = content.decode(encoding_in(content), "replace")
        if note.name.lower().endswith(".txt"):
            facts["text"] = text.strip()
            continue
        try:
            found = parse_json(text)
        except ValueError:
            continue  # a damaged note does not make the video unusable
        if isinstance(found, dict):
            facts = {**found, **facts}  # KEY.txt goes before a "text" in KEY.json
    return facts
