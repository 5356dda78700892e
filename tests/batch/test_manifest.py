"""The log: rows that last, torn lines, and one row per item."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from batches import log_lines

from vidjacobi.batch.manifest import (
    DONE,
    FAILED,
    SKIPPED,
    FinishedItems,
    Item,
    ManifestRow,
    damage_in,
    merged,
    new_log,
)
from vidjacobi.batch.manifest_table import compact
from vidjacobi.errors import BadOutput


def done(episode: str = "é/1", sample: int = 0, **more: Any) -> ManifestRow:
    """A finished future as the log has it."""
    tokens = str(Item(episode, 16, sample).path(".npz"))
    known = {"starts": 1, "tokens": tokens, "tokens_sha256": "ab", "nfe": 7, "seconds": 0.5, "finished": 10.0}
    return ManifestRow(episode, 16, sample, **{**known, **more})


ROW = done()
VIDEO = replace(ROW, video=str(ROW.item.path(".mp4")))


def log(out: Path, *rows: ManifestRow) -> Path:
    file = new_log(out)
    for row in rows:
        file.append(row)
    file.close()
    return file.path


def test_rows_come_back(tmp_path: Path) -> None:
    log(tmp_path, ROW)
    assert merged(tmp_path) == [ROW]
    assert compact(tmp_path).counts == {DONE: 1}
    assert pq.read_table(tmp_path / "manifest.parquet").to_pylist() == [vars(ROW)]


def test_no_file_without_rows(tmp_path: Path) -> None:
    log(tmp_path)
    assert not list(tmp_path.rglob("*.jsonl"))
    assert compact(tmp_path).counts == {}
    assert pq.read_table(tmp_path / "manifest.parquet").num_rows == 0


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_line_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = log(tmp_path, ROW, done(sample=1))
    path.write_bytes(path.read_bytes()[:-cut])
    assert merged(tmp_path) == [ROW] or cut == 1  # only the line's end is gone
    state = FinishedItems(tmp_path)
    assert state.done("é/1", 16, 0)
    assert state.done("é/1", 16, 1) is (cut == 1)


def test_lines_of_others_are_passed_over(tmp_path: Path) -> None:
    path = log(tmp_path, ROW)
    path.write_bytes(b'null\n[]\n"x"\n{"status": "done"}\n\xff\xfe\n' + path.read_bytes())
    assert merged(tmp_path) == [ROW]
    path.write_text(path.read_text(errors="ignore").replace('"nfe"', '"of a later version": 1, "nfe"'))
    assert merged(tmp_path) == [ROW]


def test_done_beats_failed_and_later_beats_earlier(tmp_path: Path) -> None:
    failed = replace(ROW, status=FAILED, error="1", finished=20.0)
    log(tmp_path, failed, replace(failed, error="2", finished=21.0))
    assert [row.error for row in merged(tmp_path)] == ["2"]
    log(tmp_path, ROW)
    assert merged(tmp_path) == [ROW]


def test_an_episodes_row_goes_when_it_works_later(tmp_path: Path) -> None:
    broken = ManifestRow("é/1", status=FAILED, error="no file", finished=5.0)
    log(tmp_path, broken)
    assert merged(tmp_path) == [broken]
    log(tmp_path, ROW)
    assert merged(tmp_path) == [ROW]
    later = replace(broken, finished=30.0)
    log(tmp_path, later)
    assert merged(tmp_path) == [later, ROW]


def test_what_is_complete(tmp_path: Path) -> None:
    assert not FinishedItems(tmp_path).complete("é/1", 1)
    log(tmp_path, ROW, ManifestRow("short", status=SKIPPED), ManifestRow("broken", status=FAILED))
    state = FinishedItems(tmp_path)
    assert state.complete("é/1", 1)
    assert not state.complete("é/1", 2)
    assert state.complete("short", 5)
    assert not state.complete("broken", 1)  # tried again
    log(tmp_path, done("two", starts=2))
    assert not FinishedItems(tmp_path).complete("two", 1)


def test_failures_are_listed_and_the_list_goes_with_them(tmp_path: Path) -> None:
    bad = ManifestRow("x", 3, 1, status=FAILED, error='a "quoted", reason', source="v.mp4")
    log(tmp_path, bad)
    compact(tmp_path)
    text = (tmp_path / "failures.csv").read_text()
    assert text.splitlines() == ["episode,start,sample,source,error", 'x,3,1,v.mp4,"a ""quoted"", reason"']
    log(tmp_path, replace(bad, status=DONE, error=None, tokens=str(bad.item.path(".npz"))))
    compact(tmp_path)
    assert not (tmp_path / "failures.csv").exists()


def test_a_folder_in_place_of_a_table_is_named(tmp_path: Path) -> None:
    log(tmp_path, ROW)
    (tmp_path / "failures.csv").mkdir()
    with pytest.raises(BadOutput, match=r"failures\.csv: is a folder"):
        compact(tmp_path)


def test_logs_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(BadOutput, match="cannot be written"):
        log(tmp_path, ROW)


def test_items_are_keys() -> None:
    assert ROW.item == Item("é/1", 16, 0)
    assert log_lines(Path("nowhere")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        *({"seconds": math.nan}, {"tokens_per_pass": math.inf}, {"seconds": 1e300}, {"finished": 1e300}),
        *({"fps": -1.0}, {"fps": 1e-300}, {"nfe": -1}, {"start": -16}),
        *({"tokens": None}, {"tokens": "items"}, {"video": "."}, {"video": "items"}, {"video": None}),
    ],
    ids=str,
)
def test_values_that_no_batch_writes_are_damage(tmp_path: Path, wrong: dict[str, object]) -> None:
    """A page could not be drawn of them, and nothing would say which file is at fault."""
    (tmp_path / "settings.json").write_text('{"settings": {"output": "videos"}}')
    path = log(tmp_path, VIDEO)
    line = json.dumps({**json.loads(path.read_text()), **wrong})
    path.write_text(line + "\n" + path.read_text())
    assert damage_in(tmp_path) == [f"{path}: line 1"]
    assert merged(tmp_path) == [VIDEO]
