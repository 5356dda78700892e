"""Frame sources that several datasets share: a video file, a stretch of one, pictures, every n-th frame."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from vidjacobi.datasets.contract import FrameSource
from vidjacobi.errors import BadInput
from vidjacobi.video.clips import ClipInfo, ReadClip, open_clip, read_frames

# What a listing takes for a video by its name; reading goes by content.
VIDEO_SUFFIXES = frozenset(
    [".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".gif"]
)
_POINTER_BYTES = 1024


@dataclass(frozen=True)
class File:
    """All frames of a video file, an image, or a folder of images in natural order."""

    path: Path

    def count(self) -> int:
        """Frames in display order; a file cut short counts what it still has."""
        return self.info().frames

    def info(self) -> ClipInfo:
        """What the file is; remembered, because finding it reads a video file once."""
        return _opened(self.path, *_state(self.path))

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """See FrameSource."""
        return read_frames(self.path, start, count, stride=stride)


@dataclass(frozen=True)
class Stretch:
    """Frames first, first + 1, ... of another source: ``length`` of them, or all that follow."""

    frames: FrameSource
    first: int
    length: int | None = None

    def count(self) -> int:
        """Frames of this stretch that are there."""
        behind = max(0, self.frames.count() - self.first)
        return behind if self.length is None else min(behind, self.length)

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """See FrameSource; never reads beyond the stretch."""
        end = start + (count - 1) * stride
        if start < 0 or (self.length is not None and end >= self.length):
            raise BadInput(
                f"{count} frames needed from frame {start} on with stride {stride}, "
                f"but the episode has {self.length}"
            )
        return replace(self.frames.read(self.first + start, count, stride), start=start)


@dataclass(frozen=True)
class EveryNth:
    """Every n-th frame of another source, from its first one on."""

    frames: FrameSource
    n: int

    def count(self) -> int:
        """Frames that remain."""
        return -(-self.frames.count() // self.n)

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """See FrameSource; fps falls with n."""
        return replace(self.frames.read(start * self.n, count, stride * self.n), start=start)


def thinned(frames: FrameSource, start: int, stride: int) -> FrameSource:
    """The frames start, start + stride, ... as a source of its own."""
    shifted = Stretch(frames, start) if start else frames
    return EveryNth(shifted, stride) if stride > 1 else shifted


def trouble_with(path: Path) -> str | None:
    """Why a file cannot be a video at all, as far as one can tell without opening it as one."""
    try:
        status = path.stat()
        size = status.st_size
        if not S_ISREG(status.st_mode):  # a pipe would be waited for
            return f"{path}: not a file"
        if size < _POINTER_BYTES:
            with path.open("rb") as file:
                if file.read(40).startswith(b"version https://git-lfs"):
                    return f"{path}: a git-lfs pointer, not the file itself; run `git lfs pull` in its repository"
    except FileNotFoundError:
        return f"{path}: no such file" + (" (a link without a target)" if path.is_symlink() else "")
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror or error}"
    return None if size else f"{path}: an empty file (0 bytes)"


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)  # the reader says what is wrong with it
    return (status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _opened(path: Path, changed: int, size: int) -> ClipInfo:
    return open_clip(path)
