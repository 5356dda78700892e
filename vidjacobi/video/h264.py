"""What H.264 says of its pictures: sequence parameter sets, the heads of slices, and recovery points."""

from typing import NamedTuple

from vidjacobi.video.units import Bits

_LONG_PROFILES = frozenset(
    {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
)  # these say their chroma


class Sequence(NamedTuple):
    """What is needed of a sequence parameter set (H.264, 7.3.2.1.1).

    Attributes:
        number_bits: bits of frame_num, which counts the reference frames.
        order_bits: bits of pic_order_cnt_lsb; 0 where a picture does not say its place.
        gaps: whether frame_num may leave out numbers although nothing is lost.
        frames_only: whether no picture is coded as two fields.
        planes: whether the three colours are pictures of their own.
    """

    number_bits: int
    order_bits: int
    gaps: bool
    frames_only: bool
    planes: bool


class Slice(NamedTuple):
    """The head of a picture's first slice (H.264, 7.3.3).

    Attributes:
        number: frame_num, modulo 2 to the number of its bits.
        order: pic_order_cnt_lsb; None where pictures do not say their place.
        reference: whether other pictures may be predicted from this one.
        begins: whether everything before it is forgotten (IDR).
        field: whether it is one field of a frame.
    """

    number: int
    order: int | None
    reference: bool
    begins: bool
    field: bool


def sequence(unit: bytes) -> Sequence:
    """From the bytes of a sequence parameter set. Raises IndexError where it is cut off."""
    bits = Bits(unit[1:])
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    planes = _chroma_and_scaling(bits) if profile in _LONG_PROFILES else False
    number_bits = bits.ue() + 4
    kind, order_bits = bits.ue(), 0
    if kind == 0:
        order_bits = bits.ue() + 4
    elif kind == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()  # max_num_ref_frames
    gaps = bool(bits.u(1))
    bits.ue()  # width and height in macroblocks
    bits.ue()
    return Sequence(number_bits, order_bits, gaps, bool(bits.u(1)), planes)


def first_slice(unit: bytes, stream: Sequence) -> Slice | None:
    """The head of a slice; None if it is not the first of its picture. Raises IndexError where it is cut off."""
    bits = Bits(unit[1:40])
    if bits.ue():  # first_mb_in_slice
        return None
    bits.ue()  # slice_type
    bits.ue()  # pic_parameter_set_id
    if stream.planes:
        bits.u(2)
    number = bits.u(stream.number_bits)
    field = not stream.frames_only and bool(bits.u(1))
    if field:
        bits.u(1)
    begins = unit[0] & 31 == 5
    if begins:
        bits.ue()  # idr_pic_id
    order = bits.u(stream.order_bits) if stream.order_bits else None
    return Slice(number, order, bool(unit[0] & 0x60), begins, field)


def _chroma_and_scaling(bits: Bits) -> bool:
    """Pass over what the longer profiles say; whether the colours are pictures of their own."""
    chroma = bits.ue()
    planes = chroma == 3 and bool(bits.u(1))
    bits.ue()
    bits.ue()
    bits.u(1)
    if not bits.u(1):
        return planes
    for number in range(12 if chroma == 3 else 8):
        if bits.u(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + bits.se()) % 256
                last = following or last
    return planes


def recovers_at_once(unit: bytes) -> bool:
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
                bits = Bits(unit[at : at + size])
                return bits.ue() == 0 and bits.u(1) == 1
            except IndexError:
                return False
        at += size
    return False
