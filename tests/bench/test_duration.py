"""The guess of how long a bench will take."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidjacobi import decode
from vidjacobi.bench.bench_folder import open_folder
from vidjacobi.bench.duration import PASSES, Guess, Pace, about, counted, guess
from vidjacobi.bench.material import Source
from vidjacobi.bench.running import Bench, run
from vidjacobi.bench.settings import BenchConfig


class Timed:
    """Decodes and notes how many passes each decode was looked at."""

    def __init__(self) -> None:
        self.looks: list[int] = []

    def __call__(self, *given: Any, observe: Any = None, **more: Any) -> Any:
        self.looks.append(0)

        def look(progress: Any) -> None:
            self.looks[-1] += 1
            observe(progress)

        return decode(*given, observe=look if observe else None, **more)


@pytest.mark.slow
def test_a_few_passes_are_timed_at_every_window(tmp_path: Path, tiny_pair: Path) -> None:
    np.save(tmp_path / "contexts.npy", np.zeros((2, 2, 4, 6), np.int64))
    config = BenchConfig(
        models=[str(tiny_pair)], clips=2, frames=8, decoders=["sjd", "pathwise"], windows=[4, 6], device="cpu"
    )
    watch = Timed()
    job = Bench(config, tmp_path / "out", Source(file=tmp_path / "contexts.npy"), watch)
    open_folder(config, job.out, job.source, overwrite=False, again=(), tell=print)
    found = guess(job)
    assert (found.decodes, found.windows) == (2 * 5, 3)  # AR's passes are one wide
    assert watch.looks == [PASSES + 1] * 3  # the prefill too
    assert found.seconds > found.spent / 3
    assert "10 decodes to make, " in str(found)
    for _ in run(replace(job, decode_with=decode), lambda line: None):
        pass
    left = guess(job)
    assert (left.decodes, len(watch.looks)) == (0, 3)
    assert str(left) == "every decode is there already"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "less than a second"),
        (59.6, "about 60 s"),
        (150.0, "about 2 min"),
        (5000.0, "about 83 min"),
        (7000.0, "about 1.9 h"),
    ],
)
def test_a_rough_time(seconds: float, text: str) -> None:
    assert about(seconds) == text


def test_the_rest_is_told_from_the_share_that_is_done() -> None:
    times = iter([100.0, 130.0, 160.0])
    pace = Pace(clock=lambda: next(times))
    assert pace.left(1, 4) == "1 of 4 batches of clips, about 90 s left"
    assert pace.left(4, 4) == "4 of 4 batches of clips"
    assert str(Guess(90.0, 1, 1, 0.4)).startswith("1 decode to make, about 90 s. This is a guess")
    assert counted(1200, "clip") == "1,200 clips"
