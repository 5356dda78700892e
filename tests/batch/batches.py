"""Tiny clips and batches of them. ``tiny_pair`` takes 33 frames at once, 8 a latent frame."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vidjacobi.batch.manifest import ManifestRow, merged
from vidjacobi.video.clips import write_video

FRAMES = (20, 25, 9)  # of the clips; the last is too short for 9 + 7
Batch = Callable[..., dict[tuple[str, int | None, int | None], ManifestRow]]
COMMAND = [sys.executable, "-m", "vidjacobi"]


def clip(seed: int, frames: int) -> torch.Tensor:
    """uint8 [T 32 48 3]: stripes that move."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(0, 255, (8, 12, 3), generator=generator, dtype=torch.uint8)
    big = base.repeat_interleave(4, 0).repeat_interleave(4, 1)
    return torch.stack([big.roll(2 * t, 1) for t in range(frames)])


def write_clips(folder: Path, lengths: tuple[int, ...] = FRAMES) -> Path:
    """a.mp4, b.mp4 ... with so many frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frames in enumerate(lengths):
        write_video(folder / f"{chr(97 + index)}.mp4", clip(index, frames), 10)
    return folder


def words_of(flags: dict[str, Any], out: Path) -> list[str]:
    """The same for the command line."""
    words = ["batch", flags["data"], "--out", str(out)]
    for name, value in flags.items():
        if name != "data":
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def environment() -> dict[str, str]:
    """The environment of a command that is started: one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def hashes(rows: dict[Any, ManifestRow]) -> dict[Any, str | None]:
    """Token hashes of what is done."""
    return {item: row.tokens_sha256 for item, row in rows.items() if row.status == "done"}


def rows_of(out: Path) -> dict[Any, ManifestRow]:
    """The merged rows of a folder."""
    return {row.item: row for row in merged(out)}


def log_lines(out: Path) -> list[dict[str, Any]]:
    """All lines of all logs, torn ones left out."""
    lines = [line for path in (out / "log").glob("*.jsonl") for line in path.read_text().splitlines()]
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
