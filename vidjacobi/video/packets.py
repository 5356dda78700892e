"""What the packets of a video stream say about its frames, and where they cannot be believed.

A file stores packets in the order in which a decoder needs them, which is not the order of display: a frame that is
predicted from a later one (a B-frame) is stored after it. Every packet carries the time at which its frame is
displayed (its presentation time stamp, pts), so sorting the stamps gives the frames in display order:

    stored    I0  P3  B1  B2  P6  B4  B5
    pts       0   3   1   2   6   4   5
    display   0   1   2   3   4   5   6      frame k of the clip is the one with the k-th smallest stamp

This holds for files that were written with care, and then no frame need be decompressed to number them all.
"""

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vidjacobi.video.bitstream import MAY_REFRESH, Bitstream
from vidjacobi.video.endings import WHOLE, Ending, State
from vidjacobi.video.picture_order import hole_at_end, lost_at_end, places_of, usual_step
from vidjacobi.video.stream import packets_of, promised_frames

_HIGHEST = 240  # frames per second; what declares more counts ticks and not frames
_KEPT = 64  # packets at the end whose heads are looked at; no group of B-frames is longer
_HEAD = 4096  # bytes
# AVI and bare streams keep no times of display, and an MXF file that lacks its end none. FFmpeg guesses some.
_UNTIMED = frozenset({"avi", "mxf", "mpegvideo", "m4v", "h264", "hevc"})


@dataclass(frozen=True)
class Start:
    """A packet from which a decoder gives every picture that is displayed at or after it: its pts, and its dts."""

    shown: int
    stored: int


@dataclass(frozen=True)
class PacketScan:
    """The packets of a stream.

    Attributes:
        stamps: the pts of the packets that are frames, as they are stored.
        stored: their dts in order, where they have one.
        starts: where reading may begin, in the order of the file.
        discarded: packets that are never shown, because of an edit list.
        whole: whether the file begins with a key frame.
        ending: whether the end of the file is there.
        end: the first stamp that is left out, as the file was cut and frames before it or itself are lost.
        left: how many frames are left out for that, where they are told apart by counting only.
        left_if_torn: the same, if the last packet turns out to be incomplete.
        cut: how many frames are left out, either way; they are not among the stamps.
        fields: whether a frame may be two packets, one for each field.
        closed: whether no frame is predicted across a key frame.
        believed: whether each packet is a frame and the stamps give their order, as far as packets can tell.
        step: seconds from one picture to the next by the codec's own count (MPEG-4), where the container keeps no
            times; else None.
    """

    stamps: list[int | None]
    stored: list[int | None]
    starts: list[Start]
    discarded: int
    whole: bool
    ending: State
    end: int | None
    left: int
    left_if_torn: int
    cut: int
    fields: bool
    closed: bool
    believed: bool
    step: Fraction | None


def scan_packets(container: InputContainer, stream: VideoStream, ending: Ending = WHOLE) -> PacketScan:
    """Read all packets of a stream that was just opened, of a file with this ending."""
    context = stream.codec_context
    extradata, reorders = bytes(context.extradata or b""), bool(context.has_b_frames)
    seen = _Seen(Bitstream(context.name, extradata))
    for packet in packets_of(container, stream):
        seen.take(packet)
    there = len(seen.stamps) + seen.discarded
    if promised_frames(container, stream) == there and not seen.torn:
        ending = WHOLE
    rate = max((r for r in (stream.average_rate, stream.guessed_rate) if r and r <= _HIGHEST), default=None)
    stored, end, left, if_torn = seen.stamps, None, 0, 0
    untimed, step = container.format.name in _UNTIMED, None
    if untimed and context.name == "mpeg4":
        step = usual_step(places_of(context.name, extradata, seen.heads))
    if untimed or None in stored or not seen.in_time:
        if ending.state is not State.WHOLE:
            places = places_of(context.name, extradata, seen.heads)
            left, if_torn = (
                lost_at_end(places, context.name, 1 / (rate or Fraction(25)), torn)
                for torn in (ending.torn or seen.torn_last, True)
            )
            seen.stamps = sorted(stored, key=lambda s: s or 0)[: len(stored) - left]
    elif promised_frames(container, stream) != there or ending.state is not State.WHOLE:
        end = _end(
            seen,
            float(1 / (rate * stream.time_base)) if rate and stream.time_base else float("inf"),
            ending,
            reorders,
        )
        seen.stamps = stored if end is None else [s for s in stored if s is not None and s < end]
    return PacketScan(
        seen.stamps,
        [*sorted(seen.stored)],
        seen.starts,
        seen.discarded,
        whole=bool(seen.whole),
        ending=ending.state,
        end=end,
        left=left,
        left_if_torn=if_torn,
        cut=len(stored) - len(seen.stamps),
        fields=seen.bitstream.fields,
        closed=seen.closed,
        believed=seen.believed(reorders),
        step=step,
    )


def _end(seen: "_Seen", least: float, ending: Ending, reorders: bool) -> int | None:
    """The first stamp that is left out; ``least`` is the step from one frame to the next."""
    stamps = [s for s in seen.stamps if s is not None]
    ends = list(seen.torn) if ending.state is not State.WHOLE else []
    if ending.torn and stamps:
        ends.append(stamps.pop())
    broken = ending.state is not State.WHOLE
    if len({*stamps}) == len(stamps) and (stamps != sorted(stamps) or (broken and reorders)):
        hole = hole_at_end(stamps, least if broken else float("inf"), broken)
        ends += [] if hole is None else [hole]
    return min(ends, default=None)


@dataclass
class _Seen:
    """What was found while the packets were read."""

    bitstream: Bitstream
    stamps: list[int | None] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)  # the dts of all packets
    starts: list[Start] = field(default_factory=list)
    torn: list[int] = field(default_factory=list)
    torn_last: bool = False
    heads: deque[bytes] = field(default_factory=lambda: deque(maxlen=_KEPT))
    discarded: int = 0
    whole: bool | None = None
    clean: bool = True  # every picture of the first group can be shown
    closed: bool = True
    spliced: bool = False
    _keys: int = 0
    _key: int | None = None  # the pts of the last key packet

    def take(self, packet: av.Packet) -> None:
        """Note one packet."""
        if self.whole is None:
            self.whole = packet.is_keyframe
        if packet.is_keyframe:
            self._take_key(packet)
        if packet.dts is not None:
            self.stored.append(packet.dts)
        if packet.pts is not None and self._key is not None and packet.pts < self._key:
            self.closed = False
            self.clean = self.clean and self._keys > 1
        if packet.is_discard:
            self.discarded += 1
        elif not self._hidden(packet):
            self.stamps.append(packet.pts)
            self.heads.append(bytes(memoryview(packet)[:_HEAD]))
            self.torn_last = packet.is_corrupt
            if packet.is_corrupt and packet.pts is not None:
                self.torn.append(packet.pts)

    def _take_key(self, packet: av.Packet) -> None:
        begins = self.bitstream.shows_all_after(memoryview(packet))
        # the mark of a splice at the very beginning is left by cutting, and nothing is missing there
        self.spliced = self.spliced or (self.bitstream.spliced and self._keys > 0)
        self.bitstream.spliced = False
        if not self._keys:
            self.clean = begins or self.bitstream.codec not in MAY_REFRESH
        self._keys, self._key = self._keys + 1, packet.pts
        self.closed = self.closed and begins
        if begins and packet.pts is not None:
            self.starts.append(Start(packet.pts, packet.pts if packet.dts is None else packet.dts))

    def _hidden(self, packet: av.Packet) -> bool:
        # bit 4 of a VP8 packet says whether its frame is shown; the others are for reference only
        return self.bitstream.codec in {"vp8", "libvpx"} and not memoryview(packet)[0] & 0x10

    @property
    def in_time(self) -> bool:
        """Whether the clock of the file never restarts."""
        return all(a < b for a, b in pairwise(self.stored))

    def believed(self, reorders: bool) -> bool:
        """Whether the packets are the frames. ``reorders``: the decoder waits for B-frames."""
        known = [s for s in self.stamps if s is not None]
        return (
            bool(self.whole and self.clean)
            and not (self.bitstream.fields or self.spliced)
            and len(set(known)) == len(self.stamps) > 0
            and self.in_time
            # stamps in storing order say nothing about B-frames
            and not (reorders and all(a < b for a, b in pairwise(known)))
        )
