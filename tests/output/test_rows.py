"""Row files: what was appended comes back, what a kill cut short does not."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from vidjacobi.output.rows import CsvRows, JsonRows, RowLog, new_lines


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
