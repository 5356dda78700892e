"""Row files: a line is a row, and lines are only ever appended, so that a run that is killed loses at most the last.

A row is a dataclass of plain values, its fields the columns. JSON lines are read tolerantly, because a row that is
missing is made again; CSV strictly, because its rows are the results.
"""

import csv
import errno
import fcntl
import io
import json
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, Union, get_args, get_origin

from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import replacing, sync_folder

R = TypeVar("R")  # a dataclass of plain values
# Spreadsheets run a cell that begins with one of these as a formula (OWASP, "CSV injection"), also full-width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MARK = "'"  # what spreadsheets take for "this is text"


class JsonRows(Generic[R]):
    """Rows of one kind as JSON lines."""

    def __init__(self, kind: type[R]) -> None:
        self._kind, self._types = kind, _types_of(kind)

    def line(self, row: R) -> bytes:
        """One row, its line end included. Lone surrogates of undecodable paths survive as JSON escapes."""
        return json.dumps(vars(row), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"

    def append(self, path: Path, rows: Sequence[R]) -> None:
        """Add rows in one write. Raises BadOutput; then none of them is there."""
        _append(path, b"".join(map(self.line, rows)))

    def read(self, path: Path) -> Iterator[R]:
        """All rows, none where the file is not there yet.

        A line that a kill cut short, or that is none of ours, is passed over; fields that only a later version
        knows are ignored.
        """
        for _, row in self.lines(path):
            if row is not None:
                yield row

    def damaged(self, path: Path) -> list[int]:
        """The numbers, from 1, of lines that are no rows, but for a last one that a kill cut short."""
        return [number for number, row in self.lines(path) if row is None]

    def row_of(self, values: Any) -> R:
        """The row of a JSON object. Raises ValueError for one that lacks a field or has a value of another type."""
        if not isinstance(values, Mapping):
            raise ValueError(f"a {type(values).__name__} instead of an object")
        known = {key: value for key, value in values.items() if key in self._types}
        for key, value in known.items():
            if not _fits(value, self._types[key]):
                raise ValueError(f"{key} cannot be {value!r:.60}")
        try:
            return self._kind(**known)
        except TypeError as error:  # a field without a default is missing
            raise ValueError(str(error)) from error

    def lines(self, path: Path) -> Iterator[tuple[int, R | None]]:
        """Each line's number, from 1, and its row: None for what is none, but for a last line that was cut short."""
        if not path.is_file():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                row = None
                with suppress(ValueError, RecursionError):
                    row = self.row_of(json.loads(line))
                if row is not None or line.endswith(b"\n"):
                    yield number, row


class CsvRows(Generic[R]):
    """Rows of one kind as CSV with a line of column names; None is an empty cell.

    Texts come back as they were, also those that are marked for spreadsheets (see ``spreadsheet_cell``) and names of
    undecodable bytes, which stand in the file as they are.
    """

    def __init__(self, kind: type[R]) -> None:
        self._kind, self._types = kind, _types_of(kind)

    def begin(self, path: Path, rows: Sequence[R] = ()) -> None:
        """Make the file anew, with its column names and the rows that are kept."""
        with replacing(path) as partial:
            partial.write_text(",".join(self._types) + "\n", encoding="utf-8")
            self.append(partial, rows)

    def append(self, path: Path, rows: Sequence[R]) -> None:
        """Add rows in one write, so that several processes may do it. Raises BadOutput; then none is there."""
        cells = [[spreadsheet_cell(value) for value in vars(row).values()] for row in rows]
        text = io.StringIO(newline="")
        # the writer quotes a line feed by itself, but a carriage return only in newer Pythons
        returns = any("\r" in cell for line in cells for cell in line if isinstance(cell, str))
        dialect = csv.unix_dialect if returns else csv.excel  # the first quotes every cell
        csv.writer(text, dialect, lineterminator="\n").writerows(cells)
        _append(path, text.getvalue().encode("utf-8", "surrogateescape"))

    def read(self, path: Path) -> list[R]:
        """All rows; a last line that a kill cut short is left out.

        Raises ValueError, KeyError or TypeError for a file of other columns or values.
        """
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        # what a kill cut short, or another process is just writing, is left out
        whole = text[: text.rfind("\n") + 1]
        try:
            table = list(csv.DictReader(io.StringIO(whole, newline="")))
        except csv.Error as error:
            raise ValueError(str(error)) from error
        return [
            self._kind(**{name: _value(cells[name], kind) for name, kind in self._types.items()})
            for cells in table
        ]


class RowLog(Generic[R]):
    """JSON rows of one writer, each on the disk for good before ``append`` returns.

    The file appears with its first row. Raises BadOutput.
    """

    def __init__(self, path: Path, rows: JsonRows[R]) -> None:
        self.path, self._rows = path, rows
        self._file: IO[bytes] | None = None

    def append(self, row: R) -> None:
        """Write a row; when this returns, the disk has it, and when it raises, the file is as it was."""
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab", buffering=0)
                sync_folder(self.path.parent)  # a file whose name is lost is lost with its rows
            _write_whole(self._file.fileno(), self._rows.line(row))
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """No more rows."""
        if self._file is not None:
            self._file.close()


def spreadsheet_cell(value: Any) -> Any:
    """A cell of a CSV file: None is empty, and a text that a spreadsheet would run as a formula begins with '.

    A text that begins with ' gets one more, so that ``plain_text`` gives every text back.
    """
    if value is None:
        return ""
    risky = isinstance(value, str) and value.startswith((*_FORMULA, _MARK))
    return f"{_MARK}{value}" if risky else value


def plain_text(cell: str) -> str:
    """The text that ``spreadsheet_cell`` made a cell of."""
    return cell[1:] if cell.startswith(_MARK) else cell


def new_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines after byte ``offset`` of a file that others append to, and the offset after them."""
    with path.open("rb") as file:
        file.seek(offset)
        new = file.read()
    whole = new[: new.rfind(b"\n") + 1]  # the rest is still being written
    return whole.splitlines(), offset + len(whole)


def _append(path: Path, lines: bytes) -> None:
    try:
        with path.open("ab+", buffering=0) as file:
            with suppress(OSError):  # a file system without locks: then several writers are on their own
                fcntl.flock(file, fcntl.LOCK_EX)
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                # a kill cut the last line short: what continued it would be lost with it
                lines = lines if file.read(1) == b"\n" else b"\n" + lines
            _write_whole(file.fileno(), lines)
    except OSError as error:
        raise BadOutput(f"{path}: cannot be written: {error.strerror or error}") from error


def _write_whole(file: int, content: bytes) -> None:
    """Append to an open file and wait for the disk; where not all of it fits, none of it stays. Raises OSError."""
    before = os.fstat(file).st_size
    try:
        rest = memoryview(content)
        while rest:  # a write takes a part where the disk becomes full, and the next one says so
            written = os.write(file, rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, before)
        raise


def _types_of(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass in order, each with its type."""
    return {part.name: part.type for part in fields(kind)}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON has the type of a field, such as str, int | None or list[float]."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return any(_fits(value, part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(_fits(part, parts[0]) for part in value)
    if isinstance(value, bool):  # an int to Python
        return kind in (bool, Any)
    if kind is int:
        return isinstance(value, int) and -(2**63) <= value < 2**63
    if kind is float:
        return isinstance(value, float) or _fits(value, int)
    return kind is Any or isinstance(value, origin or kind)


def _value(text: str, kind: Any) -> Any:
    """One cell as its field's type; an empty one of ``float | None`` is None."""
    if get_origin(kind) is types.UnionType:  # int | None, float | None, str | None
        return None if text == "" else _value(text, get_args(kind)[0])
    return plain_text(text) if kind is str else kind(text)
