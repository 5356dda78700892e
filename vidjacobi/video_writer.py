"""Frames to an mp4 that plays in a browser."""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from jaxtyping import UInt8

from vidjacobi.atomic import replacing
from vidjacobi.errors import BadOutput
from vidjacobi.shapes import Frames

_BT709 = 1  # the number of the standard in every colour field of H.264
_QUALITY = 16  # constant rate factor; about 45 dB on natural pictures


def write_video(
    path: str | Path, frames: Frames, fps: int | float | Fraction, quality: int = _QUALITY
) -> None:
    """H.264 yuv420p mp4 at `fps`, in its pixels: odd sides get their last row or column once more.

    The file appears whole under its name or not at all, and replaces one that is there. It can start
    to play before it is loaded (faststart), and its colours are tagged (BT.709, limited range).
    Rates such as 30000/1001 are kept exactly. `quality` is the constant rate factor, 0 to 51: six more
    about halve the file. Raises BadOutput.
    """
    path = Path(path)
    rate = _exact(fps, path)
    if frames.shape[0] == 0 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
        raise BadOutput(f"{path}: uint8 frames [T H W 3] are needed, not {frames.dtype} {list(frames.shape)}")
    if not path.parent.is_dir():
        raise BadOutput(f"{path}: its folder does not exist")
    pictures = pad_even(frames.cpu().numpy())
    with replacing(path) as partial:
        try:
            _encode(partial, pictures, rate, quality)
        except (av.FFmpegError, ValueError) as error:
            size = f"{pictures.shape[2]}x{pictures.shape[1]}"
            raise BadOutput(
                f"{path}: the H.264 encoder refused {size} at {float(rate):g} fps: {error}"
            ) from error


def pad_even(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H2 W2 3"]:
    """Repeat the last row and column where a side is odd; yuv420p halves both sides."""
    return np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")


def _exact(fps: int | float | Fraction, path: Path) -> Fraction:
    if not (math.isfinite(fps) and fps > 0):
        raise BadOutput(f"{path}: {fps} frames per second; a positive number is needed")
    return Fraction(fps).limit_denominator(1001)


def _encode(path: Path, pictures: UInt8[np.ndarray, "T H W 3"], rate: Fraction, quality: int) -> None:
    with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(quality)})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = int(ColorRange.MPEG)
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
