"""Frames of clips whose cameras are in a pose file: frame i belongs to camera i of the file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from vidjacobi.datasets.cameras import Cameras, read_cameras
from vidjacobi.datasets.frame_sources import File
from vidjacobi.errors import BadInput, number_of
from vidjacobi.video.images import frame_files, read_images
from vidjacobi.video.records import ReadClip

_ALONE = 33_000  # microseconds that count as the time to the next camera where there is one only
# So far may a picture's name be from its camera's timestamp, as a part of the least time between two cameras.
_OFF = 0.25


@dataclass(frozen=True)
class Posed:
    """A video file, or a folder of images in natural order, with a pose file beside it."""

    path: Path
    poses: Path

    def count(self) -> int:
        """Number of frames. Raises BadInput where it is not the number of cameras."""
        return self._checked(read_cameras(self.poses))

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ... Their rate is that of the timestamps; files often say another."""
        cameras = read_cameras(self.poses)
        self._checked(cameras)
        clip = File(self.path).read(start, count, stride)
        return replace(clip, fps=_fps(cameras, start, count, stride, clip.fps))

    def _checked(self, cameras: Cameras) -> int:
        frames = File(self.path).count()
        if frames != len(cameras):
            raise BadInput(
                f"{self.path}: {number_of(frames, 'frame')}, but {self.poses.name} has {len(cameras)} cameras; "
                "cut the video at the timestamps of its pose file"
            )
        return frames


@dataclass(frozen=True)
class NamedByTime:
    """A folder of images, each named after the timestamp (microseconds) of its camera, or numbered."""

    folder: Path
    poses: Path

    def count(self) -> int:
        """Number of frames. Raises BadInput where a camera has no picture."""
        return len(self._files(read_cameras(self.poses))[0])

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; see FrameSource."""
        cameras = read_cameras(self.poses)
        files, notes = self._files(cameras)
        last = start + (count - 1) * stride
        if start < 0 or count < 1 or stride < 1 or last >= len(files):
            raise BadInput(
                f"{self.folder}: {number_of(count, 'frame')} needed from frame {start} on with stride {stride}, "
                f"but the clip has {len(files)}"
            )
        pictures = read_images(files[start : last + 1 : stride])
        fps = _fps(cameras, start, count, stride, 30.0 / stride)
        return ReadClip(pictures, fps, str(self.folder), start, "pillow", notes)

    def _files(self, cameras: Cameras) -> tuple[list[Path], tuple[str, ...]]:
        """The picture of each camera, and what is odd about their names."""
        files = frame_files(self.folder)
        stamps = cameras.timestamps.numpy()
        named = [int(file.stem) if re.fullmatch("[0-9]{1,18}", file.stem) else None for file in files]
        if len(files) == len(stamps) and _are_numbered(named):
            return files, ()
        times = {time: file for time, file in zip(named, files, strict=True) if time is not None}
        nearest = _nearest(np.array(sorted(times), np.int64), stamps)
        off = np.abs(nearest - stamps)
        # Tools that cut the video write its own times, some of which are a little off those of the pose file.
        between = np.diff(stamps).min() if len(stamps) > 1 else _ALONE
        lost = stamps[off > _OFF * between]
        if len(lost):
            raise BadInput(
                f"{self.folder}: {len(lost)} of the {len(stamps)} timestamps in {self.poses.name} have no "
                f"picture (the first one: {lost[0]}); it holds {len(files)} images"
            )
        note = f"the pictures' names are up to {off.max() / 1000:.3g} ms off the timestamps of the pose file"
        return [times[int(time)] for time in nearest], (note,) if off.any() else ()


def _are_numbered(named: Sequence[int | None]) -> bool:
    """Whether no name is a timestamp: names that are no numbers, or that count one by one."""
    numbers = [number for number in named if number is not None]
    return not numbers or (
        len(numbers) == len(named) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    )


def _nearest(times: Int[np.ndarray, " m"], stamps: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """For each stamp the nearest of the sorted times; of none, a time that is near to no stamp."""
    if not len(times):
        return np.full_like(stamps, -(2**60))
    right = np.searchsorted(times, stamps).clip(1, max(1, len(times) - 1))
    pair = times[np.stack([right - 1, right.clip(max=len(times) - 1)])]
    return np.where(stamps - pair[0] <= pair[1] - stamps, pair[0], pair[1])


def _fps(cameras: Cameras, start: int, count: int, stride: int, alone: float) -> float:
    """The rate by the timestamps of the frames that were read; for one frame, by those of the clip, or ``alone``."""
    read = cameras.at(start, count, stride).fps()
    if read is not None:
        return read
    whole = cameras.fps()
    return alone if whole is None else whole / stride
