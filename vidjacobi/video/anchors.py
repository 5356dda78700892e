"""Pictures of MPEG-1, MPEG-2 and MPEG-4 that lack one that they are predicted from, by the places that each says.

An anchor, an I- or P-picture, is stored before the B-pictures that are displayed between it and the anchor before it,
and these are stored in the order of display. So every place is expected:

    stored    I0 P3 B1 B2 P6 B4 B5 P9 B7 B8
    lost P6   I0 P3 B1 B2    B4 B5 P9 B7 B8     B4 is displayed after the last anchor, P3: one in between is lost
    lost B4   I0 P3 B1 B2 P6    B5 P9 B7 B8     4 is missing, which may have been an anchor: B5 and all after it
    lost B5   I0 P3 B1 B2 P6 B4    P9 B7 B8     5 was a B-picture, or 4 were stored before P6: nothing is spoilt
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction

import av

from vidjacobi.video.mpeg import HEADS, Picture

_LONGEST = 64  # packets from one anchor to the next that are looked at together


def mark(packet: av.Packet) -> None:
    """Mark a packet, and with ``copy_opaque`` the picture that a decoder makes of it."""
    packet.opaque = (
        object()
    )  # one for each: PyAV keeps them by identity, and forgets one with its first packet


class AnchorCount:
    """Marks the packets whose pictures may be spoilt as an anchor is lost.

    Args:
        codec: a key of ``vidjacobi.video.mpeg.HEADS``.
        extradata: what the container keeps beside the packets.
        step: from one picture to the next. None: it is not even, and only pictures out of their order tell of a loss.
    """

    def __init__(self, codec: str, extradata: bytes, step: Fraction | None) -> None:
        self._heads, self._step, self._in_seconds = HEADS[codec](extradata), step, codec == "mpeg4"
        self._before: Picture | None = None  # the two last anchors
        self._anchor: Picture | None = None
        self._lost = False  # an anchor that the next ones are predicted from
        self._stored: int | None = None  # dts of the last packet
        self._empty = 0  # steps that the container passes over, where no picture is missing

    def watch(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The same packets, up to the next anchor at a time; those that may be spoilt are marked."""
        group: list[tuple[av.Packet, list[Picture]]] = []
        for packet in packets:
            found = self._pictures(packet)
            if len(group) == _LONGEST or any(picture.kind in "IP" for picture in found):
                yield from self._marked(group)
                group = []
            group.append((packet, found))
        yield from self._marked(group)

    def _pictures(self, packet: av.Packet) -> list[Picture]:
        found: list[Picture] = []
        with suppress(IndexError):  # it is cut off, and the decoder will say so
            found.extend(self._heads.pictures(bytes(packet)))
        return found

    def _marked(self, group: list[tuple[av.Packet, list[Picture]]]) -> Iterator[av.Packet]:
        between = [picture.at for _, pictures in group for picture in pictures if picture.kind == "B"]
        leading = False  # whether what is displayed before the anchor lacks the one before it
        for packet, pictures in group:
            self._pass_over(packet)
            for picture in pictures:
                if picture.kind == "N":
                    self._hold(picture)
                elif picture.kind == "B":
                    self._lost = self._lost or not (leading or self._fits(picture))
                else:
                    leading = self._lacks_leading(picture, between)
                if self._lost or (leading and picture.kind == "B"):
                    mark(packet)
            yield packet

    def _lacks_leading(self, anchor: Picture, between: list[Fraction]) -> bool:
        """Take an anchor; whether B-pictures that are stored after it lack the one before it, though it is whole."""
        before = self._before = self._anchor
        self._anchor = anchor
        goes_on = before is not None and anchor.series == before.series and anchor.at > before.at
        missing = before is not None and goes_on and self._misses(before, anchor, between)
        if anchor.kind == "I":
            lacks = (self._lost or missing) and (goes_on or not anchor.closed)
            self._lost = False
            return lacks
        self._lost = self._lost or missing or (before is not None and not goes_on)
        return False

    def _misses(self, before: Picture, anchor: Picture, between: list[Fraction]) -> bool:
        """Whether an anchor may be missing between two, right after the first."""
        if self._step is None:
            return False
        there = sum(before.at < at < anchor.at for at in between)
        missing = round((anchor.at - before.at) / self._step) - 1 - there
        if missing <= self._empty:
            self._empty -= max(0, missing)
            return False
        first = before.at + self._step
        return all(abs(at - first) > self._step / 2 for at in between)

    def _fits(self, picture: Picture) -> bool:
        """Whether a B-picture is displayed before the last anchor and after the one before it."""
        if self._anchor is None:
            return True  # the file begins between key frames
        low, high = self._before, self._anchor
        if picture.series != high.series or picture.at > high.at:
            return False
        # the anchor before may be of another series, or of another clock where files were joined
        return low is None or low.series != high.series or low.at > high.at or picture.at > low.at

    def _hold(self, picture: Picture) -> None:
        """The last anchor is shown on, until here."""
        if self._anchor is not None and picture.at > self._anchor.at:
            self._anchor = self._anchor._replace(at=picture.at)

    def _pass_over(self, packet: av.Packet) -> None:
        """Count the steps without a packet: AVI keeps empty ones where a frame is shown on."""
        if self._in_seconds and self._step and self._stored is not None and packet.dts is not None:
            steps = (packet.dts - self._stored) * (packet.time_base or 0) / self._step
            self._empty += max(0, round(steps) - 1)
        self._stored = packet.dts
