"""Row files: what was appended comes back, what a kill cut short does not."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vidjacobi.output.rows import CsvRows, JsonRows, RowLog, new_lines, plain_text, spreadsheet_cell


@dataclass(frozen=True)
class Score:
    name: str
    clip: int
    values: list[float | None]
    note: str | None = None


@dataclass(frozen=True)
class Cell:
    name: str
    clip: int
    seconds: float
    kl: float | None = None


SCORES, CELLS = JsonRows(Score), CsvRows(Cell)
TWO = [Score("é\udcff", 0, [1.5, None]), Score("b", 1, [], "text\nof two lines")]


def test_json_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert list(SCORES.read(path)) == []
    SCORES.append(path, TWO[:1])
    SCORES.append(path, [])
    SCORES.append(path, TWO[1:])
    assert list(SCORES.read(path)) == TWO
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_what_follows_a_torn_line_is_whole(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.jsonl"
    SCORES.append(path, TWO)
    path.write_bytes(path.read_bytes()[:-cut])
    kept = TWO if cut == 1 else TWO[:1]  # only the line's end is gone
    assert list(SCORES.read(path)) == kept
    SCORES.append(path, TWO[1:])
    assert list(SCORES.read(path)) == [*kept, TWO[1]]


def test_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'null\n[]\n"x"\n7\n{"name": "a"}\n\xff\xfe\n\n')
    SCORES.append(path, TWO[:1])
    later = SCORES.line(TWO[1]).replace(b'"clip"', b'"of a later version": 1, "clip"')
    with path.open("ab") as file:
        file.write(later)
    assert list(SCORES.read(path)) == TWO


@pytest.mark.parametrize(
    "wrong",
    [
        *({"name": 5}, {"clip": "0"}, {"clip": True}, {"clip": 1.5}, {"clip": 2**63}, {"clip": None}),
        *({"values": 1}, {"values": ["a"]}, {"values": {}}, {"values": [10**400]}, {"note": 1}),
    ],
)
def test_a_line_with_a_value_of_another_type_is_no_row(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / "rows.jsonl"
    values = {"name": "a", "clip": 0, "values": [1, None], "note": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in (values, values | wrong, values)))
    assert list(SCORES.read(path)) == [Score("a", 0, [1, None])] * 2
    assert SCORES.damaged(path) == [2]


def test_damage_is_counted_and_a_cut_is_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert SCORES.damaged(path) == []
    SCORES.append(path, TWO)
    path.write_bytes(b"[" * 9000 + b"\n" + path.read_bytes()[:-5])
    assert SCORES.damaged(path) == [1]
    assert list(SCORES.read(path)) == TWO[:1]


FULL = """
import resource, sys
from pathlib import Path
from vidjacobi.errors import BadOutput
sys.path.insert(0, {tests!r})
from test_rows import CELLS, SCORES, Cell, Score
from vidjacobi.output.rows import RowLog
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # the system then writes a part, as on a full disk
path, kind = Path(sys.argv[1]), sys.argv[2]
log = RowLog(path, SCORES)
for number in range(100):
    try:
        if kind == "log":
            log.append(Score("a" * 50, number, []))
        elif kind == "json":
            SCORES.append(path, [Score("a" * 50, number, [])])
        else:
            CELLS.append(path, [Cell("a" * 50, number, 0.5)])
    except BadOutput as error:
        print(number, error)
        break
"""


@pytest.mark.parametrize("kind", ["log", "json", "csv"])
def test_a_write_that_falls_short_is_not_acknowledged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rows"
    script = FULL.format(tests=str(Path(__file__).parent))
    told = subprocess.run(
        [sys.executable, "-c", script, str(path), kind], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told
    acknowledged, message = told.stdout.split(maxsplit=1)
    assert "cannot be written: File too large" in message
    content = path.read_bytes()
    assert content.count(b"\n") == int(acknowledged) > 5
    assert content.endswith(b"\n")  # nothing of the row that did not fit stays


def test_csv_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [Cell("a,b", 0, 1.25), Cell('"c"', 1, 1e-9, 0.5)]
    CELLS.begin(path)
    CELLS.append(path, rows)
    assert path.read_text().splitlines()[0] == "name,clip,seconds,kl"
    assert CELLS.read(path) == rows
    with path.open("a") as file:
        file.write("d,2,")
    assert CELLS.read(path) == rows
    CELLS.append(path, rows[:1])  # a process beside the one that was killed
    with pytest.raises((ValueError, TypeError)):
        CELLS.read(path)  # the torn line now is a row of its own, and no row of ours
    CELLS.begin(path, rows[1:])
    assert CELLS.read(path) == rows[1:]


RISKY = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "'=1", "a=1", "", "'"]


@pytest.mark.parametrize("text", [*RISKY, "two\nlines", "a\u2028b", os.fsdecode(b"caf\xe9")])
def test_csv_texts_come_back_and_none_is_a_formula(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.csv"
    CELLS.begin(path, [Cell(text, 0, -1.5)])
    assert CELLS.read(path) == [Cell(text, 0, -1.5)]
    cell = spreadsheet_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))
    assert plain_text(cell) == text
    assert spreadsheet_cell(-1.5) == -1.5
    assert spreadsheet_cell(None) == ""


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "name,clip,seconds,kl\na,one,1,\n", "name,clip,seconds\na,1,1\n"]
)
def test_other_csv_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises((KeyError, TypeError, ValueError)):
        CELLS.read(path)


def test_a_log_appears_with_its_first_row(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "log" / "a.jsonl", SCORES)
    assert not log.path.parent.exists()
    for row in TWO:
        log.append(row)
        assert list(SCORES.read(log.path))[-1] == row
    log.close()


def test_new_lines_are_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nth")
    lines, offset = new_lines(path, 0)
    assert lines == [b"one", b"two"]
    assert new_lines(path, offset) == ([], offset)
    path.write_bytes(b"one\ntwo\nthree\n")
    assert new_lines(path, offset) == ([b"three"], 14)
