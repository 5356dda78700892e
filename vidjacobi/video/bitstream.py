"""What the first bytes of a packet say: whether a decoder that starts there shows every later picture as it is.

A container marks packets as key frames, and a mark is not enough. In a stream with intra refresh the marked pictures
are predicted from earlier ones, and the picture is whole only some frames later. H.264 and H.265 say in the packet
itself what it is; for other codecs the mark means an I-picture, after which nothing refers to what came before it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# I-pictures cut these streams: what is displayed after one is never predicted from what is displayed before it.
_CUT_BY_MARK = frozenset(
    {
        *(
            "mpeg1video",
            "mpeg2video",
            "mpeg4",
            "h263",
            "flv1",
            "msmpeg4v2",
            "msmpeg4v3",
            "wmv1",
            "wmv2",
            "wmv3",
            "vc1",
        ),
        *(
            "vp8",
            "vp9",
            "av1",
            "theora",
            "mjpeg",
            "prores",
            "dnxhd",
            "ffv1",
            "huffyuv",
            "ffvhuff",
            "utvideo",
            "png",
        ),
        *("rawvideo", "v210", "cfhd", "jpeg2000"),
    }
)
# Their key packets may be the beginning of a refresh that takes many frames.
MAY_REFRESH = frozenset({"h264", "hevc"})
_HEAD = 1 << 16  # bytes of a packet that are looked at; what says what it is comes first
_START_CODE = re.compile(rb"\x00\x00\x01")
_LONG_PROFILES = frozenset(
    {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
)  # these say their chroma


@dataclass
class Bitstream:
    """Reads the heads of the packets of one stream.

    Attributes:
        codec: as FFmpeg calls it.
        extradata: what the container keeps beside the packets.
        fields: whether pictures may be coded as two fields, each a packet of its own (H.264).
        spliced: whether the stream says that another was joined to it here (H.265): pictures are left out there.
    """

    codec: str
    extradata: bytes
    fields: bool = field(default=False, init=False)
    spliced: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        # Beside the packets of mp4, mkv and flv lies a record whose first byte is 1; it says how many bytes give the
        # length of a unit. In other containers units are separated by start codes.
        self._length_size = 0
        if self.extradata[:1] == b"\x01" and self.codec in MAY_REFRESH and len(self.extradata) > 22:
            self._length_size = 1 + (self.extradata[4 if self.codec == "h264" else 21] & 3)
        if self.codec == "h264":
            for unit in self._parameter_sets():
                self._note_fields(unit)

    def shows_all_after(self, packet: memoryview) -> bool:
        """Whether a decoder that begins at this key packet gives each picture displayed at or after it exactly."""
        if self.codec == "h264":
            return self._h264(packet)
        if self.codec == "hevc":
            return self._hevc(packet)
        return self.codec in _CUT_BY_MARK

    def _h264(self, packet: memoryview) -> bool:
        exact = False
        for unit in self._units(packet):
            kind = unit[0] & 31
            if kind == 7:
                self._note_fields(unit)
            elif kind == 6:
                exact = exact or _recovers_at_once(unit)
            elif kind == 5:  # a slice of an IDR picture: everything decoded before it is forgotten
                return True
            elif 1 <= kind <= 4:
                return exact
        return False

    def _hevc(self, packet: memoryview) -> bool:
        for unit in self._units(packet):
            kind = unit[0] >> 1 & 63
            if kind < 32:  # the first slice
                self.spliced = self.spliced or 16 <= kind <= 18  # a BLA picture
                return 16 <= kind <= 21  # BLA, IDR, CRA: pictures from which decoding may start
        return False

    def _units(self, data: memoryview) -> Iterator[bytes]:
        head = bytes(data[:_HEAD])
        if self._length_size:
            at = 0
            while at + self._length_size < len(head):
                length = int.from_bytes(head[at : at + self._length_size], "big")
                at += self._length_size
                if length:
                    yield head[at : at + length]
                at += length
        else:
            yield from _between_start_codes(head)

    def _parameter_sets(self) -> Iterator[bytes]:
        if not self._length_size:
            yield from _between_start_codes(self.extradata)
            return
        at, count = 6, self.extradata[5] & 31
        for _ in range(count):
            length = int.from_bytes(self.extradata[at : at + 2], "big")
            yield self.extradata[at + 2 : at + 2 + length]
            at += 2 + length

    def _note_fields(self, unit: bytes) -> None:
        if unit and unit[0] & 31 == 7:
            try:
                self.fields = self.fields or not _frames_only(unit)
            except IndexError:  # it is cut off, and the decoder will say so
                self.fields = True


def _between_start_codes(data: bytes) -> Iterator[bytes]:
    starts = [found.end() for found in _START_CODE.finditer(data)]
    ends = [start - 3 for start in starts[1:]] + [len(data)]
    for start, end in zip(starts, ends, strict=False):  # without any start there is nothing
        if end > start:
            yield data[start:end]


class _Bits:
    """The bits of a unit: u(n) and the Exp-Golomb numbers ue and se of the H.264 standard."""

    def __init__(self, unit: bytes) -> None:
        # 00 00 03 stands for 00 00, so that no start code can appear within a unit
        self._data, self._at = unit.replace(b"\x00\x00\x03", b"\x00\x00"), 0

    def u(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | (self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1)
            self._at += 1
        return value

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -value // 2


def _frames_only(unit: bytes) -> bool:
    """frame_mbs_only_flag of a sequence parameter set (H.264, 7.3.2.1.1). Raises IndexError where it is cut off."""
    bits = _Bits(unit[1:])
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    if profile in _LONG_PROFILES:
        _skip_chroma_and_scaling(bits)
    bits.ue()  # log2_max_frame_num_minus4
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.u(1)
    bits.ue()  # width and height in macroblocks
    bits.ue()
    return bool(bits.u(1))


def _skip_chroma_and_scaling(bits: _Bits) -> None:
    chroma = bits.ue()
    if chroma == 3:
        bits.u(1)
    bits.ue()
    bits.ue()
    bits.u(1)
    if not bits.u(1):
        return
    for number in range(12 if chroma == 3 else 8):
        if bits.u(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + bits.se()) % 256
                last = following or last


def _recovers_at_once(unit: bytes) -> bool:
    """Whether an H.264 SEI unit holds a recovery point with recovery_frame_cnt 0 and exact_match_flag 1."""
    at = 1
    while at + 2 < len(unit):
        kind = size = 0
        while unit[at] == 255:
            kind, at = kind + 255, at + 1
            if at + 1 >= len(unit):
                return False
        kind, at = kind + unit[at], at + 1
        while at < len(unit) and unit[at] == 255:
            size, at = size + 255, at + 1
        if at >= len(unit):
            return False
        size, at = size + unit[at], at + 1
        if kind == 6:
            try:
                bits = _Bits(unit[at : at + size])
                return bits.ue() == 0 and bits.u(1) == 1
            except IndexError:
                return False
        at += size
    return False
