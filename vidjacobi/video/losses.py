"""Pictures that may show traces of others, as a packet that they are predicted from is lost.

A decoder fills the hole with an earlier picture and does not say so. H.264 numbers its reference pictures one after
the other (frame_num), so that a missing number tells. Pictures of MPEG-1, MPEG-2 and MPEG-4 say their places
(``anchors``). H.265 leaves out what it cannot decompress; other codecs keep no count, and only a gap between the
times of their frames hints at a loss.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float

from vidjacobi.errors import number_of
from vidjacobi.video.anchors import AnchorCount, mark
from vidjacobi.video.bitstream import Bitstream
from vidjacobi.video.h264 import Sequence as ParameterSet
from vidjacobi.video.h264 import Slice, first_slice, sequence
from vidjacobi.video.mpeg import HEADS
from vidjacobi.video.picture_order import LEFT, Place, Unwrapped
from vidjacobi.video.units import Units

# Each frame is a picture of its own, or the decoder says what is missing.
_TELLS = frozenset(
    {
        *("h264", "hevc", "mjpeg", "prores", "dnxhd", "png", "gif", "rawvideo", "v210"),
        *("huffyuv", "ffvhuff", "utvideo", "cfhd", "jpeg2000"),
    }
)
# Pictures that are shown before a lost one may be predicted from it.
_BOTH_WAYS = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3"})
_ENOUGH = 8  # frames that show what the usual step is
_NAMED = 8  # spans of frames that a note names
_RARE = 0.05  # share of the steps up to which long ones are gaps; above it the rate is variable


class Losses:
    """Looks at the packets that go to a decoder, and marks those that come after a loss.

    Args:
        stream: which is not decoded yet.
        step: seconds from one picture to the next by the codec's own count; see ``VideoIndex``.
    """

    def __init__(self, stream: VideoStream, step: Fraction | None) -> None:
        stream.codec_context.copy_opaque = True  # see ``mark``
        codec, extradata = stream.codec_context.name, bytes(stream.codec_context.extradata or b"")
        self._bitstream, self._units = Bitstream(codec, extradata), Units(codec, extradata)
        self._set: ParameterSet | None = None
        self._last: int | None = None  # frame_num of the last reference picture
        self._lost = False
        self._order = Unwrapped()
        self._whole_from: Place | None = None  # the picture behind a loss with which all is whole again
        self._anchors: AnchorCount | None = None
        if codec in HEADS:
            self._anchors = AnchorCount(codec, extradata, step if codec == "mpeg4" else Fraction(1))
        self._take_sets(self._units.parameter_sets())

    def watch(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The same packets."""
        if self._anchors is not None:
            yield from self._anchors.watch(packets)
            return
        for packet in packets:
            if self._bitstream.codec == "h264":
                self._take(packet)
            yield packet

    @staticmethod
    def may_spoil(frame: VideoFrame) -> bool:
        """Whether a picture comes after a loss and before the next place to begin at."""
        return frame.opaque is not None

    def _take(self, packet: av.Packet) -> None:
        data = memoryview(packet)
        units = list(self._units.of(data))
        self._take_sets(units)
        head = self._head(units)
        if head is None or self._set is None:
            return
        if not head.begins and self._last is not None and not self._set.gaps:
            self._lost = self._lost or (head.number - self._last) % (1 << self._set.number_bits) > 1
        if head.reference:
            self._last = head.number
        size = 1 << self._set.order_bits
        place = self._order.place(head.order or 0, size, head.begins, head.reference)
        if packet.is_keyframe and self._lost and self._bitstream.shows_all_after(data):
            self._lost, self._whole_from = False, place
        # pictures that are shown before the key frame that is stored before them need what was lost
        leading = self._whole_from is not None and place < self._whole_from
        if self._lost or leading:
            mark(packet)

    def _take_sets(self, units: Iterable[bytes]) -> None:
        for unit in units:
            if unit and unit[0] & 31 == 7:
                with suppress(IndexError):  # it is cut off, and the decoder will say so
                    self._set = sequence(unit)

    def _head(self, units: Iterable[bytes]) -> Slice | None:
        """The head of the picture; None where it cannot be read."""
        if self._set is None:
            return None
        with suppress(IndexError):
            for unit in units:
                head = first_slice(unit, self._set) if unit[0] & 31 in (1, 5) else None
                if head is not None:
                    return head
        return None


def after_gaps(seconds: Float[np.ndarray, " n"], codec: str, starts: Sequence[int]) -> tuple[int, list[int]]:
    """The few gaps between the times of frames of an even rate, where their codec tells of no loss.

    Args:
        seconds: when frames are shown, increasing.
        starts: numbers of frames from which on every picture is whole.

    Returns:
        How many gaps there are, and the numbers of the frames that may be predicted from what was lost in them.
    """
    steps = np.diff(seconds)
    if codec in _TELLS or len(seconds) < _ENOUGH:
        return 0, []
    behind = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1
    if len(behind) > max(1, _RARE * len(steps)):
        return 0, []
    ends = [min((start for start in starts if start >= number), default=len(seconds)) for number in behind]
    begins = [max(0, number - (LEFT if codec in _BOTH_WAYS else 0)) for number in behind.tolist()]
    return len(behind), [n for a, b in zip(begins, ends, strict=True) for n in range(a, b)]


def spelled(numbers: Iterable[int]) -> str:
    """Numbers of frames in words: ``frames 3, 7 to 9``."""
    ordered = sorted({*numbers})
    begins = [n for k, n in enumerate(ordered) if not k or ordered[k - 1] != n - 1]
    ends = [n for k, n in enumerate(ordered) if k + 1 == len(ordered) or ordered[k + 1] != n + 1]
    parts = [str(a) if a == b else f"{a} to {b}" for a, b in zip(begins, ends, strict=True)]
    more = f" ... ({number_of(len(ordered), 'frame')})" if len(parts) > _NAMED else ""
    return f"frame{'s' if len(ordered) > 1 else ''} {', '.join(parts[:_NAMED])}{more}"
