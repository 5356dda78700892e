"""The last frames of a file whose end may be missing, decompressed: how many of them are incomplete or lost."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vidjacobi.video.packets import Start
from vidjacobi.video.stream import decoded, open_stream, packets_of
from vidjacobi.video.units import Bits, between_start_codes

_BARE = frozenset({"h264", "hevc", "mpegvideo"})
_HEAD = 4096  # bytes
_MORE = b"\xa5" * 64
_LAST = 8  # frames at the end of which all must be whole; what is damaged before them is no end


def bad_from(whole: Sequence[bool]) -> int:
    """How many frames at the end are to be left out, from the first of the last ones on that is not whole."""
    last = whole[-_LAST:]
    return len(last) - last.index(False) if False in last else 0


def bad_at_end(path: Path, starts: Sequence[Start], stamps: Sequence[int]) -> int:
    """How many of the last frames are to be left out, as they or frames before them cannot be decompressed whole.

    Args:
        starts: where reading may begin.
        stamps: of all frames in the order of display, increasing.
    """
    near = stamps[-_LAST] if len(stamps) > _LAST else stamps[0]
    start = max((s for s in starts if s.shown <= near), key=lambda s: s.shown, default=None)
    with open_stream(path, threads=False) as (container, stream):
        frames = decoded(stream, _from(container, stream, start), damage=[])
        found = {frame.pts: not frame.is_corrupt for frame in frames}
    first = stamps[0] if start is None else start.shown
    expected = [stamp for stamp in stamps if stamp >= first]
    if found.keys().isdisjoint(expected):
        return 0  # other stamps than promised, which each read will find out
    return bad_from([found.get(stamp, False) for stamp in expected])


def _from(container: InputContainer, stream: VideoStream, start: Start | None) -> Iterator[av.Packet]:
    """The packets from a start on. They are counted off from the beginning, as no seek is sure to find it."""
    begun = start is None
    for packet in packets_of(container, stream):
        begun = begun or (packet.pts == start.shown and packet.is_keyframe)  # type: ignore[union-attr]
        if begun:
            yield packet


def last_is_torn(path: Path, container: str) -> bool:
    """Whether the last packet of a bare stream is a part of one only, which its decoder does not say.

    A part may give no picture at all. Or more bytes behind it become the rest of its picture, while they mean nothing
    behind the end of a whole one: so it is with arithmetic coding.
    """
    if container not in _BARE:
        return False
    with open_stream(path, threads=False) as (opened, stream):
        groups: deque[list[bytes]] = deque([[]], maxlen=2)  # a picture may need the group before its own
        for packet in packets_of(opened, stream):
            if packet.is_keyframe:
                groups.append([])
            groups[-1].append(bytes(packet))
    *others, last = chain.from_iterable(groups) if groups[-1] else [b""]
    pictures = _pictures(path, [*others, last])
    # of H.264 the last packet may be the second field of a picture
    if container != "h264" and len(pictures) <= len(_pictures(path, others)):
        return True
    arithmetic = container == "hevc" or (container == "h264" and _arithmetic([*others, last]))
    return arithmetic and pictures != _pictures(path, [*others, last + _MORE])


def _arithmetic(packets: Sequence[bytes]) -> bool:
    """entropy_coding_mode_flag of all picture parameter sets of H.264 (7.3.2.2)."""
    flags = []
    for packet in packets:
        for unit in between_start_codes(packet[:_HEAD]):
            if unit[0] & 31 == 8:
                bits = Bits(unit[1:])
                with suppress(IndexError):  # it is cut off
                    bits.ue()
                    bits.ue()
                    flags.append(bits.u(1))
    return bool(flags) and all(flags)


def _pictures(path: Path, packets: Sequence[bytes]) -> list[bytes]:
    with open_stream(path, threads=False) as (_, stream):
        frames = decoded(stream, map(av.Packet, packets), damage=[])
        return [frame.to_ndarray().tobytes() for frame in frames]
