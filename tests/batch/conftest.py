"""Fixtures of the batch tests; what they are made of is in ``batches.py``."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from batches import COMMAND, Batch, environment, write_clips

import vidjacobi
from vidjacobi.batch.future_files import open_out
from vidjacobi.batch.manifest import FinishedItems, ManifestRow, merged, new_log
from vidjacobi.batch.pipeline import Pipeline, Tools
from vidjacobi.batch.settings import Shard, load_plan
from vidjacobi.batch.workers import listing, load_pair
from vidjacobi.datasets import open_dataset
from vidjacobi.loading import Pair
from vidjacobi.video.timed_reader import TimedReader


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three videos."""
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def flags(clips: Path, tiny_pair: Path) -> dict[str, Any]:
    """A batch of 7 frames after 9, two futures of a clip from every 8th frame: 6 futures."""
    return {
        **{"data": str(clips), "model": str(tiny_pair), "context": 9, "frames": 7},
        **{
            "samples": 2,
            "starts": "every:8",
            "need_truth": True,
            "output": "tokens",
            "decoder": "pathwise",
            "window": 6,
        },
    }


@pytest.fixture(scope="session")
def alone(flags: dict[str, Any]) -> dict[Any, str]:
    """Token hashes of ``vidjacobi.rollout`` of each clip."""
    model, tokenizer = vidjacobi.load(flags["model"], "cpu")
    found = {}
    for episode in open_dataset(flags["data"]):
        for start in range(0, episode.frames.count() - 15, 8):
            rolled = vidjacobi.rollout(
                episode.frames.read(start, 9).frames,
                model,
                tokenizer,
                7,
                2,
                clip_id=episode.id,
                start=start,
                window=6,
            )
            found.update({(episode.id, start, k): rolled.token_hash(k) for k in range(2)})
    return found


@pytest.fixture(scope="session")
def reader() -> Iterator[TimedReader]:
    """One for all: starting it takes a second."""
    with TimedReader() as timed:
        yield timed


@pytest.fixture
def batch(reader: TimedReader) -> Batch:
    """Run a batch in this process: its rows by item. ``steps`` are fields of ``Tools`` that replace the defaults."""
    pairs: dict[str, Pair] = {}

    def run(
        out: Path, shard: Shard | None = None, steps: dict[str, Any] | None = None, **flags: Any
    ) -> dict[Any, ManifestRow]:
        plan = load_plan("default", flags)
        outputs, model = open_out(out, plan), plan.config.model
        pairs[model] = pairs.get(model) or load_pair(plan.config, "cpu")
        with closing(new_log(out)) as log:
            tools = Tools(
                plan, pairs[model], outputs, log, lambda row: None, lambda line: None, **(steps or {})
            )
            Pipeline(tools).run((shard or Shard()).of(listing(plan.config)), FinishedItems(out), reader)
        return {row.item: row for row in merged(out)}

    return run


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
