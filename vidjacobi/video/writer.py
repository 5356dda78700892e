"""Frames to an mp4 that plays in a browser, written at once or growing group by group."""

import math
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from jaxtyping import UInt8

from vidjacobi.errors import BadOutput
from vidjacobi.kinds import of_kind, real
from vidjacobi.output.atomic import replacing

if TYPE_CHECKING:  # the process that reads files from others comes here too, and does without torch
    from vidjacobi.shapes import Frames

_BT709 = 1  # the number of this standard in all colour fields of H.264
_QUALITY = 16  # constant rate factor; about 45 dB on natural pictures
_PRESET = "medium"  # x264's own choice
_FASTEST = 100_000  # frames per second
# Without the first, x264 makes different files of the same frames on processors with AVX-512
# (findings/x264_files_differ.sh); with it all processors weigh blocks by the same functions. Without the others, PyAV
# cuts pictures into a slice for each core, and other cores make other pictures (findings/pyav_slices_by_cores.sh).
REPRODUCIBLE = {"x264-params": "cpu-independent=1", "threads": "4", "thread_type": "frame"}
# A fragmented mp4: a header without frames, then fragments that each say where and when their frames are.
_FRAGMENTED = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof+frag_discont",
    "avoid_negative_ts": "disabled",  # the times of a fragment count from the start of the clip
}
Rgb = UInt8[np.ndarray, "T H W 3"]
Even = UInt8[np.ndarray, "T H2 W2 3"]


def write_video(
    path: str | Path, frames: "Frames", fps: int | float | Fraction, quality: int = _QUALITY
) -> None:
    """Write frames (uint8 RGB [T H W 3]) as an H.264 yuv420p mp4 at `fps`.

    The file appears whole under its name or not at all, and it replaces one that is there. Its size in pixels is
    that of the frames; where a side is odd, the last row or column is repeated. It can play before it is loaded
    (faststart), and its colours are tagged (BT.709, limited range). Rates such as 30000/1001 are kept exactly.
    On x86 processors the same frames give the same file, however many cores there are; others may round colours
    otherwise, by 1 of 255. `quality` is the constant rate factor, 0 to 51; adding six halves the file, roughly.
    Raises BadOutput.
    """
    write_pieces(path, [frames], fps, quality)


def write_pieces(
    path: str | Path,
    pieces: "Iterable[Frames]",
    fps: int | float | Fraction,
    quality: int = _QUALITY,
    preset: str = _PRESET,
) -> None:
    """``write_video`` of frames that come in pieces of one size, of which one is in memory at a time.

    `preset` is x264's: how long it looks for a smaller file.
    """
    path = Path(of_kind("a video", path, (str, Path), "a path"))
    rate, groups = _exact(fps, path), (_pictures(piece, path) for piece in pieces)
    first = next(groups, None)
    if first is None:
        raise BadOutput(f"{path}: there are no frames to write")
    if not path.parent.is_dir():
        raise BadOutput(f"{path}: its folder does not exist")
    with replacing(path) as partial:
        try:
            _encode(partial, chain([first], groups), rate, {"crf": str(quality), "preset": preset})
        except (av.FFmpegError, ValueError) as error:
            raise _refused(path, first, rate, error) from error


class GrowingVideo:
    """An mp4 that plays while it grows: each group of frames is appended as a fragment that is complete by itself.

    What is in the file can be played at any moment, after a crash too. Frames are encoded as by ``write_video``,
    except that every group begins with a key frame and no frame depends on a later one. The first group replaces an
    earlier file of the same name.

    Raises BadOutput, and so does ``add``.
    """

    def __init__(self, path: str | Path, fps: int | float | Fraction, quality: int = _QUALITY) -> None:
        self.path, self.frames = Path(path), 0
        self._rate, self._quality, self._fragments = _exact(fps, self.path), quality, 0

    def add(self, frames: "Frames") -> None:
        """Append a group of at least one frame, of the same size as those before. Raises BadOutput."""
        pictures = _pictures(frames, self.path)
        try:
            boxes = _boxes(self._fragment(pictures))
        except (av.FFmpegError, ValueError) as error:
            raise _refused(self.path, pictures, self._rate, error) from error
        # Every group is encoded to a whole file. The first one is kept as it is; from later ones only the fragment is
        # taken, since all have the same header.
        wanted = ("moof", "mdat") if self._fragments else ("ftyp", "moov", "moof", "mdat")
        self._append(b"".join(content for kind, content in boxes if kind in wanted))
        self.frames += len(pictures)
        self._fragments += 1

    def _append(self, data: bytes) -> None:
        """Write all of ``data`` or none: half a fragment would not play."""
        try:
            with self.path.open("ab" if self._fragments else "wb", buffering=0) as file:
                whole = file.tell()
                try:
                    left = memoryview(data)
                    while left:
                        left = left[file.write(left) :]
                except BaseException:
                    file.truncate(whole)
                    raise
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def _fragment(self, pictures: Rgb) -> bytes:
        """A whole fragmented mp4 of these frames. Its header is the same for every group."""
        buffer = BytesIO()
        options = {**_FRAGMENTED, "fragment_index": str(self._fragments + 1)}
        with av.open(buffer, "w", format="mp4", options=options) as container:
            # No B-frames ("bf": 0): a fragment then begins with its first frame in display order.
            _mux(container, iter([pictures]), self._rate, {"crf": str(self._quality), "bf": "0"}, self.frames)
        return buffer.getvalue()


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(kind, content) of the top-level boxes of an mp4: 4 bytes of length, 4 letters, then the rest."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind.decode(), data[at : at + size]
        at += size


def pad_even(frames: Rgb) -> Even:
    """Frames with even sides: the last row or column is repeated where a side is odd, as yuv420p halves both."""
    return np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")


def _exact(fps: int | float | Fraction, path: Path) -> Fraction:
    fps = fps if isinstance(fps, Fraction) else real("fps", fps)
    rate = Fraction(fps).limit_denominator(1001) if math.isfinite(fps) else Fraction(0)
    if not 0 < rate <= _FASTEST:
        raise BadOutput(
            f"{path}: {fps} frames per second; a positive number is needed, of at most {_FASTEST:,}"
        )
    return rate


def _pictures(frames: "Frames", path: Path) -> Even:
    shape = list(getattr(frames, "shape", []))
    dtype = str(getattr(frames, "dtype", type(frames).__name__))
    if len(shape) != 4 or shape[0] == 0 or shape[-1] != 3 or dtype != "torch.uint8":
        raise BadOutput(f"{path}: uint8 frames [T H W 3] are needed, a torch tensor, not {dtype} {shape}")
    return pad_even(frames.cpu().numpy())


def _refused(path: Path, pictures: Rgb, rate: Fraction, error: Exception) -> BadOutput:
    size = f"{pictures.shape[2]}x{pictures.shape[1]}"
    return BadOutput(f"{path}: the H.264 encoder refused {size} at {float(rate):g} fps: {error}")


def _encode(path: Path, groups: Iterator[Rgb], rate: Fraction, options: dict[str, str]) -> None:
    with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        _mux(container, groups, rate, options)


def _mux(
    container: OutputContainer, groups: Iterator[Rgb], rate: Fraction, options: dict[str, str], first: int = 0
) -> None:
    """Encode groups of pictures into a container. The first picture is frame number ``first`` of the clip."""
    begin = next(groups)
    stream = container.add_stream("libx264", rate=rate, options=REPRODUCIBLE | options)
    stream.height, stream.width = begin.shape[1:3]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = int(ColorRange.MPEG)
    converter = VideoReformatter()  # one for all: a frame's own would set its tables up anew
    for number, picture in enumerate(chain.from_iterable(chain([begin], groups)), first):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = converter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = number, 1 / rate
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
