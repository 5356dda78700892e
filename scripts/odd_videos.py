"""Video files as they are found and not as they should be, of pictures that say their own number."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
from numbered_videos import CODINGS, FRAMES, HEIGHT, WIDTH, Coding, Kind, encode, ffmpeg, picture

FIRST = 7  # packets that are missing at the beginning of a file that was cut
PLAIN = Coding("libx264", "-crf 18 -preset veryfast -g 12 -bf 2 -x264-params scenecut=0:b-adapt=0", ())
OPEN = {
    "H.264": Coding("libx264", CODINGS["H.264 open"].options, ()),
    "H.265": Coding("libx265", CODINGS["H.265 open (RASL)"].options, ()),
    "MPEG-2": Coding("mpeg2video", "-q:v 4 -g 12 -bf 2", ()),
}
FORMATS = {"ts": "mpegts", "mkv": "matroska", "mp4": "mp4"}


def odd_kinds() -> Iterator[Kind]:
    """Kinds of files with something odd about them."""
    whole = tuple(range(FRAMES))
    for ending in FORMATS:
        yield Kind(
            "H.264 from between key frames", ending, tuple(range(12, FRAMES)), partial(_late, PLAIN, FIRST)
        )
    mpeg4 = Coding("mpeg4", "-q:v 4 -g 12", ())
    yield Kind("MPEG-4 from between key frames", "ts", tuple(range(12, FRAMES)), partial(_late, mpeg4, FIRST))
    for codec, coding in OPEN.items():
        # It begins with the second key frame, and the pictures displayed before that lack their references.
        for ending in ("ts", "mkv"):
            yield Kind(
                f"{codec} from an open key frame", ending, tuple(range(12, FRAMES)), partial(_late, coding, 0)
            )
    joined = (*range(20), *range(20))
    yield Kind("H.264 joined, the clock restarts", "ts", joined, _joined)
    for ending in ("mp4", "mkv"):
        yield Kind("H.264 with times in storing order", ending, whole, _times_as_stored)
    yield Kind("H.264 with a repeated time", "mkv", whole, _one_time_twice)
    yield Kind("H.264 cut by an edit list", "mp4", tuple(range(15, FRAMES)), _edit_list)
    for ending in ("h264", "ts", "mkv", "mp4"):
        yield Kind("H.264 field-coded", ending, whole, _field_coded)


def _copy(source: Path, path: Path, change: Callable[[int, av.Packet], bool]) -> None:
    """Copy packets without encoding them again. ``change`` may alter each, and says whether it is kept."""
    with av.open(str(source)) as old, av.open(str(path), "w", format=FORMATS[path.suffix[1:]]) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(p for p in old.demux(video=0) if p.size):
            if change(number, packet):
                packet.stream = stream
                new.mux(packet)


def _source(coding: Coding, path: Path) -> Path:
    # A transport stream repeats its parameter sets at every key frame, so that it can be entered anywhere.
    return encode(
        path.parent / f"{coding.encoder}{sum(coding.options.encode())}_source.ts",
        coding,
        range(FRAMES),
        "mpegts",
    )


def _late(coding: Coding, first: int, path: Path) -> None:
    """Without the ``first`` packets, or for 0 without those before the second key frame."""
    keys: list[int] = []

    def kept(number: int, packet: av.Packet) -> bool:
        if packet.is_keyframe:
            keys.append(number)
        return number >= first if first else len(keys) > 1

    _copy(_source(coding, path), path, kept)


def _joined(path: Path) -> None:
    short = encode(path.parent / "short_source.ts", PLAIN, range(20), "mpegts")
    path.write_bytes(short.read_bytes() * 2)


def _times_as_stored(path: Path) -> None:
    source = encode(path.parent / "plain_source.mp4", PLAIN, range(FRAMES), "mp4")

    def as_stored(number: int, packet: av.Packet) -> bool:
        packet.pts = packet.dts = 512 * number
        return True

    _copy(source, path, as_stored)


def _one_time_twice(path: Path) -> None:
    source = encode(path.parent / "without_b_source.mp4", CODINGS["H.264 without B"], range(FRAMES), "mp4")
    last = [0]

    def twice(number: int, packet: av.Packet) -> bool:
        if number == 21:
            packet.pts = packet.dts = last[0]
        last[0] = int(packet.pts or 0)
        return True

    _copy(source, path, twice)


def _edit_list(path: Path) -> None:
    source = encode(path.parent / "plain_source.mp4", PLAIN, range(FRAMES), "mp4")
    ffmpeg("-ss", 0.5, "-i", source, "-c", "copy", path)


class _Bits:
    """A unit of H.264 bit by bit: u(n) and the Exp-Golomb numbers ue and se of the standard."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def u(self, *widths_and_values: tuple[int, int]) -> "_Bits":
        for width, value in widths_and_values:
            self._bits += [value >> (width - 1 - k) & 1 for k in range(width)]
        return self

    def ue(self, *values: int) -> "_Bits":
        for value in values:
            self.u((2 * (value + 1).bit_length() - 1, value + 1))
        return self

    def raw(self, data: bytes) -> "_Bits":
        self._align()
        self._bits += np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
        return self

    def unit(self, head: int) -> bytes:
        self._bits.append(1)
        self._align()
        data = np.packbits(np.array(self._bits, np.uint8)).tobytes()
        out, zeros = bytearray([head]), 0
        for byte in data:  # 00 00 03 stands for 00 00, so that no start code can appear within a unit
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = 0 if byte else zeros + 1
        return b"\x00\x00\x00\x01" + bytes(out)

    def _align(self) -> None:
        self._bits += [0] * (-len(self._bits) % 8)


def _field_coded(path: Path) -> None:
    """Frames of two pictures each, one for each field, as AVCHD cameras write them; all samples raw."""
    bare = path.parent / "fields_source.h264"
    if not bare.exists():
        bare.write_bytes(b"".join(_fields(number) for number in range(FRAMES)))
    ffmpeg(
        "-f",
        "h264",
        "-r",
        50,
        "-i",
        bare,
        "-c",
        "copy",
        *(("-f", FORMATS["ts"]) if path.suffix == ".ts" else ()),
        path,
    )


def _fields(number: int) -> bytes:
    sps = _Bits().u((8, 77), (8, 0), (8, 30)).ue(0, 0, 2, 1).u((1, 0)).ue(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    # not frames only, no adaptive fields within a frame, direct 8x8, no cropping; 50 fields a second
    sps.u((1, 0), (1, 0), (1, 1), (1, 0), (1, 1), (4, 0), (1, 1), (32, 1), (32, 50), (1, 1), (4, 0))
    pps = _Bits().ue(0, 0).u((2, 0)).ue(0, 0, 0).u((3, 0)).ue(0, 0, 0).u((1, 1), (2, 0))
    units = [sps.unit(0x67), pps.unit(0x68)]
    luma = picture(number)[..., 0]
    for bottom in (0, 1):
        # an I slice: frame_num 0, field_pic_flag, which field; the first of a frame is an IDR picture
        head = _Bits().ue(0, 7, 0).u((4, 0), (1, 1), (1, bottom))
        head = head.u((1, 0)) if bottom else head.ue(number % 2).u((1, 0), (1, 0))
        head.ue(0, 1)
        field = luma[bottom::2].reshape(HEIGHT // 32, 16, WIDTH // 16, 16).swapaxes(1, 2).reshape(-1, 256)
        for macroblock in field:
            head.ue(25).raw(macroblock.tobytes() + bytes([128] * 128))  # I_PCM
        units.append(head.unit(0x61 if bottom else 0x65))
    return b"".join(units)
