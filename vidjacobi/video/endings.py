"""Whether the end of a video file is there, by the lengths and marks that its container keeps.

A download or a recording that was broken off lacks its end. Some containers say how long they are, others end with a
mark, and in others the last part is torn. What none of this shows can only be seen in the last pictures.
"""

import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import BinaryIO, NamedTuple

_TAIL = 1 << 18  # bytes at the end that are looked at
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # file properties object
_MXF_INDEX = bytes.fromhex("060e2b34020501010d01020101110100")  # random index pack, the last thing in a file
_BOX = re.compile(rb"[a-zA-Z0-9 \xa9]{4}")


class State(Enum):
    """What the container shows of its end."""

    WHOLE = "whole"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Ending(NamedTuple):
    """What is known of the end of a file.

    Attributes:
        state: whether it is there.
        torn: whether the last video packet may be a part of one that is handed out as if it were whole.
    """

    state: State
    torn: bool = False


WHOLE = Ending(State.WHOLE)


class _File(NamedTuple):
    file: BinaryIO
    size: int
    stream: int  # the video's number as the container knows it

    def at(self, place: int, count: int) -> bytes:
        self.file.seek(max(0, place))
        return self.file.read(count)

    def tail(self) -> bytes:
        return self.at(self.size - _TAIL, _TAIL)


def ending_of(path: Path, container: str, stream: int) -> Ending:
    """The end of a file.

    Args:
        container: as FFmpeg calls it.
        stream: the number that the container gives to the video, such as the PID in a transport stream.
    """
    look = next((look for name, look in _LOOKS.items() if name in container), None)
    if look is None:
        return Ending(State.UNKNOWN)
    with path.open("rb") as file:
        return look(_File(file, path.stat().st_size, stream))


def _by_length(end: int | None, size: int) -> Ending:
    """``end``: where the container says that it ends."""
    if end is None:
        return Ending(State.UNKNOWN)
    return Ending(State.WHOLE if end <= size else State.BROKEN)


def _boxes(file: _File) -> Ending:
    """mp4 and mov are boxes one after the other; each begins with its length and its name."""
    at = 0
    while at + 8 <= file.size:
        head = file.at(at, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8 or not _BOX.fullmatch(name):  # 0: up to the end, whatever that is
            return Ending(State.UNKNOWN)
        at += length
    return Ending(State.WHOLE if at == file.size else State.BROKEN)


def _segment(file: _File) -> Ending:
    """Matroska is a header and a segment, each with its length; a recording that goes on has a length of ones."""
    head = file.at(0, 4096)
    begin, length = _ebml(head, 4)
    if begin is None or length is None or head[begin + length :][:4] != b"\x18\x53\x80\x67":
        return Ending(State.UNKNOWN)
    begin, length = _ebml(head, begin + length + 4)
    return _by_length(None if begin is None or length is None else begin + length, file.size)


def _ebml(data: bytes, at: int) -> tuple[int | None, int | None]:
    """Where the content begins whose length stands at ``at``, and that length: its first byte says how long it is."""
    if at >= len(data) or not data[at]:
        return None, None
    count = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + count], "big") & ((1 << 7 * count) - 1)
    return at + count, None if value == (1 << 7 * count) - 1 else value


def _riff(file: _File) -> Ending:
    """AVI is chunks with their lengths; those of a recording that was never finished are 0."""
    at = 0
    while at + 8 <= file.size:
        head = file.at(at, 8)
        length = int.from_bytes(head[4:], "little")
        if length in (0, 0xFFFFFFFF) or head[:4] not in (b"RIFF", b"JUNK"):
            return Ending(State.WHOLE if at and length else State.UNKNOWN)
        at += 8 + length + length % 2
    return _by_length(at - 1, file.size)  # the last may lack the byte that makes its length even


def _tags(file: _File) -> Ending:
    """FLV names its length at the beginning, and behind each tag stands that of the tag."""
    head = file.at(0, 4096)
    named = head.find(b"\x00\x08filesize\x00")
    if named >= 0:
        from struct import unpack

        promised = unpack(">d", head[named + 11 : named + 19])[0]
        if promised:
            return _by_length(int(promised), file.size)
    length = int.from_bytes(file.at(file.size - 4, 4), "big")
    tag = file.at(file.size - 4 - length, 4) if 11 <= length < file.size else b"\x00"
    whole = tag[0] in (8, 9, 18) and int.from_bytes(tag[1:], "big") + 11 == length
    return Ending(State.UNKNOWN if whole else State.BROKEN)


def _transport(file: _File) -> Ending:
    """A picture is cut into packets of 188 bytes; the last of these is stuffed, as it has less to carry."""
    head = file.at(0, 4 * 192)
    places = [(at, step) for at, step in ((0, 188), (4, 192)) if head[at::step][:4] == b"\x47" * 4]
    if not places:
        return Ending(State.UNKNOWN)
    at, step = places[0]
    even = file.size % step == 0
    last = file.size // step * step
    for packet in range(last - step + at, max(0, last - _TAIL), -step):
        data = file.at(packet, 6)
        if data[:1] == b"\x47" and int.from_bytes(data[1:3], "big") & 0x1FFF == file.stream:
            stuffed = data[3] & 0x20 and _stuffing(data[4], data[5])
            return Ending(State.UNKNOWN if even and stuffed else State.BROKEN, torn=not stuffed)
    return Ending(State.UNKNOWN if even else State.BROKEN, torn=not even)


def _stuffing(length: int, flags: int) -> bool:
    """Whether the field before a packet's content is longer than what its flags announce."""
    clocks = 6 * (flags >> 4 & 1) + 6 * (flags >> 3 & 1) + (flags >> 2 & 1)
    return length == 0 or (not flags & 3 and length > 1 + clocks)


def _program(file: _File) -> Ending:
    """A program stream is packs of packets with their lengths, and may end with a mark."""
    data = file.tail()
    if data.rstrip(b"\0\xff").endswith(b"\x00\x00\x01\xb9"):
        return Ending(State.WHOLE)
    at = data.rfind(b"\x00\x00\x01\xba")
    if at < 0:
        return Ending(State.UNKNOWN)
    while at + 6 <= len(data) and data[at : at + 3] == b"\x00\x00\x01":
        if data[at + 3] != 0xBA:
            at += 6 + int.from_bytes(data[at + 4 : at + 6], "big")
        elif data[at + 4] & 0xC0 == 0x40:  # MPEG-2
            at += 14 + (data[at + 13] & 7 if at + 13 < len(data) else 1)
        else:
            at += 12
    broken = at != len(data)
    return Ending(State.BROKEN if broken else State.UNKNOWN, torn=broken)


def _pages(file: _File) -> Ending:
    """Every stream of an Ogg file ends with a page that says so; a page lists the lengths of its segments."""
    data = file.tail()
    at = data.rfind(b"OggS")
    if at < 0 or at + 27 > len(data):
        return Ending(State.BROKEN)
    segments = data[at + 27 : at + 27 + data[at + 26]]
    last = len(segments) == data[at + 26] and data[at + 5] & 4
    return _by_length(at + 27 + len(segments) + sum(segments) if last else len(data) + 1, len(data))


def _asf(file: _File) -> Ending:
    """WMV names its length in its head, unless it was sent while it was recorded."""
    head = file.at(0, 1 << 16)
    at = head.find(_ASF_FILE)
    if at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return Ending(State.UNKNOWN)
    return _by_length(int.from_bytes(head[at + 40 : at + 48], "little"), file.size)


def _mxf(file: _File) -> Ending:
    """MXF ends with an index of its parts, whose length stands at the very end."""
    length = int.from_bytes(file.at(file.size - 4, 4), "big")
    begin = file.at(file.size - length, len(_MXF_INDEX)) if length < file.size else b""
    return Ending(State.WHOLE if begin == _MXF_INDEX else State.BROKEN)


def _ivf(file: _File) -> Ending:
    """IVF is frames behind a header each, which begins with the length."""
    at = int.from_bytes(file.at(6, 2), "little") or 32
    while at < file.size:
        head = file.at(at, 4)
        at += 12 + int.from_bytes(head, "little")
    return Ending(State.UNKNOWN if at == file.size else State.BROKEN)


_LOOKS: dict[str, Callable[[_File], Ending]] = {  # by a part of FFmpeg's name of the container
    "mp4": _boxes,
    "matroska": _segment,
    "avi": _riff,
    "flv": _tags,
    "mpegts": _transport,
    "mpeg": _program,
    "ogg": _pages,
    "asf": _asf,
    "mxf": _mxf,
    "ivf": _ivf,
}
