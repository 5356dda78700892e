"""Camera paths in the text format of RealEstate10k, with a line for each frame, read and written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.datasets.side_files import encoding_of, read_text
from vidjacobi.errors import BadInput, number_of

FIELDS = 19  # a timestamp, fx fy cx cy, two zeros, and a 3 x 4 matrix row by row


@dataclass(frozen=True)
class Cameras:
    """The cameras of a clip, frame by frame.

    Attributes:
        url: where the video was published; may be empty.
        timestamps: microseconds, rising.
        intrinsics: fx, fy, cx, cy, in units of the picture's width (fx, cx) and height (fy, cy).
        world_to_camera: [R | t] with OpenCV's camera axes (x right, y down, z forward). Every clip has a scale of its
            own.
    """

    url: str
    timestamps: Int[Tensor, " n"]
    intrinsics: Float[Tensor, "n 4"]
    world_to_camera: Float[Tensor, "n 3 4"]

    def __len__(self) -> int:
        return len(self.timestamps)

    def at(self, start: int, count: int, stride: int = 1) -> "Cameras":
        """The ``count`` cameras of frames start, start + stride, ... Raises BadInput where there are fewer."""
        if start < 0 or count < 1 or stride < 1 or start + (count - 1) * stride >= len(self):
            raise BadInput(
                f"{number_of(count, 'camera')} needed from frame {start} on with stride {stride}, "
                f"but there are {len(self)}"
            )
        part = slice(start, start + (count - 1) * stride + 1, stride)
        return Cameras(self.url, self.timestamps[part], self.intrinsics[part], self.world_to_camera[part])

    def fps(self) -> float | None:
        """The mean frame rate according to the timestamps; None for a single frame."""
        if len(self) < 2:
            return None
        return (len(self) - 1) * 1e6 / float(self.timestamps[-1] - self.timestamps[0])


def read_cameras(path: str | Path) -> Cameras:
    """Parse a pose file: a line with the address of the video, then 19 numbers for each frame. Raises BadInput.

    Format: https://google.github.io/realestate10k/download.html
    """
    path = Path(path)
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: this pose file cannot be read: {error}") from error
    if lines and lines[0].startswith("version https://git-lfs"):
        raise BadInput(f"{path}: a git-lfs pointer, not the pose file; run `git lfs pull` in its repository")
    # A file without the line with the address is accepted too.
    url = lines.pop(0).strip() if lines and not _is_camera(lines[0]) else ""
    rows = [(number, line.split()) for number, line in enumerate(lines, 2 if url else 1) if line.strip()]
    if not rows:
        raise BadInput(f"{path}: no camera in this pose file; a line of {FIELDS} numbers per frame is needed")
    for number, fields in rows:
        if len(fields) != FIELDS:
            raise BadInput(f"{path}, line {number}: {len(fields)} fields instead of {FIELDS}")
    try:
        stamps = torch.tensor([int(fields[0]) for _, fields in rows])
        table = torch.tensor([[float(f) for f in fields[1:]] for _, fields in rows], dtype=torch.float64)
        return cameras_of_table(url, stamps, table)
    except (ValueError, OverflowError, RuntimeError) as error:  # the last: more than 64 bits
        raise BadInput(f"{path}: not a pose file of RealEstate10k: {error}") from error


def looks_like_cameras(path: Path) -> bool:
    """Whether one of the first two lines of a file is a camera, as in a pose file."""
    if not path.is_file():
        return False
    try:
        with path.open(encoding=encoding_of(path), errors="replace") as file:
            lines = file.read(2000).splitlines()[:2]
    except OSError:
        return False
    return any(map(_is_camera, lines))


def cameras_of_table(url: str, timestamps: Int[Tensor, " n"], table: Float[Tensor, "n 18"]) -> Cameras:
    """Cameras from the 18 columns after the timestamp, which pixelSplat's chunks hold too. Raises ValueError."""
    if not bool(table.isfinite().all()):
        raise ValueError("a number in it is not finite")
    if bool((timestamps.diff() <= 0).any()):
        raise ValueError("its timestamps do not rise from line to line")
    # columns: 0-3 fx fy cx cy, 4-5 zeros, 6-17 the matrix
    table = table.double()
    return Cameras(url, timestamps.long(), table[:, :4], table[:, 6:].reshape(-1, 3, 4))


def table_of_cameras(cameras: Cameras) -> Float[Tensor, "n 18"]:
    """The 18 columns after the timestamp; the inverse of ``cameras_of_table``."""
    zeros = cameras.intrinsics.new_zeros(len(cameras), 2)
    return torch.cat([cameras.intrinsics, zeros, cameras.world_to_camera.flatten(1)], 1)


def write_cameras(path: str | Path, cameras: Cameras) -> None:
    """Write a pose file with 9 digits after the decimal point, as the official ones have."""
    rows = zip(cameras.timestamps.tolist(), np.asarray(table_of_cameras(cameras)), strict=True)
    lines = [" ".join([str(stamp), *(f"{value:.9f}" for value in row)]) for stamp, row in rows]
    Path(path).write_text("\n".join([cameras.url, *lines]) + "\n", "utf-8")


def _is_camera(line: str) -> bool:
    fields = line.split()
    return len(fields) == FIELDS and fields[0].isdecimal()
