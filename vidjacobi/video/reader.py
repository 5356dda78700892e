"""Frames of a video file, read by decord where it gives the same pictures as PyAV, and by PyAV everywhere else."""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Int, UInt8

from vidjacobi.errors import BadInput
from vidjacobi.video.index import VideoIndex, index_video, open_stream, recent_index, unpacked

_WORKER = Path(__file__).with_name("decord_worker.py")
_BYTES_PER_SECOND = 10e6  # decord first scans the whole file; this is slow even for a busy machine
# Files for which decord 0.6 was found to give the same bytes as PyAV. Left out are AV1 and GIF (it has no decoder),
# VP8 (it seeks wrongly), and pictures with 10 bits, 4:2:2 or odd sides (it interpolates chroma in another way).
_DECORD_CODECS = frozenset({"h264", "hevc", "mpeg4", "vp9"})
_DECORD_FORMATS = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True)
class DecordProcess:
    """How decord is run: in a process of its own, because it may crash or hang.

    Attributes:
        package: without it PyAV reads everything.
        worker: the program, which imports the package.
        seconds: far longer than any read takes, that of a large file excepted; after them the process is killed.
    """

    package: str = "decord"
    worker: Path = _WORKER
    seconds: float = 30.0


DECORD = DecordProcess()


@dataclass(frozen=True)
class Selection:
    """Which frames of a clip are wanted: `count` from `start` on or, with `from_end`, the last `count`.

    With a `stride` only every stride-th frame is wanted; the last ones still end with the last frame of the clip.
    """

    start: int
    count: int
    from_end: bool = False
    stride: int = 1

    @property
    def span(self) -> int:
        """Number of frames from the first wanted one to the last one, those in between included."""
        return (self.count - 1) * self.stride + 1

    def picks_from(self, start: int, ticks: Int[np.ndarray, " n"]) -> Int[np.ndarray, " T"]:
        """The wanted ones among ``ticks``, the frames of the clip at constant rate."""
        return ticks[start : start + self.span : self.stride]

    def first_of(self, available: int, path: Path, missing: int = 0) -> int:
        """Index of the first wanted frame. Raises BadInput where the clip is too short."""
        start = available - self.span if self.from_end else self.start
        if missing and (self.from_end or start + self.span > available):
            raise BadInput(
                f"{path}: damaged or cut short: only {available} of its {available + missing} frames can be read, "
                f"and {'its end' if self.from_end else 'more'} is asked for; copy or download it again"
            )
        if start < 0 or start + self.span > available:
            at = "" if self.from_end or not self.start else f" from frame {self.start} on"
            at += f" with stride {self.stride}" if self.stride > 1 else ""
            raise BadInput(
                f"{path}: {self.count} frames needed{at}, but the clip has {available}; "
                "ask for fewer frames or name a longer clip"
            )
        return start


@dataclass(frozen=True)
class VideoFrames:
    """What was read: frames, the index of the first one, the reader, and notes about what is odd in the file."""

    frames: UInt8[np.ndarray, "T H W 3"]
    start: int
    index: VideoIndex
    reader: str
    notes: tuple[str, ...]


class Pictures(NamedTuple):
    """Frames in the order asked for, and the number of those that the video codec marked as damaged."""

    frames: UInt8[np.ndarray, "T H W 3"]
    damaged: int


class DecordFailed(Exception):
    """decord could not read a file that PyAV may well read. Users never see this error."""


def read_video(path: Path, selection: Selection, decord: DecordProcess = DECORD) -> VideoFrames:
    """The selected frames of a file, at constant rate. Raises BadInput.

    Clips of variable rate are resampled by time; see `VideoIndex.at_constant_rate`.
    """
    index = recent_index(path)
    notes: tuple[str, ...] = ()
    if suits_decord(index, decord):
        start = selection.first_of(len(index.keys), path)
        picks = selection.picks_from(start, index.at_constant_rate())
        try:
            frames = read_with_decord(path, index, picks, decord)
            return VideoFrames(frames, start, index, "decord", describe(index))
        except DecordFailed as error:
            notes = (f"read with PyAV, because decord failed: {error}",)
    read = _read_with_pyav_or_rescan(path, index, selection)
    return replace(read, notes=notes + read.notes)


def describe(index: VideoIndex) -> tuple[str, ...]:
    """Notes about a file that can be read but is odd."""
    notes = []
    if index.missing:
        notes.append(f"cut short: {index.missing} frames at the end are missing")
    if not np.array_equal(index.at_constant_rate(), np.arange(len(index.keys))):
        notes.append(f"variable frame rate, resampled by time to {float(index.rate):.3f} fps")
    return tuple(notes)


def suits_decord(index: VideoIndex, decord: DecordProcess = DECORD) -> bool:
    """Whether decord is installed and gives exactly the frames of PyAV for files of this kind."""
    return (
        find_spec(decord.package) is not None
        and bool(sys.executable)
        and index.codec in _DECORD_CODECS
        and index.pixel_format in _DECORD_FORMATS
        and not any(side % 2 for side in index.size)
        and not index.orientation.mirrored
        and index.timed
        and not index.missing
    )


def read_with_decord(
    path: Path, index: VideoIndex, picks: Int[np.ndarray, " T"], decord: DecordProcess = DECORD
) -> UInt8[np.ndarray, "T H W 3"]:
    """Frames by index (repeats allowed) from a worker process, which is killed when it takes too long.

    Raises DecordFailed.
    """
    # Each frame is asked for once: picks 4 4 6 are the frames 4 6 at the places 0 0 1.
    unique, places = np.unique(picks, return_inverse=True)
    limit = decord.seconds + path.stat().st_size / _BYTES_PER_SECOND
    try:
        with tempfile.TemporaryDirectory(prefix="vidjacobi-") as folder:
            out = Path(folder) / "frames.npz"
            command = [sys.executable, str(decord.worker), str(path.absolute()), str(out), *map(str, unique)]
            done = subprocess.run(command, capture_output=True, timeout=limit, check=False)
            if done.returncode or not out.exists():
                raise DecordFailed(_reason(done.stderr) or f"exit status {done.returncode}")
            with np.load(out) as result:
                frames, count, times = result["frames"], int(result["count"]), result["seconds"]
    except subprocess.TimeoutExpired as error:
        raise DecordFailed(f"no answer within {limit:g} s") from error
    except OSError as error:
        raise DecordFailed(f"its process or its result was refused: {error.strerror}") from error
    # decord and the index must mean the same frames by the same numbers.
    if count != len(index.keys) or frames.shape[1:3] != index.size:
        raise DecordFailed(f"it sees {count} frames of {frames.shape[2]}x{frames.shape[1]}")
    if np.abs(times - index.seconds[unique]).max() > 0.25 / float(index.rate):
        raise DecordFailed("its time stamps are others")
    return frames if np.array_equal(unique, picks) else frames[places]


def read_with_pyav(path: Path, index: VideoIndex, picks: Int[np.ndarray, " T"]) -> Pictures | None:
    """Frames by index (repeats allowed), or None where one of them did not appear. Only these are kept in memory.

    Reading starts at the last key frame before the first wanted frame, and again at the beginning of the file where
    that does not yield all of them.
    """
    # time stamp of each wanted frame -> its places in the result
    places: dict[int, list[int]] = {}
    for place, key in enumerate(index.keys[picks].tolist()):
        places.setdefault(key, []).append(place)
    earlier = index.keyframes[index.keyframes <= min(places)] if index.timed else index.keyframes[:0]
    if len(earlier) and earlier[-1] > index.keys[0]:
        pictures = _collect(path, index, places, seek=int(earlier[-1]))
        if pictures is not None:
            return pictures
    return _collect(path, index, places, seek=None)


def _collect(
    path: Path, index: VideoIndex, places: dict[int, list[int]], seek: int | None
) -> Pictures | None:
    total = sum(map(len, places.values()))
    frames = np.empty((total, *index.size, 3), np.uint8)
    found: dict[int, bool] = {}  # stamp -> whether the codec marked the frame as damaged
    with open_stream(path) as (container, stream):
        if seek is not None:
            try:
                container.seek(seek, stream=stream)
            except av.FFmpegError:
                return None
        for ordinal, frame in enumerate(unpacked(container, stream)):
            if seek is not None and ordinal == 0 and not frame.key_frame:
                return (
                    None  # the seek missed the key frame, and frames that follow could lack their references
                )
            key = frame.pts if index.timed else ordinal
            if key in places and key not in found:
                frames[places[key]] = _to_rgb(frame, index, path)
                found[key] = frame.is_corrupt
            if len(found) == len(places):
                return Pictures(frames, sum(found.values()))
    return None


def _read_with_pyav_or_rescan(path: Path, index: VideoIndex, selection: Selection) -> VideoFrames:
    """Read by the index of the packets and, where frames do not appear, by an index of what is really in the file."""
    for attempt in (index, None):
        current = attempt or index_video(path, exactly=True)
        lost = len(index.keys) - len(current.keys)
        start = selection.first_of(len(current.keys), path, current.missing + max(0, lost))
        picks = selection.picks_from(start, current.at_constant_rate())
        pictures = read_with_pyav(path, current, picks)
        if pictures is not None:
            notes = [f"damaged: {lost} of the file's frames cannot be read"] if lost > 0 else []
            if pictures.damaged:
                notes.append(f"damaged: {pictures.damaged} of the frames read are incomplete")
            return VideoFrames(pictures.frames, start, current, "pyav", (*notes, *describe(current)))
    raise BadInput(f"{path}: damaged: the frames asked for cannot be read; copy or download it again")


def _to_rgb(frame: VideoFrame, index: VideoIndex, path: Path) -> UInt8[np.ndarray, "H W 3"]:
    if any(component.is_alpha for component in frame.format.components):
        from vidjacobi.video.images import over_black  # few videos are transparent

        picture = over_black(frame.to_ndarray(format="rgba"))
    else:
        picture = frame.to_ndarray(format="rgb24")
    picture = index.orientation.apply(picture)
    if picture.shape[:2] != index.size:
        raise BadInput(
            f"{path}: its pictures change size within the clip, from {index.size[1]}x{index.size[0]} to "
            f"{picture.shape[1]}x{picture.shape[0]}; re-encode it at one size"
        )
    return picture


def _reason(stderr: bytes) -> str:
    """The last line that a failed worker wrote, without the source location that decord writes before it."""
    # "[12:34:56] /src/video/video_reader.cc:151: [/src/...] message" becomes "message".
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return re.sub(r"^.*\[[\d:]+\] \S+:\d+: (\[.*?\])?", "", lines[-1]).strip()[:120] if lines else ""
