"""The Ray engine on this machine: two actors, the same tokens, and a killed actor loses nothing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batches import COMMAND, environment, hashes, log_lines, rows_of, words_of, write_clips

from vidjacobi.batch.ray_engine import batch_size
from vidjacobi.batch.settings import load_plan

Flags = dict[str, Any]


def test_actors_get_enough_for_their_rows_and_little_at_the_end() -> None:
    config = load_plan("default", {"data": "x", "rows": 8}).config
    assert batch_size(10_000, config, 4) == 32
    assert batch_size(40, config, 4) == 2
    assert batch_size(1, config, 4) == 1
    several = load_plan("default", {"data": "x", "rows": 8, "samples": 16}).config
    assert batch_size(10_000, several, 4) == 2


@pytest.fixture(scope="module")
def calm(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> tuple[Flags, dict[Any, Any]]:
    """A batch with a broken episode, and what the local engine makes of it."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]'")
    folder = tmp_path_factory.mktemp("ray")
    data = write_clips(folder / "clips", (34,) * 8)
    (data / "broken.mp4").write_bytes(b"no video")
    mine = {**flags, "data": str(data), "rows": 2}
    run([*words_of(mine, folder / "out")])
    return mine, hashes(rows_of(folder / "out"))


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """To its end."""
    told = subprocess.run([*COMMAND, *words], env=environment(), capture_output=True, text=True, check=False)
    assert told.returncode == 1, told  # something failed: the broken episode
    return told


def ray_words(mine: Flags, out: Path) -> list[str]:
    """On two actors."""
    return words_of({**mine, "engine": "ray", "workers": 2}, out)


def actors_of(pid: int) -> list[int]:
    """Process ids of the actors of a driver's own cluster."""
    found, parents = [], {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name = (path / "cmdline").read_bytes().decode(errors="replace")
            parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if name.startswith("ray::") and "MapWorker" in name:
            found.append(int(path.name))

    def is_ours(child: int) -> bool:
        while child and child != pid:
            child = parents.get(child, 0)
        return child == pid

    return [actor for actor in found if is_ours(actor)]


@pytest.mark.slow
def test_two_actors_make_the_same(calm: tuple[Flags, dict[Any, Any]], tmp_path: Path) -> None:
    mine, expected = calm
    told = run(ray_words(mine, tmp_path))
    assert hashes(rows_of(tmp_path)) == expected
    assert len(list((tmp_path / "log").glob("*.jsonl"))) == 2
    assert json.loads(told.stdout.strip().splitlines()[-1])["all"] == {"done": 48, "failed": 1}
    before = len(log_lines(tmp_path))
    run(ray_words(mine, tmp_path))
    assert len(log_lines(tmp_path)) == before + 1  # only the broken one again


@pytest.mark.slow
def test_a_killed_actor_loses_nothing(
    calm: tuple[Flags, dict[Any, Any]], tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    mine, expected = calm
    process = started(ray_words(mine, tmp_path))
    kills = 0
    for count in (4, 15):
        while len(log_lines(tmp_path)) < count and process.poll() is None:
            time.sleep(0.02)
        actors = actors_of(process.pid)
        if actors:
            os.kill(actors[0], signal.SIGKILL)
            kills += 1
    told = process.communicate(timeout=400)
    assert kills, told
    assert process.returncode == 1, told
    assert hashes(rows_of(tmp_path)) == expected


@pytest.mark.slow
def test_killed_drivers_lose_nothing(
    calm: tuple[Flags, dict[Any, Any]], tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    mine, expected = calm
    for number, count in ((signal.SIGKILL, 5), (signal.SIGTERM, 20)):
        process = started(ray_words(mine, tmp_path))
        while len(log_lines(tmp_path)) < count and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        told = process.communicate(timeout=120)
        assert process.returncode == (-9 if number == signal.SIGKILL else 143), told
    run(ray_words(mine, tmp_path))
    assert hashes(rows_of(tmp_path)) == expected
