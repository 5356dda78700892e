"""What a batch says of itself while it runs: done of all, a minute, seconds left."""

from pathlib import Path

import pytest

from vidjacobi.batch.manifest import DONE, SKIPPED, FinishedItems, Item, ManifestRow, new_log
from vidjacobi.batch.progress import ProgressTracker
from vidjacobi.datasets import Skipped


def row(episode: str, sample: int) -> ManifestRow:
    tokens = str(Item(episode, 0, sample).path(".npz"))
    return ManifestRow(episode, 0, sample, DONE, starts=1, tokens=tokens, tokens_sha256="ab")


def test_done_total_and_the_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    log = new_log(tmp_path)
    log.append(row("before", 0))
    log.append(row("before", 1))
    tally = ProgressTracker(tmp_path, "0/1", samples=2)
    entries = [Skipped(name, "not read here") for name in ("before", "a", "b", "short")]
    tally.outlook.count(entries, FinishedItems(tmp_path))
    tally.outlook.wait()
    assert tally.line() == "2 of 8 futures done"  # two for each that is not seen yet
    now[0] += 60
    log.append(row("a", 0))
    log.append(row("a", 1))
    log.append(ManifestRow("short", status=SKIPPED))
    tally.look()
    # one future each 30 s; of a and short, which were seen, one on the average, and so many are expected of b
    assert tally.line() == "4 of 5 futures done (2.0 a minute, about 00:30 left), 1 skipped"
    log.append(row("before", 0))  # its files were damaged: it is made again, and counts once
    log.close()
    now[0] += 30
    tally.look()
    assert tally.outlook.before == 1
    assert tally.line().startswith("4 of ")
