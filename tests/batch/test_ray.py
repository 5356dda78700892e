"""The Ray engine on this machine: two actors, the same tokens, and a killed actor loses nothing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from batches import COMMAND, environment, hashes, log_lines, rows_of, words_of, write_clips

from vidjacobi.batch.ray_engine import batch_size, check_dtype
from vidjacobi.batch.settings import load_plan
from vidjacobi.errors import InvalidArgument
from vidjacobi.runtime import choose

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


def wait_for_actors(
    process: subprocess.Popen[str], out: Path, count: int, but: Iterable[int] = ()
) -> list[int]:
    """Wait until the log has so many lines and this very process has actors, ``but`` for some: these actors."""
    while process.poll() is None:
        found = sorted(set(actors_of(process.pid)) - set(but))
        if found and len(log_lines(out)) >= count:
            return found
        time.sleep(0.02)
    return []


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
def test_killed_actors_lose_nothing(
    calm: tuple[Flags, dict[Any, Any]], tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    mine, expected = calm
    process = started(ray_words(mine, tmp_path))
    killed: set[int] = set()
    for count in range(2, 44, 8):
        alive = wait_for_actors(process, tmp_path, count, killed)
        if alive and process.poll() is None:
            os.kill(alive[0], signal.SIGKILL)
            killed.add(alive[0])
    told = process.communicate(timeout=400)
    assert len(killed) >= 5, told
    assert process.returncode == 1, told
    assert hashes(rows_of(tmp_path)) == expected


@pytest.mark.slow
def test_killed_drivers_lose_nothing(
    calm: tuple[Flags, dict[Any, Any]], tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    mine, expected = calm
    moments = ((signal.SIGKILL, 4), (signal.SIGTERM, 14))
    for number, count in moments:
        process = started(ray_words(mine, tmp_path))
        # The log may have as many lines from the run before, while this process has not even its handlers.
        assert wait_for_actors(process, tmp_path, count), process.communicate()
        process.send_signal(number)
        told = process.communicate(timeout=120)
        assert process.returncode == (-9 if number == signal.SIGKILL else 143), told
    run(ray_words(mine, tmp_path))
    assert hashes(rows_of(tmp_path)) == expected


def test_an_actor_of_another_dtype_refuses() -> None:
    config, mine = load_plan("default", {"data": "x"}).config, str(choose("cpu").dtype).removeprefix("torch.")
    check_dtype(config, "cpu", mine)
    with pytest.raises(InvalidArgument, match=rf"computes in {mine}, .* started in float64: give --dtype"):
        check_dtype(config, "cpu", "float64")


def listening_beyond(pids: set[int]) -> list[str]:
    """Sockets on which these processes listen for other machines."""
    found = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            address = fields[1].split(":")[0]
            if fields[3] != "0A" or address in ("0100007F", "0000000000000000FFFF00000100007F", f"{1:032X}"):
                continue  # not listening, or on the loopback only
            found += [f"{address} of {pid}" for pid in pids if f"socket:[{fields[9]}]" in sockets_of(pid)]
    return found


def sockets_of(pid: int) -> set[str]:
    """Names of the open sockets of a process."""
    try:
        return {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()


def family_of(pid: int) -> set[int]:
    """A process and all below it."""
    found, parents = {pid}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.slow
def test_ray_on_one_machine_listens_to_nobody_else(
    calm: tuple[Flags, dict[Any, Any]], tmp_path: Path, started: Callable[..., subprocess.Popen[str]]
) -> None:
    mine, _ = calm
    process = started(ray_words(mine, tmp_path))
    while len(log_lines(tmp_path)) < 4 and process.poll() is None:
        time.sleep(0.02)
    family = family_of(process.pid)
    assert any("raylet" in Path(f"/proc/{pid}/cmdline").read_text() for pid in family if alive(pid))
    assert listening_beyond(family) == []
    # who comes without the token is turned away
    gcs = next(
        pid for pid in family if alive(pid) and "gcs_server" in Path(f"/proc/{pid}/cmdline").read_text()
    )
    words = Path(f"/proc/{gcs}/environ").read_bytes().split(b"\0")
    assert b"RAY_AUTH_MODE=token" in words
    assert any(word.startswith(b"RAY_AUTH_TOKEN=") and len(word) == 79 for word in words)
    process.terminate()
    process.communicate(timeout=120)


def alive(pid: int) -> bool:
    """Whether a process is there."""
    return Path(f"/proc/{pid}").is_dir()
