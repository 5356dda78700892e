"""Frame sources that several datasets share: a file, a part of another source, and every n-th frame of one."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from vidjacobi.datasets.contract import FrameSource
from vidjacobi.errors import BadInput, number_of
from vidjacobi.video.clips import ClipInfo, ReadClip, open_clip, read_frames

_POINTER_BYTES = 1024  # git-lfs pointers are smaller than this, so larger files need not be opened


@dataclass(frozen=True)
class File:
    """All frames of a video file, of an image, or of a folder of images in natural order."""

    path: Path

    def count(self) -> int:
        """Number of frames; of a file that was cut short, of those that are left."""
        return self.info().frames

    def info(self) -> ClipInfo:
        """What the file is. The answer is remembered, because to find it a video file is read once."""
        return _opened(self.path, *state_of(self.path))

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; see FrameSource."""
        return read_frames(self.path, start, count, stride=stride)


@dataclass(frozen=True)
class Stretch:
    """``length`` frames of another source from frame ``first`` on, or all that follow for None."""

    frames: FrameSource
    first: int
    length: int | None = None

    def count(self) -> int:
        """Number of frames of this stretch that the source really has."""
        rest = max(0, self.frames.count() - self.first)
        return rest if self.length is None else min(rest, self.length)

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ... of the stretch; never one after its end."""
        end = start + (count - 1) * stride
        if start < 0 or (self.length is not None and end >= self.length):
            raise BadInput(
                f"{number_of(count, 'frame')} needed from frame {start} on with stride {stride}, "
                f"but the episode has {self.length}"
            )
        # ``start`` counts within the stretch, not within the other source.
        return replace(self.frames.read(self.first + start, count, stride), start=start)


@dataclass(frozen=True)
class EveryNth:
    """Every n-th frame of another source, from its first frame on."""

    frames: FrameSource
    n: int

    def count(self) -> int:
        """Number of frames that remain."""
        return -(-self.frames.count() // self.n)  # of 10 frames every third: 0 3 6 9

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ... of those that remain; their rate is n times lower."""
        return replace(self.frames.read(start * self.n, count, stride * self.n), start=start)


def thinned(frames: FrameSource, start: int, stride: int) -> FrameSource:
    """The frames start, start + stride, ... as a source of its own."""
    shifted = Stretch(frames, start) if start else frames
    return EveryNth(shifted, stride) if stride > 1 else shifted


def trouble_with(path: Path) -> str | None:
    """Why a file cannot be a video, as far as can be told without opening it as one; None if it may be one."""
    try:
        status = path.stat()
        size = status.st_size
        if not S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            return f"{path}: not a file"
        if size < _POINTER_BYTES:
            with path.open("rb") as file:
                if file.read(40).startswith(b"version https://git-lfs"):
                    return f"{path}: a git-lfs pointer, not the file itself; run `git lfs pull` in its repository"
    except FileNotFoundError:
        return f"{path}: no such file" + (" (a link without a target)" if path.is_symlink() else "")
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror or error}"
    except ValueError as error:  # such as a NUL in it
        return f"{str(path)!r}: no path can be like this: {error}"
    return None if size else f"{path}: an empty file (0 bytes)"


def state_of(path: Path) -> tuple[int, int]:
    """Numbers that change when a file does."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0)  # the reader will say what is wrong with it
    return (status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _opened(path: Path, changed: int, size: int) -> ClipInfo:
    return open_clip(path)
