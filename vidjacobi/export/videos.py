"""The pictures of a LeRobot dataset: the batch's mp4 files as they are, or in the format of the source's pictures."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import av
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vidjacobi.errors import BadOutput
from vidjacobi.models.codec import covering_size
from vidjacobi.shapes import Frames
from vidjacobi.video.writer import REPRODUCIBLE

CHUNK = 1000  # files in a folder
FILE = "chunk-{:03d}/file-{:03d}"
FILE_MB = 200  # LeRobot's own limit of a video file, after which the next one begins
TABLE_PICTURES = "png"  # in place of a codec: pictures in the table instead of videos
# LeRobot's name of a codec -> encoder and its settings. As LeRobot does, every second frame is a key frame, so that
# reading any frame is quick; the quality is higher, because the pictures were compressed once already. H.265 is left
# out: lerobot 0.4.4 fails to read frames of its own H.265 sets in random order, whichever reader it uses.
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "av1": ("libsvtav1", {"g": "2", "crf": "20", "preset": "8"}),
    "h264": ("libx264", {"g": "2", "crf": "14", **REPRODUCIBLE}),
}


@dataclass(frozen=True)
class VideoFormat:
    """What all videos of a dataset share: frames per second, and the size in pixels."""

    fps: int
    height: int
    width: int


@dataclass(frozen=True)
class VideoPlace:
    """Where an episode's frames are: the number of the file, and seconds from its begin on."""

    file: int = 0
    since: float = 0.0


@runtime_checkable
class PictureWriter(Protocol):
    """Takes the futures one after the other."""

    def add(self, video: Path, frames: Frames) -> VideoPlace | None:
        """Take a future's file, and the frames in it as the set is to show them.

        None where the pictures are in a column of the table instead. Raises BadOutput.
        """
        ...


class CopiedVideos:
    """A file per episode in ``folder``, copied: nothing is encoded again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._files = folder, 0

    def __enter__(self) -> "CopiedVideos":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add(self, video: Path, frames: Frames) -> VideoPlace:
        """See PictureWriter."""
        target = file_of(self._folder, self._files)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(video, target)
        except OSError as error:
            raise BadOutput(f"{target}: cannot be written: {error.strerror or error}") from error
        self._files += 1
        return VideoPlace(self._files - 1)


class TablePictures:
    """No video: the pictures are in the table, see ``picture_column``."""

    def __enter__(self) -> "TablePictures":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def add(self, video: Path, frames: Frames) -> VideoPlace | None:
        """See PictureWriter."""
        return None


class SharedVideos:
    """All episodes one after the other in as few files as FILE_MB allows.

    Args:
        codec: a key of ENCODERS.
        limit: bytes after which the next episode begins a new file.
    """

    def __init__(self, folder: Path, codec: str, shared: VideoFormat, limit: int = FILE_MB * 2**20) -> None:
        self._folder, self._codec, self._shared, self._limit = folder, codec, shared, limit
        self._file, self._frames, self._bytes = -1, 0, 0
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> "SharedVideos":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def add(self, video: Path, frames: Frames) -> VideoPlace:
        """See PictureWriter."""
        if self._container is None or self._bytes > self._limit:
            self._begin()
        first = self._frames
        with self._refusals():
            for picture in frames.cpu().numpy():
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = self._frames, Fraction(1, self._shared.fps)
                self._mux(frame)
                self._frames += 1
        return VideoPlace(self._file, first / self._shared.fps)

    def _begin(self) -> None:
        self._end()
        self._file, self._frames, self._bytes = self._file + 1, 0, 0
        path = file_of(self._folder, self._file)
        encoder, options = ENCODERS[self._codec]
        # SVT-AV1 writes pages about itself to the console, unless its log is turned down before it starts
        os.environ.setdefault("SVT_LOG", "1")
        with self._refusals():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(
                str(path.absolute()), "w", format="mp4", options={"movflags": "faststart"}
            )
            self._stream = self._container.add_stream(encoder, rate=self._shared.fps, options=options)
            self._stream.height, self._stream.width = self._shared.height, self._shared.width
            self._stream.pix_fmt = "yuv420p"

    def _mux(self, frame: av.VideoFrame | None) -> None:
        packets = self._stream.encode(frame)
        self._bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)

    def _end(self) -> None:
        if self._container is not None:
            with self._refusals():
                self._mux(None)
                self._container.close()
            self._container = None

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            self._container = None  # nothing more can be written to it
            size = f"{self._shared.width}x{self._shared.height} pixels as {self._codec}"
            raise BadOutput(f"{self._folder.name}: pictures of {size} cannot be written: {error}") from error


def file_of(folder: Path, number: int) -> Path:
    """The number-th video of a camera's folder."""
    return folder / (FILE.format(*divmod(number, CHUNK)) + ".mp4")


def picture_column(frames: Frames) -> Any:
    """Arrow structs of PNG bytes and a name, as LeRobot has pictures of the type "image"."""
    import pyarrow as pa

    rows = []
    for number, frame in enumerate(frames.cpu().numpy()):
        file = BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": f"frame-{number:06d}.png"})
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def put_back(frames: Frames, size: tuple[int, int]) -> UInt8[Tensor, "T H2 W2 3"]:
    """Frames at the size and place that they had in the source's pictures of ``size = (height, width)``.

    The inverse of ``vidjacobi.models.codec.fit``, as far as there is one: they are scaled, and what was cut off is
    black.
    """
    whole = covering_size(size, (frames.shape[1], frames.shape[2]))
    if whole == size == tuple(frames.shape[1:3]):
        return frames
    # Pictures of 480 x 640 that a model saw as 64 x 64: scaled to cover that they were 64 x 86, of which the middle
    # was cut out. So the frame stands for 480 x 476 pixels, from column 82 on.
    sides = [
        min(full, round(seen * full / scaled))
        for seen, full, scaled in zip(frames.shape[1:3], size, whole, strict=True)
    ]
    top, left = ((full - side) // 2 for full, side in zip(size, sides, strict=True))
    placed = torch.zeros(len(frames), *size, 3, dtype=torch.uint8)
    for number, frame in enumerate(frames):
        picture = frame.permute(2, 0, 1)[None].float()
        scaled = F.interpolate(picture, sides, mode="bilinear", align_corners=False, antialias=True)
        placed[number, top : top + sides[0], left : left + sides[1]] = (
            scaled[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
        )
    return placed
