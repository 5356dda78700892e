"""Clips made on the spot for the reader's and the writer's tests; nothing binary lies in the repository."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def moving(total: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Smooth frames [T H W 3], no two alike, that survive lossy codecs well."""
    t, y, x = np.mgrid[:total, :height, :width]
    planes = [x * 2 + t * 9, y * 3 + t * 5, (x + y) + t * 7]
    return np.stack([127 + 100 * np.sin(p / 40) for p in planes], -1).astype(np.uint8)


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: Fraction | int = 24,
    stamps: list[int] | None = None,
    **options: str,
) -> Path:
    """Write frames with PyAV; `stamps` are presentation times in milliseconds for a variable rate."""
    muxer = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps:
                frame.pts, frame.time_base = stamps[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_all(path: Path) -> np.ndarray:
    """Oracle: every frame in order, the plainest way."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for i in range(5):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 44100, i * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Patch the display matrix of an mp4's track header: x' = a x + c y, y' = b x + d y."""
    data = bytearray(path.read_bytes())
    box = data.find(b"tkhd")
    start = box + 8 + (20 if data[box + 4] == 0 else 32) + 16
    one = 1 << 16
    data[start : start + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b.astype(float)) ** 2))))
