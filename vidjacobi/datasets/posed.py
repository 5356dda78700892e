"""Frames of clips whose cameras are in a pose file: frame i belongs to camera i of the file."""

from dataclasses import dataclass, replace
from pathlib import Path

from vidjacobi.datasets.cameras import Cameras, read_cameras
from vidjacobi.datasets.frame_sources import File
from vidjacobi.errors import BadInput
from vidjacobi.video.images import frame_files, read_images
from vidjacobi.video.records import ReadClip


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
                f"{self.path}: {frames} frames, but {self.poses.name} has {len(cameras)} cameras; "
                "cut the video at the timestamps of its pose file"
            )
        return frames


@dataclass(frozen=True)
class NamedByTime:
    """A folder of images, each named after the timestamp (microseconds) of its camera."""

    folder: Path
    poses: Path

    def count(self) -> int:
        """Number of frames. Raises BadInput where a camera has no picture."""
        return len(self._files(read_cameras(self.poses)))

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; see FrameSource."""
        cameras = read_cameras(self.poses)
        files = self._files(cameras)
        last = start + (count - 1) * stride
        if start < 0 or count < 1 or stride < 1 or last >= len(files):
            raise BadInput(
                f"{self.folder}: {count} frames needed from frame {start} on with stride {stride}, "
                f"but the clip has {len(files)}"
            )
        pictures = read_images(files[start : last + 1 : stride])
        fps = _fps(cameras, start, count, stride, 30.0 / stride)
        return ReadClip(pictures, fps, str(self.folder), start, "pillow")

    def _files(self, cameras: Cameras) -> list[Path]:
        named = {file.stem: file for file in frame_files(self.folder)}
        stamps = [str(stamp) for stamp in cameras.timestamps.tolist()]
        lost = [stamp for stamp in stamps if stamp not in named]
        if len(lost) == len(stamps) == len(named):
            return list(named.values())  # no name is a timestamp, and there is one image for each camera
        if lost:
            raise BadInput(
                f"{self.folder}: {len(lost)} of the {len(stamps)} timestamps in {self.poses.name} have no "
                f"picture (the first one: {lost[0]}); it holds {len(named)} images"
            )
        return [named[stamp] for stamp in stamps]


def _fps(cameras: Cameras, start: int, count: int, stride: int, alone: float) -> float:
    """The rate by the timestamps of the frames that were read; for one frame, by those of the clip, or ``alone``."""
    read = cameras.at(start, count, stride).fps()
    if read is not None:
        return read
    whole = cameras.fps()
    return alone if whole is None else whole / stride
