"""The frames of a video file in display order: how many there are, when they are shown, where reading may begin."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from jaxtyping import Float, Int, UInt8

from vidjacobi.errors import BadInput, number_of
from vidjacobi.video.endings import Ending, State, ending_of
from vidjacobi.video.packets import PacketScan, Start, scan_packets
from vidjacobi.video.stream import open_stream, promised_frames, shown_frames, traits_of
from vidjacobi.video.tail import bad_at_end, bad_from, last_is_torn
from vidjacobi.video.timing import nearest, times_of

_TORN = 16  # most packets at the end of a broken file that give no frame
LOOK = 16  # frames at the beginning whose order is compared with what the packets say


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
    """The frames of a file in display order. The number of a frame is its place in the decoder's order.

    Attributes:
        stamps: their presentation time stamps, or 0, 1, 2, ... where these cannot tell them apart.
        seconds: display times; the first is 0.
        starts: where a decoder can begin and give every later picture as it is.
        stamped: whether frames are told apart by their stamps; otherwise by counting from the beginning.
        counted: whether all frames were decompressed to number them, and not only packets were read.
        closed: whether no frame is predicted across a key frame.
        rate: frames per second, exact where the file declares a rate that it keeps.
        step: as that of ``PacketScan``.
        size: (height, width) as displayed.
        container, codec, pixel_format: as FFmpeg calls them.
        fragmented: whether an mp4 or mov has no list of all its frames at one place.
        orientation: how stored pictures are turned for display.
        missing: frames that the header promises and the file lacks; more than 0 means that it was cut short.
        odd: why its packets are not its frames, if they are not.
        traits: what else is odd about the file.
    """

    stamps: Int[np.ndarray, " n"]
    seconds: Float[np.ndarray, " n"]
    starts: tuple[Start, ...]
    stamped: bool
    counted: bool
    closed: bool
    rate: Fraction
    step: Fraction | None
    size: tuple[int, int]
    container: str
    fragmented: bool
    codec: str
    pixel_format: str
    orientation: Orientation
    missing: int
    odd: tuple[str, ...]
    traits: tuple[str, ...]

    def at_constant_rate(self) -> Int[np.ndarray, " n"]:
        """For tick k of a clock at `rate`, the index of the frame whose time is nearest to k / rate.

        This is 0, 1, 2, ... if no frame is off its tick by half a period, that is, for every clip of constant rate,
        however its time stamps are rounded. In a clip of variable rate frames are repeated or left out. There are as
        many ticks as frames.
        """
        return nearest(self.seconds, self.rate)


def index_video(path: Path, count: bool = False) -> VideoIndex:
    """The index of the first video stream of a file that is not a cover picture.

    The packets are read once, and the first frames are decompressed. Where packets cannot be taken for frames, all
    frames are decompressed; `count` asks for that. Raises BadInput where there is no video stream or no picture can
    be decompressed.
    """
    with open_stream(path) as (container, stream):
        promised, name = promised_frames(container, stream), container.format.name
        ending = ending_of(path, name, stream.id)
        if last_is_torn(path, name):
            ending = Ending(State.BROKEN, torn=True)
        packets = scan_packets(container, stream, ending)
        declared = [r for r in (stream.average_rate, stream.guessed_rate) if r]
        base = stream.time_base or Fraction(1, 1000)
    first = _look(path)
    stamps = sorted(packets.stamps, key=lambda stamp: stamp or 0)
    odd: tuple[str, ...] = ()
    open_end = packets.ending is not State.WHOLE
    counted = count or not packets.believed or not first.agrees_with(stamps, open_end or packets.cut > 0)
    if counted:
        stamps, odd, cut = _count(path, packets)
    else:
        bad = (
            bad_at_end(path, packets.starts, [s for s in stamps if s is not None])
            if open_end and stamps
            else 0
        )
        stamps, cut = stamps[: len(stamps) - bad], packets.cut + bad
    if not stamps:
        raise BadInput(f"{path}: no complete frame in it; it is damaged")
    times = times_of(_clock(name, packets, stamps, cut), base, declared)
    stamped = None not in stamps and all(a < b for a, b in pairwise(stamps))  # type: ignore[operator]
    there = set(stamps)
    starts = tuple(s for s in packets.starts if s.shown in there) if stamped else ()
    picture, orientation = first.picture, _orientation(first.picture)
    # the frame counts of other headers are often wrong
    missing = promised - packets.discarded - len(packets.stamps) + cut - packets.cut if "mov" in name else 0
    return VideoIndex(
        stamps=np.array(stamps if stamped else range(len(stamps)), np.int64),
        seconds=times.seconds,
        starts=starts,
        stamped=stamped,
        counted=counted,
        closed=packets.closed,
        rate=times.rate,
        step=packets.step,
        size=(picture.width, picture.height) if orientation.transpose else (picture.height, picture.width),
        container=name,
        fragmented="mov" in name and promised < len(packets.stamps) + packets.discarded,
        codec=first.codec,
        pixel_format=picture.format.name,
        orientation=orientation,
        missing=max(0, missing),
        odd=odd,
        traits=(
            *_cut_short(path, name, packets.ending, cut, missing),
            *times.notes,
            *first.traits,
            *_tilt(picture),
        ),
    )


def recent_index(path: Path, count: bool = False) -> VideoIndex:
    """``index_video``, remembered for the last few files as long as they do not change. Raises BadInput.

    To index hours of video takes seconds, and datasets keep hundreds of episodes in one file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from error
    return _remembered(path, count, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _remembered(path: Path, count: bool, changed: int, size: int) -> VideoIndex:
    # ``changed`` and ``size`` are part of the cache's key only: another state of the file is another entry.
    return index_video(path, count)


def _cut_short(path: Path, container: str, ending: State, cut: int, missing: int) -> tuple[str, ...]:
    """Notes for what the end of a file shows: frames that are left out, a part that is missing."""
    if cut:
        left_out = f"{number_of(cut, 'frame')} at its end left out"
        return (f"cut short: {left_out}, incomplete or behind a lost one",)
    if ending is State.BROKEN and missing <= 0:  # missing frames have a note of their own
        return ("cut short: its end is missing",)
    if container == "gif" and not _last_bytes(path).rstrip(b"\0\r\n").endswith(b";"):
        return ("cut short: its last picture may be incomplete",)
    return ()


def _last_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read(64)


def _clock(container: str, packets: PacketScan, stamps: list[int | None], cut: int) -> list[int | None]:
    """The stamps that times are taken from: those of the frames, or of storing where a container keeps no others."""
    # AVI keeps no display times: FFmpeg guesses them, and the times of storing are as far apart as those of display.
    lacking = len(packets.stored) - len(stamps)
    whole = lacking == cut or (packets.ending is not State.WHOLE and cut <= lacking <= _TORN)
    return [*packets.stored[: len(stamps)]] if container == "avi" and whole else stamps


class _FirstFrames(NamedTuple):
    """The first frame that can be shown, the stamps of the first few, and whether a packet could not be decoded."""

    picture: VideoFrame
    codec: str
    stamps: list[int | None]
    damaged: bool
    traits: tuple[str, ...]

    def agrees_with(self, stamps: list[int | None], cut: bool) -> bool:
        """Whether the decoder hands out the frames in the order of ``stamps``. Damaged ones may be left out.

        Args:
            cut: the file was cut short, and frames may follow that are not among ``stamps``.
        """
        seen = [s for s in self.stamps if s in stamps] if cut else self.stamps
        if self.damaged:
            places = [stamps.index(s) for s in seen if s in stamps]
            return len(places) == len(seen) and all(a < b for a, b in pairwise(places))
        return seen == stamps[: len(seen)]


def _look(path: Path) -> _FirstFrames:
    damage: list[str] = []
    with open_stream(path, threads=False) as (container, stream):
        frames = list(islice(shown_frames(container, stream, damage), LOOK))
        codec = stream.codec_context.name
        traits = traits_of(container, stream, frames[0]) if frames else ()
    if not frames:
        raise BadInput(
            f"{path}: no picture can be read ({codec}); it is damaged, or was cut out of a longer file"
        )
    return _FirstFrames(frames[0], codec, [frame.pts for frame in frames], bool(damage), traits)


def _count(path: Path, packets: PacketScan) -> tuple[list[int | None], tuple[str, ...], int]:
    """The stamps of all frames in the decoder's order, why they are not as many as the packets, and the left out."""
    damage: list[str] = []
    with open_stream(path, threads=False) as (container, stream):
        frames = [(frame.pts, not frame.is_corrupt) for frame in shown_frames(container, stream, damage)]
    open_end = packets.ending is not State.WHOLE
    left = packets.left_if_torn if damage and open_end else packets.left
    kept = frames[: max(0, len(frames) - left)]
    if packets.end is not None:
        kept = [frame for frame in kept if frame[0] is None or frame[0] < packets.end]
    odd = _fewer(packets, len(kept), bool(damage))
    if open_end:
        kept = kept[: len(kept) - bad_from([whole for _, whole in kept])]
    return [stamp for stamp, _ in kept], odd, len(frames) - len(kept)


def _fewer(packets: PacketScan, there: int, damaged: bool) -> tuple[str, ...]:
    """Why the frames that are there are not as many as the packets."""
    stored = len(packets.stamps)
    if not packets.whole:
        return ("it begins between key frames: what comes before the first one cannot be shown",)
    if there >= stored:
        return ()
    if damaged:
        return (f"damaged: {stored - there} of its {number_of(stored, 'frame')} cannot be read",)
    kind = "field-coded: " if packets.fields else ""
    return (f"{kind}its {number_of(stored, 'packet')} are {number_of(there, 'frame')}",)


def _orientation(frame: VideoFrame) -> Orientation:
    """The orientation in the display matrix of a frame, x' = a x + c y and y' = b x + d y.

    Only quarter turns and mirrors are told apart: if |b| is greater than |a|, x and y are exchanged.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return Orientation()
    a, b, c, d = matrix
    if abs(b) > abs(a):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)


def _tilt(frame: VideoFrame) -> tuple[str, ...]:
    """A note for a frame that is to be turned by another angle than quarter turns."""
    a, b, _, _ = _display_matrix(frame) or (1, 0, 0, 1)
    few, many = sorted((abs(a), abs(b)))
    return ("to be turned by a part of a quarter turn, which is not done",) if few > many / 50 else ()


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """a, b, c, d of ``_orientation``; None where the frame is shown as it is stored."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d
