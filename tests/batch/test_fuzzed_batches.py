"""Logs and settings of a batch that were damaged: named in words, and what is sound is still counted."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fuzzing import changed, dumped, each, edited, odd_texts, refused
from hypothesis import strategies as st

from vidjacobi.batch.future_files import open_out
from vidjacobi.batch.manifest import LOGS, SETTINGS, FinishedItems, Item, ManifestRow, merged
from vidjacobi.batch.manifest_table import compact
from vidjacobi.batch.report import write_report
from vidjacobi.batch.settings import load_plan
from vidjacobi.export.lerobot_set import ExportChoice, export_lerobot

pytestmark = [pytest.mark.slow, pytest.mark.unchecked]
NPZ = str(Item("é/1", 16, 0).path(".npz"))
ROW = ManifestRow("é/1", 16, 0, starts=1, tokens=NPZ, nfe=7, tokens_per_pass=2.0, seconds=0.5, finished=10.0)
GOOD: dict[str, Any] = {
    **asdict(ROW),
    "tokens_sha256": "ab",
    "seconds_frames": 0.1,
    "source": "x.mp4",
    "fps": 5.0,
}
PLAN = load_plan("default", {"data": "x", "dtype": "float32", "output": "tokens"})


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch without a finished future."""
    out = tmp_path_factory.mktemp("batch")
    open_out(out, PLAN)
    (out / LOGS).mkdir(exist_ok=True)
    return out


line = changed(GOOD).map(dumped) | edited(dumped(GOOD)) | odd_texts


def written(batch: Path, lines: list[str]) -> Path:
    """A log with these lines and a sound one."""
    log = batch / LOGS / "0-of-1-x.jsonl"
    log.write_text("\n".join([*lines, dumped(GOOD)]) + "\n", encoding="utf-8", errors="surrogatepass")
    return log


def test_logs(batch: Path) -> None:
    def check(lines: list[str]) -> None:
        written(batch, lines)
        assert any(row.item == ROW.item for row in merged(batch))  # what is sound counts
        assert FinishedItems(batch).done("é/1", 16, 0)
        assert sum(compact(batch).counts.values()) >= 1

    each(st.lists(line, min_size=1, max_size=3), 150, check)


def test_reports(batch: Path) -> None:
    """A few only: a page with its plots takes a third of a second."""

    def check(lines: list[str]) -> None:
        log = written(batch, lines)
        refused(lambda: write_report(batch, 0))
        log.unlink()

    each(st.lists(line, min_size=3, max_size=6), 8, check)


def test_settings(batch: Path, tmp_path: Path) -> None:
    path = batch / SETTINGS
    text = path.read_text()

    def check(record: str) -> None:
        path.write_text(record, encoding="utf-8", errors="surrogatepass")
        refused(lambda: open_out(batch, PLAN))
        path.write_text(record, encoding="utf-8", errors="surrogatepass")  # an open one is written anew
        refused(lambda: write_report(batch, 0))
        refused(lambda: export_lerobot(batch, tmp_path / "exported", ExportChoice()))

    try:
        each(changed(json.loads(text)).map(dumped) | edited(text) | odd_texts, 60, check)
    finally:
        path.write_text(text)
