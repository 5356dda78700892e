"""What reading a clip gives, its facts and its frames, and the names of the readers. Torch is not loaded for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from torch import Tensor


class Kind(str, Enum):
    """The three things that a clip can be read from."""

    VIDEO = "video"
    IMAGE = "image"
    FOLDER = "folder"


@dataclass(frozen=True)
class ClipInfo:
    """A clip before it is read.

    Attributes:
        source: the path.
        kind: video, image or folder of images.
        fps: exact rate, such as 30000/1001.
        frames: number of frames that can be read.
        height, width: size in pixels, as displayed.
        codec: name of the video codec, empty for images.
        notes: what is odd about the file.
    """

    source: str
    kind: Kind
    fps: Fraction
    frames: int
    height: int
    width: int
    codec: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadClip:
    """Frames that were read from a clip.

    Attributes:
        pictures: uint8 RGB, as an array.
        fps: rate of these frames: with a stride it is that much lower than the file's.
        source: the path, or what else tells where the frames come from.
        start: index of the first frame.
        reader: pyav, decord or pillow.
        notes: what was odd about the file: cut short, variable rate, time stamps out of order.
    """

    pictures: UInt8[np.ndarray, "T H W 3"]
    fps: float
    source: str
    start: int
    reader: str
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> 'UInt8[Tensor, "T H W 3"]':
        """The pictures as a tensor, which shares their memory."""
        import torch

        return torch.from_numpy(self.pictures)


# name -> "module:function", a `vidjacobi.video.reader.Reader`, imported when it is asked for. All give the same
# frames or refuse. A reader of your own is added here.
READERS = {
    "pyav": "vidjacobi.video.pyav_reader:read",
    "decord": "vidjacobi.video.decord_reader:read",
}
DEFAULT = "pyav"
_CHOSEN: ContextVar[str] = ContextVar("reader", default=DEFAULT)


def chosen_reader() -> str:
    """The reader that is taken where none is named."""
    return _CHOSEN.get()


@contextmanager
def reading_with(reader: str) -> Iterator[None]:
    """Within this context, reads that name no reader take this one."""
    token = _CHOSEN.set(reader)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


@runtime_checkable
class Source(Protocol):
    """What a worker may be asked to read besides a path, such as an episode's frames; it must be picklable."""

    def count(self) -> int:
        """Number of frames."""
        ...

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ..."""
        ...
