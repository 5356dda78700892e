"""What MPEG-1, MPEG-2 and MPEG-4 part 2 say of their pictures: the kind of each, and where it is displayed."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from vidjacobi.video.units import Bits, between_start_codes


class Picture(NamedTuple):
    """The head of a picture.

    Attributes:
        series: counts the groups of MPEG-1 and MPEG-2, in each of which places begin anew; 0 in MPEG-4.
        at: where it is displayed: its number in the group, or seconds.
        kind: I, P, B, or N for one without content: it says that the last one is shown on, or fills a packet whose
            picture lies in the one before it. Others are predicted from I and P, which are called anchors here, and
            never from B.
        closed: whether no B-picture of its group is predicted from the group before it.
    """

    series: int
    at: Fraction
    kind: str
    closed: bool = False


class Mpeg12:
    """Reads the packets of a stream of MPEG-1 or MPEG-2 (ISO/IEC 13818-2, 6.2.2.6 and 6.2.3)."""

    def __init__(self, extradata: bytes) -> None:
        self._series, self._closed = 0, False
        self._last: tuple[int, int] | None = None

    def pictures(self, packet: bytes) -> Iterator[Picture]:
        """The pictures that begin in a packet, the second field of one left out. Raises IndexError at a cut."""
        for unit in between_start_codes(packet):
            if unit[0] == 0xB8:  # a group of pictures counts anew
                self._series += 1
                self._closed = bool(unit[4] & 0x40)
            elif unit[0] == 0:
                number, kind = unit[1] << 2 | unit[2] >> 6, unit[2] >> 3 & 7
                if (self._series, number) != self._last:
                    yield Picture(self._series, Fraction(number), "?IPB????"[kind], self._closed)
                self._last = self._series, number


class Mpeg4:
    """Reads the packets of a stream of MPEG-4 part 2 (ISO/IEC 14496-2, 6.2.3 to 6.2.5)."""

    def __init__(self, extradata: bytes) -> None:
        # in seconds: those of the last anchor and of the one before it, and what a picture adds to them
        self._second, self._before, self._rate = 0, 0, 0
        for unit in between_start_codes(extradata):
            if 0x20 <= unit[0] < 0x30:
                self._rate = _resolution(Bits(unit[1:]))

    def pictures(self, packet: bytes) -> Iterator[Picture]:
        """The pictures that begin in a packet. Raises IndexError where it is cut off."""
        for unit in between_start_codes(packet):
            if 0x20 <= unit[0] < 0x30:
                self._rate = _resolution(Bits(unit[1:]))
            elif unit[0] == 0xB3:  # a group says its hour, minute and second
                bits = Bits(unit[1:])
                hour, minute = bits.u(5), bits.u(6)
                bits.skip(1)
                self._second = self._before = 3600 * hour + 60 * minute + bits.u(6)
            elif unit[0] == 0xB6 and self._rate:
                yield self._picture(Bits(unit[1:20]))

    def _picture(self, bits: Bits) -> Picture:
        kind, more = "IPBP"[bits.u(2)], 0
        while bits.u(1):
            more += 1
        bits.skip(1)
        part = Fraction(bits.u(max(1, (self._rate - 1).bit_length())), self._rate)
        bits.skip(1)
        if kind == "B":
            at = self._before + more + part
        else:
            self._before, self._second = self._second, self._second + more
            at = self._second + part
        return Picture(0, at, kind if bits.u(1) else "N")


def _resolution(bits: Bits) -> int:
    """vop_time_increment_resolution of a video object layer (MPEG-4 part 2, 6.2.3)."""
    bits.skip(1 + 8)
    bits.skip(7 if bits.u(1) else 0)
    bits.skip(16 if bits.u(4) == 15 else 0)
    if bits.u(1):  # vol_control_parameters
        bits.skip(3)
        bits.skip(79 if bits.u(1) else 0)
    bits.skip(2 + 1)
    return bits.u(16)


HEADS: dict[str, type[Mpeg12] | type[Mpeg4]] = {
    "mpeg1video": Mpeg12,
    "mpeg2video": Mpeg12,
    "mpeg4": Mpeg4,
}
