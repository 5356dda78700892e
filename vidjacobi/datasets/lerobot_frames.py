"""The frames of a LeRobot episode: a part of a video that episodes share, or pictures in parquet files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidjacobi.datasets.frame_sources import File, Stretch
from vidjacobi.errors import BadInput
from vidjacobi.video.images import image_from_bytes
from vidjacobi.video.records import ReadClip

_NEAR = 0.01  # relative difference of frame rates that may come from rounding


@dataclass(frozen=True)
class AtTime:
    """``length`` frames of a video from ``seconds`` on. ``fps`` is the dataset's and must be the file's too."""

    path: Path
    seconds: float
    length: int
    fps: float

    def count(self) -> int:
        """Number of frames of this episode that the file really has."""
        return self._stretch().count()

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ... of the episode; never one of the next episode."""
        return self._stretch().read(start, count, stride)

    def _stretch(self) -> Stretch:
        file = File(self.path)
        own = float(file.info().fps)
        if abs(own - self.fps) > _NEAR * self.fps:
            raise BadInput(
                f"{self.path}: its {own:g} fps are not the {self.fps:g} of meta/info.json, so the episode's "
                "frames cannot be found in it; convert the dataset again"
            )
        # At 30 fps an episode from second 12.4 on begins at frame 372.
        return Stretch(file, round(self.seconds * own), self.length)


@dataclass(frozen=True)
class InParquet:
    """Frames that are stored as pictures in a column of the data files."""

    path: Path
    camera: str
    episode: int
    fps: float

    def count(self) -> int:
        """Number of rows of the episode."""
        return len(self._rows(["frame_index"], None))

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; see FrameSource."""
        name = f"{self.path}, episode {self.episode}"
        numbers = list(range(start, start + count * stride, stride))
        rows = self._rows([self.camera, "frame_index"], numbers) if start >= 0 else []
        if len(rows) != count or count < 1:
            raise BadInput(
                f"{name}: {count} frames needed from frame {start} on with stride {stride}, "
                f"but it has {self.count()}"
            )
        pictures = [self._picture(row, name) for row in rows]
        if len({picture.shape for picture in pictures}) > 1:
            raise BadInput(f"{name}: its pictures differ in size")
        return ReadClip(np.stack(pictures), self.fps / stride, name, start, "pillow")

    def _picture(self, row: dict[str, Any], name: str) -> Any:
        # The datasets library stores a picture as {"bytes": ..., "path": ...}, others as bytes.
        data = row[self.camera]
        data = data.get("bytes") if isinstance(data, dict) else data
        if not isinstance(data, bytes):
            raise BadInput(f"{name}: its pictures are not inside the parquet file, which is not read")
        return image_from_bytes(data, f"{name}, frame {row['frame_index']}")

    def _rows(self, columns: list[str], numbers: list[int] | None) -> list[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # pyarrow skips row groups whose statistics rule the filter out, so that a large file is not read as a whole.
        where: list[tuple[str, str, Any]] = [("episode_index", "=", self.episode)]
        if numbers is not None:
            where.append(("frame_index", "in", numbers))
        try:
            rows = pq.read_table(self.path, columns=columns, filters=where).to_pylist()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise BadInput(f"{self.path}: cannot be read: {str(error)[:200]}") from error
        return sorted(rows, key=lambda row: row["frame_index"])


def whole_video(path: Path, length: int, fps: float) -> "Rated":
    """The first ``length`` frames of a video that belongs to one episode, at the dataset's rate."""
    return Rated(Stretch(File(path), 0, length), fps)


@dataclass(frozen=True)
class Rated:
    """A source whose frame rate is known from elsewhere, and better than its file says."""

    frames: Stretch
    fps: float

    def count(self) -> int:
        """Number of frames."""
        return self.frames.count()

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ..., with the known rate."""
        return replace(self.frames.read(start, count, stride), fps=self.fps / stride)
