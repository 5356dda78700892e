"""What the packets of a video stream say about its frames, and where they cannot be believed.

A file stores packets in the order in which a decoder needs them, which is not the order of display: a frame that is
predicted from a later one (a B-frame) is stored after it. Every packet carries the time at which its frame is
displayed (its presentation time stamp, pts), so sorting the stamps gives the frames in display order:

    stored    I0  P3  B1  B2  P6  B4  B5
    pts       0   3   1   2   6   4   5
    display   0   1   2   3   4   5   6      frame k of the clip is the one with the k-th smallest stamp

This holds for files that were written with care, and then no frame need be decompressed to number them all.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vidjacobi.video.bitstream import MAY_REFRESH, Bitstream
from vidjacobi.video.stream import packets_of, promised_frames

_LONG = 1.5  # times the least step between two frames is more than rounding
_LEFT = 4  # most frames of a group that are stored before one that is displayed before them all


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
        cut: frames that are not among the stamps, because the file was cut and others before them are lost.
        fields: whether a frame may be two packets, one for each field.
        closed: whether no frame is predicted across a key frame.
        believed: whether each packet is a frame and the stamps give their order, as far as packets can tell.
    """

    stamps: list[int | None]
    stored: list[int | None]
    starts: list[Start]
    discarded: int
    whole: bool
    cut: int
    fields: bool
    closed: bool
    believed: bool


def scan_packets(container: InputContainer, stream: VideoStream) -> PacketScan:
    """Read all packets of a stream that was just opened."""
    context = stream.codec_context
    seen = _Seen(Bitstream(context.name, bytes(context.extradata or b"")))
    for packet in packets_of(container, stream):
        seen.take(packet)
    promised, there = promised_frames(container, stream), len(seen.stamps) + seen.discarded
    # AVI keeps no times of display, and what FFmpeg guesses has holes of its own
    end = None if promised == there or container.format.name == "avi" else _hole_at_the_end(seen.stamps)
    if seen.torn and there < promised:
        end = min(seen.torn)
    stored = len(seen.stamps)
    if end is not None:
        # The file was cut short: after the first lost frame others are missing, so none of those is used.
        seen.stamps = [s for s in seen.stamps if s is not None and s < end]
    return PacketScan(
        seen.stamps,
        [*sorted(seen.stored)],
        seen.starts,
        seen.discarded,
        whole=bool(seen.whole),
        cut=stored - len(seen.stamps),
        fields=seen.bitstream.fields,
        closed=seen.closed,
        believed=seen.believed(bool(context.has_b_frames)),
    )


def _hole_at_the_end(stamps: list[int | None]) -> int | None:
    """The first stamp behind frames that a file of one rate has lost at its end; None where it is whole.

    A file that was cut keeps later frames than it has lost: I0 P3 B1 B2 P6 B4 B5 without B5 ends with 4 and 6. From
    the lost frame on every step is long, and before it none.
    """
    known = sorted(s for s in stamps if s is not None)
    if len(known) < len(stamps) or known == stamps:  # without B-frames nothing is out of order
        return None
    steps = [after - before for before, after in pairwise(known)]
    least = min(steps)
    long = [step > _LONG * least for step in steps]
    left = long.count(True)
    at_end = 0 < left <= _LEFT and left < len(long) / 2 and all(long[-left:])
    return known[-left] if at_end and least > 0 else None


@dataclass
class _Seen:
    """What was found while the packets were read."""

    bitstream: Bitstream
    stamps: list[int | None] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)  # the dts of all packets
    starts: list[Start] = field(default_factory=list)
    torn: list[int] = field(default_factory=list)
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

    def believed(self, reorders: bool) -> bool:
        """Whether the packets are the frames. ``reorders``: the decoder waits for B-frames."""
        known = [s for s in self.stamps if s is not None]
        return (
            bool(self.whole and self.clean)
            and not (self.bitstream.fields or self.spliced)
            and len(set(known)) == len(self.stamps) > 0
            and all(a < b for a, b in pairwise(self.stored))  # the clock of the file never restarts
            # stamps in storing order say nothing about B-frames
            and not (reorders and all(a < b for a, b in pairwise(known)))
        )
