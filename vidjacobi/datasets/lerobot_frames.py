"""The frames of a LeRobot episode: those of a video that are at the times of its rows, or pictures of its rows."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vidjacobi.datasets.contract import FrameSource, reason_of
from vidjacobi.datasets.frame_sources import File, Stretch, state_of, thinned, trouble_with
from vidjacobi.datasets.side_files import path_below
from vidjacobi.errors import BadInput, number_of
from vidjacobi.video.images import image_from_bytes, read_image, stacked
from vidjacobi.video.records import ReadClip

_NEAR = 0.01  # relative difference of frame rates that may come from rounding
_BETWEEN = 0.4  # of a frame: a row that is further from the nearest frame may as well belong to the next one
_NOTED = 0.05  # of a frame: more than what 32 bits of a time stamp lose in an hour


@dataclass(frozen=True)
class DataRows:
    """The rows of one episode in a data file; ``length`` is how many there must be."""

    path: Path
    episode: int
    length: int

    @property
    def name(self) -> str:
        """What messages call them."""
        return f"{self.path}, episode {self.episode}"

    def read(self, columns: list[str], numbers: list[int] | None = None) -> list[dict[str, Any]]:
        """``columns`` and frame_index of the rows, or of those with the frame indices ``numbers``, in their order.

        Raises BadInput.
        """
        import pyarrow.parquet as pq

        # pyarrow skips row groups whose statistics rule the filter out, so that a large file is not read as a whole.
        where: list[tuple[str, str, Any]] = [("episode_index", "=", self.episode)]
        if numbers is not None:
            where.append(("frame_index", "in", numbers))
        try:
            with self.path.open("rb") as file:  # by name, Arrow takes none that is not UTF-8
                rows = pq.read_table(file, columns=[*columns, "frame_index"], filters=where).to_pylist()
            return sorted(rows, key=lambda row: int(row["frame_index"]))
        except MemoryError:  # pyarrow's too
            raise
        except Exception as error:  # pyarrow raises nearly anything for damaged bytes
            raise BadInput(f"{self.path}: cannot be read: {reason_of(error)}") from error

    def whole(self, columns: list[str]) -> list[dict[str, Any]]:
        """All rows. Raises BadInput where their number is not the one of the list of episodes, or one is missing."""
        rows = self.read(columns)
        if len(rows) != self.length:
            raise BadInput(
                f"{self.name}: {number_of(len(rows), 'row')}, but meta/ says {self.length}: the dataset "
                "contradicts itself, download or convert it again"
            )
        numbers = [row["frame_index"] for row in rows]
        if rows and numbers != list(range(numbers[0], numbers[0] + len(rows))):
            raise BadInput(f"{self.name}: its frame_index has gaps or repeats, so its rows are no sequence")
        return rows


@dataclass(frozen=True)
class InVideo:
    """The frames of a video at the times of an episode's rows; other episodes may be in the video too.

    Attributes:
        path: the video.
        since: second of the video that the rows' time stamps count from.
        until: second of the video at which the episode ends; None where the video is the episode's own.
        fps: frames per second of the dataset; the video's rate may be a multiple of it.
    """

    path: Path
    rows: DataRows
    since: float
    until: float | None
    fps: float

    def count(self) -> int:
        """Number of frames of this episode that the video really has."""
        return self._placed().frames.count()

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ... of the episode; never one of the next episode."""
        placed = self._placed()
        clip = placed.frames.read(start, count, stride)
        return replace(clip, fps=self.fps / stride, notes=(*clip.notes, *placed.notes))

    def _placed(self) -> "Placed":
        return _place(self, state_of(self.path), state_of(self.rows.path))


@dataclass(frozen=True)
class Placed:
    """The frames of a video that are an episode's, and what is odd about them."""

    frames: FrameSource
    notes: tuple[str, ...]


@lru_cache(maxsize=256)
def _place(source: InVideo, video: tuple[int, int], data: tuple[int, int]) -> Placed:
    """Where the rows of an episode are in its video. ``video`` and ``data`` tell states of the two files apart."""
    info = File(source.path).info()
    rate = float(info.fps)
    times = _times(source.rows)
    at = (source.since + times) * rate  # at 30 fps, second 12.4 is frame 372
    numbers = np.rint(at).astype(np.int64)
    off = float(np.abs(at - numbers).max())
    said = f"{source.path}, episode {source.rows.episode}"
    if off > _BETWEEN:
        raise BadInput(
            f"{said}: its rows lie between the frames of the video (up to {off:.2f} of a frame away at {rate:g} fps, "
            f"and meta/info.json says {source.fps:g}), so none can be told to be theirs; convert the dataset again"
        )
    steps = set(np.diff(numbers).tolist()) or {1}
    step = steps.pop()
    if steps or step < 1 or abs(rate / step - source.fps) > _NEAR * source.fps:
        raise BadInput(
            f"{said}: its rows are not {1 / source.fps:.4g} s apart, as {source.fps:g} fps in meta/info.json say; "
            "convert the dataset again"
        )
    there = _there(source, numbers, info.frames, rate, step)
    notes = []
    if off > _NOTED:
        notes.append(f"its rows are up to {off:.2f} of a frame away from the frames of the video")
    if there < len(numbers):
        notes.append(
            f"the video lacks the last {len(numbers) - there} of the episode's {number_of(len(numbers), 'frame')}"
        )
    stretch = Stretch(File(source.path), int(numbers[0]), (there - 1) * step + 1)
    return Placed(thinned(stretch, 0, step), tuple(notes))


def _times(rows: DataRows) -> Float[np.ndarray, " n"]:
    """The time stamps of an episode's rows in seconds. Raises BadInput."""
    try:
        times = np.array([row["timestamp"] for row in rows.whole(["timestamp"])], np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{rows.name}: its time stamps are no numbers") from error
    if not np.isfinite(times).all() or times.min() < 0 or times.max() > 1e9:
        raise BadInput(f"{rows.name}: its time stamps are no seconds from 0 on")
    return times


def _there(source: InVideo, numbers: Any, frames: int, rate: float, step: int) -> int:
    """How many of the frames ``numbers`` the video has. Raises BadInput where they cannot be the episode's."""
    said = f"{source.path}, episode {source.rows.episode}"
    last = int(numbers[-1])
    if source.until is not None and not last < source.until * rate - 0.5:
        raise BadInput(
            f"{said}: its rows go on to second {last / rate:.3f}, but meta/episodes ends it at second "
            f"{source.until:.3f}, where the next one begins; convert the dataset again"
        )
    there = int((numbers < frames).sum())
    # In a video of its own and of the rows' rate, the frames that are there are surely the right ones.
    if there < len(numbers) and (source.until is not None or step > 1 or there == 0 or source.since):
        raise BadInput(
            f"{said}: its rows go on to frame {last}, but the video ends with frame {frames - 1}: it was cut short, "
            "or meta/ places the episode wrongly; download or convert the dataset again"
        )
    return there


@dataclass(frozen=True)
class InParquet:
    """Frames that are stored as pictures in a column of the data files, or beside them in files that it names."""

    rows: DataRows
    root: Path
    camera: str
    fps: float

    def count(self) -> int:
        """Number of rows of the episode."""
        return len(self.rows.whole([]))

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; see FrameSource."""
        numbers = [row["frame_index"] for row in self.rows.whole([])]
        last = start + (count - 1) * stride
        if start < 0 or count < 1 or stride < 1 or last >= len(numbers):
            raise BadInput(
                f"{self.rows.name}: {number_of(count, 'frame')} needed from frame {start} on with stride {stride}, "
                f"but it has {len(numbers)}"
            )
        rows = self.rows.read([self.camera], numbers[start : last + 1 : stride])
        named = ((f"{self.rows.name}, frame {row['frame_index']}", self._picture(row)) for row in rows)
        return ReadClip(
            stacked(named, count, self.rows.name), self.fps / stride, self.rows.name, start, "pillow"
        )

    def _picture(self, row: dict[str, Any]) -> UInt8[np.ndarray, "H W 3"]:
        # The datasets library stores a picture as {"bytes": ..., "path": ...}, others as bytes.
        value = row[self.camera]
        name = f"{self.rows.name}, frame {row['frame_index']}"
        data, beside = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(data, bytes):
            return image_from_bytes(data, name)
        try:
            return read_image(self._file(beside))
        except ValueError as error:
            raise BadInput(f"{name}: {error}") from error

    def _file(self, beside: object) -> Path:
        """The file of a picture: its path starts from the dataset's folder or from that of the data file."""
        # LeRobot also writes whole paths while it records.
        if isinstance(beside, str) and beside.startswith(f"{self.root}/"):
            beside = beside[len(str(self.root)) + 1 :]
        places = [path_below(self.root, beside), path_below(self.rows.path.parent, beside)]
        found = next((place for place in places if trouble_with(place) is None), None)
        if found is None:
            raise ValueError(
                f"its picture is neither in the data file nor beside it ({trouble_with(places[0])})"
            )
        return found
