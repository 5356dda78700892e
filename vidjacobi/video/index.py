"""Where the frames of a video file lie in time, found without decompressing it.

A file stores packets in the order in which a decoder needs them, which is not the order of display: a frame that is
predicted from a later one (a B-frame) is stored after it. Every packet carries the time at which its frame is
displayed (its presentation time stamp, pts), so sorting the stamps gives the frames in display order:

    stored    I0  P3  B1  B2  P6  B4  B5
    pts       0   3   1   2   6   4   5
    display   0   1   2   3   4   5   6      frame k of the clip is the one with the k-th smallest stamp
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float, Int, UInt8

from vidjacobi.errors import BadInput
from vidjacobi.video.whitelist import limit_decoder, open_container

FALLBACK_FPS = Fraction(25)


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned for display: first transposed, then flipped."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Whether text in the picture is mirrored; rotations have an even number of these three steps."""
        return self.transpose ^ self.flip_x ^ self.flip_y

    def apply(self, frame: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "H W c"]:
        """The picture as displayed."""
        if self.transpose:
            frame = frame.transpose(1, 0, 2)
        return frame[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


@dataclass(frozen=True)
class VideoIndex:
    """The frames of a file in display order.

    Attributes:
        keys: presentation time stamps, or 0, 1, 2, ... where the file has none.
        seconds: display times; the first is 0.
        keyframes: stamps of the frames at which a decoder can start.
        timed: whether the file has time stamps.
        rate: frames per second, exact where the file declares a rate that it keeps.
        size: (height, width) as displayed.
        codec, pixel_format: as FFmpeg calls them.
        orientation: how stored pictures are turned for display.
        missing: frames that the header promises and the file lacks; more than 0 means that it was cut short.
    """

    keys: Int[np.ndarray, " n"]
    seconds: Float[np.ndarray, " n"]
    keyframes: Int[np.ndarray, " k"]
    timed: bool
    rate: Fraction
    size: tuple[int, int]
    codec: str
    pixel_format: str
    orientation: Orientation
    missing: int

    def at_constant_rate(self) -> Int[np.ndarray, " n"]:
        """For tick k of a clock at `rate`, the index of the frame whose time is nearest to k / rate.

        This is 0, 1, 2, ... if no frame is off its tick by half a period, that is, for every clip of constant rate,
        however its time stamps are rounded. In a clip of variable rate frames are repeated or left out. There are as
        many ticks as frames.
        """
        # At 10 fps and with frames at 0, 0.1, 0.2, 0.5 and 0.6 s, the ticks 0, 0.1, 0.2, 0.3 and 0.4 take the
        # frames 0 1 2 2 3. ``right`` is the first frame at or after a tick; the frame before it is taken if it is
        # not further.
        n = len(self.seconds)
        if n < 2:
            return np.arange(n)
        ticks = np.arange(n) / float(self.rate)
        right = np.searchsorted(self.seconds, ticks).clip(1, n - 1)
        left_is_nearer = ticks - self.seconds[right - 1] <= self.seconds[right] - ticks
        return right - left_is_nearer


def index_video(path: Path, exactly: bool = False) -> VideoIndex:
    """The index of the first video stream of a file that is not a cover picture.

    The times come from the packets: the file is read once, and one frame is decompressed. Some streams have hidden
    frames, or no times, in their packets; `exactly` decompresses the whole file instead. Raises BadInput where
    there is no video stream or no frame can be decompressed.
    """
    with open_stream(path) as (container, stream):
        first = next(unpacked(container, stream), None)
        if first is None:
            raise BadInput(f"{path}: no picture can be read ({stream.codec_context.name}); it is damaged")
        codec, promised = stream.codec_context.name, stream.frames
    with open_stream(path) as (container, stream):
        scan = _scan_packets(container, stream)
        is_mov = "mov" in container.format.name  # the frame counts of other headers are often wrong
        rates = [r for r in (stream.average_rate, stream.guessed_rate) if r]
        base = stream.time_base or Fraction(1, 1000)
    missing = max(0, promised - scan.discarded - len(scan.keys)) if is_mov else 0
    # The packets of VP8's hidden reference frames look like those of frames.
    if exactly or not scan.timed or codec in {"vp8", "libvpx"}:
        with open_stream(path) as (container, stream):
            scan = _scan_frames(container, stream)
    if not len(scan.keys):
        raise BadInput(f"{path}: no complete frame in it; it is damaged")
    if not scan.timed:
        # without time stamps the average rate is a guess, and the rate in the codec is not
        rates = rates[::-1]
    seconds = (scan.keys - scan.keys[0]) * float(base) if scan.timed else scan.keys / float(_first(rates))
    orientation = _orientation(first)
    size = (first.width, first.height) if orientation.transpose else (first.height, first.width)
    return VideoIndex(
        keys=scan.keys,
        seconds=seconds,
        keyframes=scan.keyframes,
        timed=scan.timed,
        rate=_rate(seconds, rates),
        size=size,
        codec=codec,
        pixel_format=first.format.name,
        orientation=orientation,
        missing=missing,
    )


def recent_index(path: Path) -> VideoIndex:
    """``index_video``, remembered for the last few files as long as they do not change. Raises BadInput.

    To index hours of video takes seconds, and datasets keep hundreds of episodes in one file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from error
    return _remembered(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _remembered(path: Path, changed: int, size: int) -> VideoIndex:
    # ``changed`` and ``size`` are part of the cache's key only: another state of the file is another entry.
    return index_video(path)


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its first video stream that is not a cover picture. Raises BadInput."""
    with open_container(path) as container:
        covers = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & covers]
        if not streams:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "no streams"
            raise BadInput(f"{path}: holds no video stream (only {kinds}); name a file with pictures")
        stream = streams[0]
        if stream.codec_context is None:
            raise BadInput(f"{path}: its video codec is unknown to the installed PyAV; convert it to H.264")
        limit_decoder(stream, path)
        stream.thread_type = "AUTO"
        yield container, stream


def unpacked(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decompressed frames in display order, from the current place in the file on; damaged packets are skipped."""
    for packet in _packets(container, stream):
        try:
            yield from packet.decode()
        except MemoryError:  # FFmpeg's too, which must not be taken for damage
            raise
        except av.FFmpegError:
            continue
    try:
        yield from stream.codec_context.decode(None)  # frames that the decoder still holds at the end
    except MemoryError:
        raise
    except (av.FFmpegError, EOFError):
        return


@dataclass(frozen=True)
class _Scan:
    keys: Int[np.ndarray, " n"]
    keyframes: Int[np.ndarray, " k"]
    timed: bool
    discarded: int = 0  # frames that are stored but never shown, because of an edit list


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except MemoryError:
        raise
    except (av.FFmpegError, EOFError):
        return


def _scan_packets(container: InputContainer, stream: VideoStream) -> _Scan:
    stamps: list[int | None] = []
    keyframes: list[int] = []
    torn: list[int] = []
    discarded = 0
    for packet in _packets(container, stream):
        if packet.is_discard:
            discarded += 1
        elif packet.is_corrupt and packet.pts is not None:
            torn.append(packet.pts)
        else:
            stamps.append(packet.pts)
            if packet.is_keyframe and packet.pts is not None:
                keyframes.append(packet.pts)
    if torn and len(stamps) + discarded < stream.frames:
        # The file was cut short: after the first torn frame some are missing, so none of those is used.
        stamps = [s for s in stamps if s is not None and s < min(torn)]
    return _as_scan(stamps, keyframes, discarded)


def _scan_frames(container: InputContainer, stream: VideoStream) -> _Scan:
    stamps: list[int | None] = []
    keyframes: list[int] = []
    for frame in unpacked(container, stream):
        stamps.append(frame.pts)
        if frame.key_frame and frame.pts is not None:
            keyframes.append(frame.pts)
    return _as_scan(stamps, keyframes)


def _as_scan(stamps: list[int | None], keyframes: list[int], discarded: int = 0) -> _Scan:
    # Time stamps are used only if every frame has one and no two are the same.
    known = [s for s in stamps if s is not None]
    timed = len(set(known)) == len(stamps) > 0
    keys = np.array(sorted(known) if timed else range(len(stamps)), np.int64)
    return _Scan(keys, np.array(sorted(keyframes), np.int64), timed, discarded)


def _first(rates: list[Fraction]) -> Fraction:
    return rates[0] if rates else FALLBACK_FPS


def _rate(seconds: Float[np.ndarray, " n"], declared: list[Fraction]) -> Fraction:
    """The first declared rate that every frame keeps to within half a period, or else the mean rate."""
    n = len(seconds)
    if n < 2 or seconds[-1] <= 0:
        return _first(declared)
    for rate in declared:
        if np.abs(seconds * float(rate) - np.arange(n)).max() < 0.5:
            return rate
    return Fraction((n - 1) / float(seconds[-1])).limit_denominator(1001)


def _orientation(frame: VideoFrame) -> Orientation:
    """The orientation in the display matrix of a frame, x' = a x + c y and y' = b x + d y.

    Only quarter turns and mirrors are told apart: if |b| is greater than |a|, x and y are exchanged.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)
