"""Tiny clips and batches of them. ``tiny_pair`` takes 33 frames at once, 8 a latent frame."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from vidjacobi.batch.config import load_plan
from vidjacobi.batch.items import Shard
from vidjacobi.batch.manifest import Log, Row, State, merged
from vidjacobi.batch.outputs import open_out
from vidjacobi.batch.pipeline import Run, Tools
from vidjacobi.batch.worker import listing, load_pair
from vidjacobi.datasets.timed import TimedReader
from vidjacobi.loading import Pair
from vidjacobi.video_io import write_video

FRAMES = (20, 25, 9)  # of the clips; the last is too short for 9 + 7
COMMAND = [sys.executable, "-m", "vidjacobi.cli"]


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


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three videos."""
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def flags(clips: Path, tiny_pair: Path) -> dict[str, Any]:
    """A batch of 7 frames behind 9, two futures of a clip from every 8th frame: 6 futures."""
    return {
        **{"data": str(clips), "model": str(tiny_pair), "context": 9, "frames": 7},
        **{"samples": 2, "starts": "every:8", "output": "tokens", "decoder": "pathwise", "window": 6},
    }


Batch = Callable[..., dict[tuple[str, int | None, int | None], Row]]


@pytest.fixture(scope="session")
def reader() -> Iterator[TimedReader]:
    """One for all: starting it takes a second."""
    with TimedReader() as timed:
        yield timed


@pytest.fixture
def batch(reader: TimedReader) -> Batch:
    """Run a batch in this process: its rows by item."""
    pairs: dict[str, Pair] = {}

    def run(out: Path, shard: Shard | None = None, **flags: Any) -> dict[Any, Row]:
        plan = load_plan("default", flags)
        outputs, model = open_out(out, plan), plan.config.model
        pairs[model] = pairs.get(model) or load_pair(plan.config, "cpu")
        with closing(Log(out)) as log:
            tools = Tools(plan, pairs[model], outputs, log, lambda row: None, lambda line: None)
            Run(tools).over((shard or Shard()).of(listing(plan.config)), State(out), reader)
        return {row.item: row for row in merged(out)}

    return run


def words_of(flags: dict[str, Any], out: Path) -> list[str]:
    """The same for the command line."""
    words = ["batch", flags["data"], "--out", str(out)]
    for name, value in flags.items():
        if name != "data":
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def environment() -> dict[str, str]:
    """Of a command that is started."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command; it is ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(words: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *words],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def hashes(rows: dict[Any, Row]) -> dict[Any, str | None]:
    """Token hashes of what is done."""
    return {item: row.tokens_sha256 for item, row in rows.items() if row.status == "done"}


def rows_of(out: Path) -> dict[Any, Row]:
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
