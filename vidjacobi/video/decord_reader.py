"""Frames by number with decord, where it is known to be right, and compared with PyAV's; refused everywhere else.

decord 0.6 returns other frames than asked for, without a word, from transport and program streams, fragmented mp4,
open groups of pictures and streams with intra refresh. It also may crash or hang, so it runs in a process of its own.
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from vidjacobi.errors import BadInput, number_of
from vidjacobi.video import pyav_reader
from vidjacobi.video.index import VideoIndex
from vidjacobi.video.reader import Pictures

_WORKER = Path(__file__).with_name("decord_worker.py")
_BYTES_PER_SECOND = 10e6  # decord first scans the whole file; this is slow even for a busy machine
# Files for which decord 0.6 was found to give the same bytes as PyAV. Left out are AV1 and GIF (it has no decoder),
# VP8 (it seeks wrongly), and pictures with 10 bits, 4:2:2 or odd sides (it interpolates chroma in another way).
_CODECS = frozenset({"h264", "hevc", "mpeg4", "vp9"})
_FORMATS = frozenset({"yuv420p", "yuvj420p"})
_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})


@dataclass(frozen=True)
class DecordProcess:
    """How decord is run: in a process of its own, because it may crash or hang.

    Attributes:
        package: what must be installed.
        worker: the program, which imports the package.
        seconds: far longer than any read takes, that of a large file excepted; after them the process is killed.
    """

    package: str = "decord"
    worker: Path = _WORKER
    seconds: float = 30.0


DECORD = DecordProcess()


def read(
    path: Path, index: VideoIndex, picks: Int[np.ndarray, " T"], decord: DecordProcess = DECORD
) -> Pictures:
    """Frames by number (repeats allowed). Raises BadInput where decord is not known to be right, or fails."""
    reason = why_not(index, decord)
    if reason:
        raise BadInput(f"{path}: decord is not known to read this file rightly: {reason}; take --reader pyav")
    frames = read_with_decord(path, index, picks, decord)
    ends = np.array([picks.min(), picks.max()])
    checked = pyav_reader.read(path, index, ends)
    for number, picture in zip(ends, checked.frames, strict=True):
        if not np.array_equal(frames[int(np.flatnonzero(picks == number)[0])], picture):
            raise BadInput(f"{path}: decord returns another picture than frame {number}; take --reader pyav")
    if checked.incomplete or checked.spoilt:  # and others between them may be, too
        raise BadInput(
            f"{path}: damaged, and decord does not tell which frames are whole; take --reader pyav"
        )
    return Pictures(frames, checked.notes)


def why_not(index: VideoIndex, decord: DecordProcess = DECORD) -> str:
    """Why decord is not known to give exactly the frames of PyAV for files of this kind; empty if it is."""
    reasons = {
        "decord is not installed (pip install decord)": find_spec(decord.package) is None
        or not sys.executable,
        f"its container is {index.container}": index.container not in _CONTAINERS or index.fragmented,
        f"its codec is {index.codec}": index.codec not in _CODECS,
        f"its pictures are {index.pixel_format}": index.pixel_format not in _FORMATS,
        "its sides are odd": any(side % 2 for side in index.size),
        "it is mirrored": index.orientation.mirrored,
        "its frames can only be told apart by decompressing them": index.counted or not index.stamped,
        "frames are predicted across its key frames": not index.closed,
        "it is cut short": index.missing > 0,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def read_with_decord(
    path: Path, index: VideoIndex, picks: Int[np.ndarray, " T"], decord: DecordProcess = DECORD
) -> UInt8[np.ndarray, "T H W 3"]:
    """Frames by number from a worker process, which is killed when it takes too long. Raises BadInput."""
    # Each frame is asked for once: picks 4 4 6 are the frames 4 6 at the places 0 0 1.
    unique, places = np.unique(picks, return_inverse=True)
    limit = decord.seconds + path.stat().st_size / _BYTES_PER_SECOND
    try:
        with tempfile.TemporaryDirectory(prefix="vidjacobi-") as folder:
            out = Path(folder) / "frames.npz"
            command = [sys.executable, str(decord.worker), str(path.absolute()), str(out), *map(str, unique)]
            done = subprocess.run(command, capture_output=True, timeout=limit, check=False)
            if done.returncode or not out.exists():
                raise _failed(path, _reason(done.stderr) or f"exit status {done.returncode}")
            with np.load(out) as result:
                frames, count, times = result["frames"], int(result["count"]), result["seconds"]
    except subprocess.TimeoutExpired as error:
        raise _failed(path, f"no answer within {limit:g} s") from error
    except OSError as error:
        raise _failed(path, f"its process or its result was refused: {error.strerror}") from error
    # decord and the index must mean the same frames by the same numbers.
    if count != len(index.stamps) or frames.shape[1:3] != index.size:
        raise _failed(path, f"it sees {number_of(count, 'frame')} of {frames.shape[2]}x{frames.shape[1]}")
    if np.abs(times - index.seconds[unique]).max() > 0.25 / float(index.rate):
        raise _failed(path, "its time stamps are others")
    return frames[places]


def _failed(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path}: decord failed: {reason}; take --reader pyav")


def _reason(stderr: bytes) -> str:
    """The last line that a failed worker wrote, without the source location that decord writes before it."""
    # "[12:34:56] /src/video/video_reader.cc:151: [/src/...] message" becomes "message".
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return re.sub(r"^.*\[[\d:]+\] \S+:\d+: (\[.*?\])?", "", lines[-1]).strip()[:120] if lines else ""
