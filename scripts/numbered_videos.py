"""Small videos of pictures that say their own number: every container, codec and kind of group, and odd files too."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

FRAMES, FPS = 40, 30
HEIGHT, WIDTH, BLOCK = 96, 128, 16  # the smallest size that every codec here takes
BITS = 12


def picture(number: int) -> UInt8[np.ndarray, "96 128 3"]:
    """A number as 12 black and white blocks, below them the inverted bits, and all of that twice."""
    bits = [number >> k & 1 for k in range(BITS)]
    cells = np.array([*bits, *(1 - bit for bit in bits)] * 2, np.uint8).reshape(
        HEIGHT // BLOCK, WIDTH // BLOCK
    )
    grey = (20 + 215 * cells).repeat(BLOCK, 0).repeat(BLOCK, 1)
    return np.repeat(grey[..., None], 3, -1)


def number_in(frame: UInt8[np.ndarray, "96 128 3"]) -> int | None:
    """The number that a picture says; None for a mixture of pictures, for noise and for another size."""
    if frame.shape != (HEIGHT, WIDTH, 3):
        return None
    inner = frame[..., 1].reshape(HEIGHT // BLOCK, BLOCK, WIDTH // BLOCK, BLOCK)[:, 4:12, :, 4:12]
    cells = (inner.mean((1, 3)) > 128).reshape(4, BITS)
    if not ((cells[0] == cells[2]).all() and (cells[1] == ~cells[0]).all() and (cells[3] == cells[1]).all()):
        return None
    return int((cells[0] << np.arange(BITS)).sum())


@dataclass(frozen=True)
class Coding:
    """How pictures become packets: the arguments of ffmpeg's encoder, and the containers that take the packets."""

    encoder: str
    options: str
    containers: tuple[str, ...]
    pixels: str = "yuv420p"


def _x264(more: str) -> str:
    return f"-crf 18 -preset veryfast -x264-params scenecut=0:b-adapt=0:{more}"


def _x265(more: str) -> str:
    return f"-crf 20 -preset veryfast -x265-params log-level=none:scenecut=0:b-adapt=0:pools=1:{more}"


H264 = ("mp4", "fmp4", "mov", "mkv", "ts", "m2ts", "avi", "flv", "3gp", "mpg", "h264")
H265 = ("mp4", "fmp4", "mov", "mkv", "ts", "mpg", "hevc")
SOME = ("mp4", "fmp4", "mkv", "ts", "flv")
CODINGS = {
    "H.264 closed": Coding("libx264", _x264("keyint=12:bframes=2"), H264),
    "H.264 open": Coding("libx264", _x264("keyint=12:bframes=3:open-gop=1"), H264),
    "H.264 B-pyramid": Coding("libx264", _x264("keyint=20:bframes=7:b-pyramid=normal:ref=4"), H264),
    "H.264 without B": Coding("libx264", _x264("keyint=12:bframes=0"), SOME),
    "H.264 one long group": Coding("libx264", _x264("keyint=1000:bframes=2"), SOME),
    "H.264 intra refresh": Coding("libx264", _x264("keyint=10:bframes=0:ref=1:intra-refresh=1"), H264[:-1]),
    "H.264 all key": Coding("libx264", _x264("keyint=1"), SOME),
    "H.264 interlaced": Coding("libx264", _x264("keyint=12:bframes=2:tff=1"), SOME),
    "H.265 closed": Coding("libx265", _x265("keyint=12:bframes=3:open-gop=0"), H265),
    "H.265 open (RASL)": Coding("libx265", _x265("keyint=12:bframes=4:open-gop=1"), H265),
    "H.265 RADL": Coding("libx265", _x265("keyint=12:bframes=4:open-gop=0:radl=2"), H265),
    "H.265 groups of 2": Coding("libx265", _x265("keyint=2:min-keyint=2"), SOME[:-1]),
    "H.265 intra refresh": Coding("libx265", _x265("keyint=12:bframes=0:intra-refresh=1"), SOME[:-1]),
    "MPEG-1": Coding("mpeg1video", "-q:v 4 -g 12 -bf 2", ("mpg", "mkv", "avi")),
    "MPEG-2": Coding("mpeg2video", "-q:v 4 -g 12 -bf 2", ("mpg", "ts", "m2ts", "mkv", "mp4", "mxf", "m2v")),
    "MPEG-2 closed": Coding(
        "mpeg2video", "-q:v 4 -g 12 -bf 2 -flags +cgop -sc_threshold 1000000000", ("mpg", "ts", "mkv")
    ),
    "MPEG-4": Coding("mpeg4", "-q:v 4 -g 12", ("mp4", "avi", "mkv", "3gp", "ts", "m4v")),
    "MPEG-4 with B": Coding("mpeg4", "-q:v 4 -g 12 -bf 2", ("mp4", "avi", "mkv", "ts", "m4v")),
    "VP8": Coding("libvpx", "-b:v 400k -g 12 -auto-alt-ref 1 -lag-in-frames 12", ("webm", "ivf")),
    "VP9": Coding("libvpx-vp9", "-b:v 400k -g 12 -cpu-used 8 -row-mt 0", ("webm", "mp4", "ivf")),
    "AV1": Coding("libsvtav1", "-crf 30 -g 12 -preset 12", ("mp4", "fmp4", "webm", "mkv", "ivf", "obu")),
    "ProRes": Coding("prores_ks", "", ("mov", "mkv"), "yuv422p10le"),
    "MJPEG": Coding("mjpeg", "-q:v 3", ("avi", "mov", "mkv"), "yuvj420p"),
    "Theora": Coding("libtheora", "-q:v 7 -g 12", ("ogv", "mkv")),
    "WMV 8": Coding("wmv2", "-q:v 4 -g 12", ("wmv", "avi")),
    "WMV 7": Coding("wmv1", "-q:v 4 -g 12", ("wmv",)),
    "FFV1": Coding("ffv1", "-g 12", ("mkv", "avi")),
    "Sorenson": Coding("flv", "-q:v 4 -g 12", ("flv",)),
    "H.263": Coding("h263", "-q:v 4 -g 12", ("3gp",)),
}
# container -> the muxer's arguments, where its name is not enough, and the ending of the file
_HEADED = "-bsf:v dump_extra=freq=keyframe"  # parameter sets at every key frame, as such streams have them
MUXERS = {
    "fmp4": ("-movflags +frag_keyframe+empty_moov+default_base_moof", "mp4"),
    "ts": (f"{_HEADED} -f mpegts", "ts"),
    "m2ts": (f"{_HEADED} -f mpegts -mpegts_m2ts_mode 1", "m2ts"),
    "mpg": (f"{_HEADED} -f vob", "mpg"),
    "m2v": ("-f mpeg2video", "m2v"),
    **{bare: (_HEADED, bare) for bare in ("h264", "hevc", "m4v")},
    "wmv": ("-f asf", "wmv"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        shown: the numbers of the pictures that a player shows, in order.
        make: writes the file to a path.
    """

    coding: str
    container: str
    shown: tuple[int, ...]
    make: Callable[[Path], None]

    @property
    def name(self) -> str:
        """Coding and container."""
        return f"{self.coding}, {self.container}"

    def file_in(self, folder: Path) -> Path:
        """The file, made where it is not there yet."""
        ending = MUXERS.get(self.container, ("", self.container))[1]
        path = folder / f"{''.join(c if c.isalnum() else '_' for c in self.name)}.{ending}"
        if not path.exists():
            part = path.with_name(f"partial.{ending}")
            self.make(part)
            part.rename(path)
        return path


def ffmpeg(*words: object, feed: bytes | None = None) -> None:
    """Run ffmpeg. Raises RuntimeError with its message."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-threads", "1", *map(str, words)]
    done = subprocess.run(command, input=feed, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode("utf-8", "replace").strip())


def encode(path: Path, coding: Coding, numbers: range, muxer: str = "nut") -> Path:
    """Pictures as a file; NUT keeps every time stamp as it is."""
    if not path.exists():
        part = path.with_name(f"partial_{path.name}")
        feed = b"".join(picture(number).tobytes() for number in numbers)
        source = f"-f rawvideo -pix_fmt rgb24 -s {WIDTH}x{HEIGHT} -r {FPS} -i -".split()
        coded = f"-c:v {coding.encoder} -pix_fmt {coding.pixels} {coding.options} -f {muxer}".split()
        ffmpeg(*source, *coded, part, feed=feed)
        part.rename(path)
    return path


def _plain(coding: str, container: str, path: Path) -> None:
    source = encode(path.parent / f"{coding.replace(' ', '_')}.nut", CODINGS[coding], range(FRAMES))
    ffmpeg("-i", source, "-c", "copy", *MUXERS.get(container, ("", ""))[0].split(), path)


def plain_kinds() -> Iterator[Kind]:
    """Every coding in every container that takes it."""
    shown = tuple(range(FRAMES))
    for name, coding in CODINGS.items():
        for container in coding.containers:
            yield Kind(name, container, shown, partial(_plain, name, container))
