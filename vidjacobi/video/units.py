"""The packets of H.264 and H.265 as units, and the bits of a unit."""

import re
from collections.abc import Iterator

_HEAD = 1 << 16  # bytes of a packet that are looked at; what says what it is comes first
_START_CODE = re.compile(rb"\x00\x00\x01")


class Units:
    """Takes the packets of one stream apart.

    Args:
        codec: h264 or hevc; others have no units.
        extradata: what the container keeps beside the packets.
    """

    def __init__(self, codec: str, extradata: bytes) -> None:
        # Beside the packets of mp4, mkv and flv lies a record whose first byte is 1; it says how many bytes give the
        # length of a unit. In other containers units are separated by start codes.
        self._length_size = 0
        self._hevc, self._extradata = codec == "hevc", extradata
        if extradata[:1] == b"\x01" and codec in {"h264", "hevc"} and len(extradata) > 22:
            self._length_size = 1 + (extradata[21 if self._hevc else 4] & 3)

    def of(self, packet: memoryview) -> Iterator[bytes]:
        """The units at the beginning of a packet; the last may be cut off."""
        head = bytes(packet[:_HEAD])
        if self._length_size:
            at = 0
            while at + self._length_size < len(head):
                length = int.from_bytes(head[at : at + self._length_size], "big")
                at += self._length_size
                if length:
                    yield head[at : at + length]
                at += length
        else:
            yield from between_start_codes(head)

    def parameter_sets(self) -> Iterator[bytes]:
        """The units that lie beside the packets."""
        if not self._length_size:
            yield from between_start_codes(self._extradata)
        elif self._hevc:
            at = 23
            for _ in range(self._extradata[22] if len(self._extradata) > 22 else 0):
                count = int.from_bytes(self._extradata[at + 1 : at + 3], "big")
                yield from self._listed(at + 3, count)
                at += 3 + sum(2 + len(unit) for unit in self._listed(at + 3, count))
        else:
            yield from self._listed(6, self._extradata[5] & 31)

    def _listed(self, at: int, count: int) -> Iterator[bytes]:
        for _ in range(count):
            length = int.from_bytes(self._extradata[at : at + 2], "big")
            if at >= len(self._extradata):
                return
            yield self._extradata[at + 2 : at + 2 + length]
            at += 2 + length


def between_start_codes(data: bytes) -> Iterator[bytes]:
    """What stands between 00 00 01 and the next, each with the byte that says what it is."""
    starts = [found.end() for found in _START_CODE.finditer(data)]
    ends = [start - 3 for start in starts[1:]] + [len(data)]
    for start, end in zip(starts, ends, strict=False):  # without any start there is nothing
        if end > start:
            yield data[start:end]


class Bits:
    """The bits of a unit: u(n) and the Exp-Golomb numbers ue and se of the H.264 standard.

    Reading beyond the end raises IndexError.
    """

    def __init__(self, unit: bytes) -> None:
        # 00 00 03 stands for 00 00, so that no start code can appear within a unit
        self._data, self._at = unit.replace(b"\x00\x00\x03", b"\x00\x00"), 0

    def u(self, count: int) -> int:
        """A number of ``count`` bits."""
        value = 0
        for _ in range(count):
            value = value << 1 | (self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1)
            self._at += 1
        return value

    def skip(self, count: int) -> None:
        """Pass over ``count`` bits."""
        self._at += count

    def ue(self) -> int:
        """An unsigned Exp-Golomb number."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb number."""
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -value // 2
