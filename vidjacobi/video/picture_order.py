"""The places of pictures as their codec counts them, for files that keep no display times, and holes between them.

A file that was cut keeps later pictures than it has lost: I0 P3 B1 B2 P6 B4 B5 without B5 ends with 4 and 6.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from vidjacobi.video.h264 import first_slice, sequence
from vidjacobi.video.mpeg import HEADS
from vidjacobi.video.units import Bits, Units

LEFT = 4  # most frames of a group that are stored before one that is displayed before them all
_LONG = 1.5  # times the step between two frames is more than rounding
_FEW = 6  # pictures whose least step may not be that of the whole stream
_FIRST = {"mpeg1video": 0, "mpeg2video": 0}  # the number of a group's first picture, where that is fixed


class Place(NamedTuple):
    """Where a picture is displayed: its place in a series that begins anew now and then, and the series."""

    series: int
    at: Fraction


def lost_at_end(places: Sequence[Place | None], codec: str, period: Fraction, torn: bool) -> int:
    """How many frames at the end, in the order of display, are incomplete or come after a lost one.

    Args:
        places: of the last packets as they are stored; None for a last one that is cut before it says its own.
        period: seconds from one frame to the next, as the file declares them.
        torn: the last packet is incomplete.
    """
    known = [place for place in places if place is not None]
    unknown = len(places) - len(known)
    ends = [known.pop()] if torn and known and not unknown else []
    stored, good = [*known, *ends], sorted(known)
    step = _step(good, codec, period)
    for before, after in pairwise(good[-LEFT - 1 :]):
        if before.series == after.series:
            hole = after.at - before.at > _LONG * step
        else:
            hole = codec in _FIRST and after.at > _FIRST[codec]
        ends += [after] if hole else []
    return unknown + (sum(place >= min(ends) for place in stored) if ends else 0)


def hole_at_end(stamps: Sequence[int], least: float, sure: bool) -> int | None:
    """The first stamp behind frames that a file of one rate has lost at its end; None where there is no hole.

    No step before the hole is long. From the hole on every step is, unless the file may have lost its end.

    Args:
        stamps: of all frames, in any order, no two alike.
        least: the step from one frame to the next, if it is known.
        sure: the file may have lost its end.
    """
    known = sorted(stamps)
    steps = [after - before for before, after in pairwise(known)]
    if not steps:
        return None
    usual = min(least, *steps)
    long = [step > _LONG * usual for step in steps]
    left = len(long) - long.index(True) if any(long) else 0
    enough = all(long[-left:]) and left < len(long) / 2
    return known[-left] if 0 < left <= LEFT and (sure or enough) else None


def places_of(codec: str, extradata: bytes, packets: Sequence[bytes]) -> list[Place | None]:
    """The places of the pictures in these packets, the order of storing where the codec says no other.

    None for a last packet that is cut before it says its own.
    """
    found: list[Place | None] = []
    with suppress(IndexError):  # it is cut off
        found.extend(_KINDS[codec](extradata, packets) if codec in _KINDS else ())
    if len(found) == len(packets) - 1 > 0:
        found.append(None)
    if len(found) != len(packets):
        return [Place(0, Fraction(k)) for k in range(len(packets))]
    return found


def usual_step(places: Sequence[Place | None]) -> Fraction | None:
    """The median step from one of these pictures to the next in the order of display; None of fewer than two."""
    known = sorted(place for place in places if place is not None)
    steps = sorted(b.at - a.at for a, b in pairwise(known) if a.series == b.series and b.at > a.at)
    return steps[len(steps) // 2] if steps else None


def _step(places: Sequence[Place], codec: str, period: Fraction) -> Fraction:
    usual = {"mpeg4": period, "h264": Fraction(2)}.get(codec, Fraction(1))
    steps = [b.at - a.at for a, b in pairwise(places) if a.series == b.series and b.at > a.at]
    return min(steps) if len(steps) >= _FEW else min([usual, *steps])


def _h264(extradata: bytes, packets: Iterable[bytes]) -> Iterator[Place]:
    units, stream = Units("h264", extradata), None
    for unit in units.parameter_sets():
        stream = sequence(unit) if unit[0] & 31 == 7 else stream
    count = Unwrapped()
    for packet in packets:
        for unit in units.of(memoryview(packet)):
            if unit[0] & 31 == 7:
                stream = sequence(unit)
            head = first_slice(unit, stream) if stream and unit[0] & 31 in (1, 5) else None
            if head is not None and stream is not None:
                if head.order is None or head.field:
                    return
                yield count.place(head.order, 1 << stream.order_bits, head.begins, head.reference)
                break


class Unwrapped:
    """Picture order counts without the jumps of their low bits (H.264, 8.2.1.1; H.265, 8.3.1)."""

    def __init__(self) -> None:
        self._series, self._last = 0, None  # type: tuple[int, int | None]

    def place(self, low: int, size: int, begins: bool, reference: bool) -> Place:
        """Of a picture with these low bits, of which there are ``size`` values."""
        self._series += begins
        if begins or self._last is None:
            value = low
        else:
            value = self._last + (low - self._last + size // 2) % size - size // 2
        if reference or self._last is None:
            self._last = value
        return Place(self._series, Fraction(value))


def _hevc(extradata: bytes, packets: Iterable[bytes]) -> Iterator[Place]:
    units, count = Units("hevc", extradata), Unwrapped()
    sets: dict[int, tuple[int, ...]] = {}
    for unit in units.parameter_sets():
        _take_hevc_set(unit, sets)
    for packet in packets:
        for unit in units.of(memoryview(packet)):
            kind = unit[0] >> 1 & 63
            if kind >= 32:
                _take_hevc_set(unit, sets)
            elif 33 in sets and 34 in sets and unit[2] & 0x80:  # the first slice of a picture
                (planes, order_bits), (output, extra) = sets[33], sets[34]
                bits = Bits(unit[2:40])
                bits.skip(2 if 16 <= kind <= 23 else 1)
                bits.ue()
                bits.skip(extra)
                bits.ue()
                bits.skip(output + 2 * planes)
                begins = kind in (19, 20)
                low = 0 if begins else bits.u(order_bits)
                last = kind >= 16 or (
                    kind % 2 == 1 and kind < 6
                )  # neither leading nor without any that refer to it
                yield count.place(low, 1 << order_bits, begins, last and unit[1] & 7 == 1)
                break


def _take_hevc_set(unit: bytes, sets: dict[int, tuple[int, ...]]) -> None:
    """Keep what slices need: whether planes are apart and the bits of an order; bits that a picture's slices have."""
    kind, bits = unit[0] >> 1 & 63, Bits(unit[2:])
    if kind == 34:
        bits.ue()
        bits.ue()
        bits.skip(1)
        sets[34] = (bits.u(1), bits.u(3))
    elif kind == 33:
        bits.skip(4)
        layers = bits.u(3)
        bits.skip(1 + 96)
        below = [(bits.u(1), bits.u(1)) for _ in range(layers)]
        bits.skip(2 * (8 - layers) if layers else 0)
        bits.skip(sum(88 * profile + 8 * level for profile, level in below))
        bits.ue()
        planes = bits.u(1) if bits.ue() == 3 else 0
        bits.ue()
        bits.ue()
        for _ in range(4 if bits.u(1) else 0):
            bits.ue()
        bits.ue()
        bits.ue()
        sets[33] = (planes, bits.ue() + 4)


def _mpeg(codec: str, extradata: bytes, packets: Iterable[bytes]) -> Iterator[Place]:
    heads = HEADS[codec](extradata)
    for packet in packets:
        for picture in heads.pictures(packet):
            yield Place(picture.series, picture.at)
            break


_KINDS: dict[str, Callable[[bytes, Iterable[bytes]], Iterator[Place]]] = {
    "h264": _h264,
    "hevc": _hevc,
    **{codec: partial(_mpeg, codec) for codec in HEADS},
}
