"""Row files: a line is a row, and lines are only ever appended, so that a run that is killed loses at most the last.

A row is a dataclass of plain values, its fields the columns. JSON lines are read tolerantly, because a row that is
missing is made again; CSV strictly, because its rows are the results.
"""

import csv
import io
import json
import os
import types
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, get_args, get_origin

from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import replacing, sync_folder

R = TypeVar("R")  # a dataclass of plain values


class JsonRows(Generic[R]):
    """Rows of one kind as JSON lines."""

    def __init__(self, kind: type[R]) -> None:
        self._kind, self._names = kind, _types_of(kind).keys()

    def line(self, row: R) -> bytes:
        """One row, its line end included. Lone surrogates of undecodable paths survive as JSON escapes."""
        return json.dumps(vars(row), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"

    def append(self, path: Path, rows: Sequence[R]) -> None:
        """Add rows in one write."""
        _append(path, b"".join(map(self.line, rows)))

    def read(self, path: Path) -> Iterator[R]:
        """All rows, none where the file is not there yet.

        A line that a kill cut short, or that is none of ours, is passed over; fields that only a later version
        knows are ignored.
        """
        if not path.is_file():
            return
        with path.open("rb") as file:
            for line in file:
                with suppress(ValueError, TypeError, AttributeError):
                    values = json.loads(line)
                    yield self._kind(**{key: value for key, value in values.items() if key in self._names})


class CsvRows(Generic[R]):
    """Rows of one kind as CSV with a line of column names; None is an empty cell."""

    def __init__(self, kind: type[R]) -> None:
        self._kind, self._types = kind, _types_of(kind)

    def begin(self, path: Path, rows: Sequence[R] = ()) -> None:
        """Make the file anew, with its column names and the rows that are kept."""
        with replacing(path) as partial:
            partial.write_text(",".join(self._types) + "\n", encoding="utf-8")
            self.append(partial, rows)

    def append(self, path: Path, rows: Sequence[R]) -> None:
        """Add rows in one write, so that several processes may do it."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self._types), lineterminator="\n")
        writer.writerows({k: "" if v is None else v for k, v in vars(row).items()} for row in rows)
        _append(path, text.getvalue().encode("utf-8"))

    def read(self, path: Path) -> list[R]:
        """All rows; a last line that a kill cut short is left out.

        Raises ValueError, KeyError or TypeError for a file of other columns or values.
        """
        text = path.read_text(encoding="utf-8")
        # what a kill cut short, or another process is just writing, is left out
        whole = text[: text.rfind("\n") + 1]
        return [
            self._kind(**{name: _value(cells[name], kind) for name, kind in self._types.items()})
            for cells in csv.DictReader(whole.splitlines())
        ]


class RowLog(Generic[R]):
    """JSON rows of one writer, each on the disk for good before ``append`` returns.

    The file appears with its first row. Raises BadOutput.
    """

    def __init__(self, path: Path, rows: JsonRows[R]) -> None:
        self.path, self._rows = path, rows
        self._file: IO[bytes] | None = None

    def append(self, row: R) -> None:
        """Write a row; when this returns, the disk has it."""
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab", buffering=0)
                sync_folder(self.path.parent)  # a file whose name is lost is lost with its rows
            self._file.write(self._rows.line(row))
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """No more rows."""
        if self._file is not None:
            self._file.close()


def new_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """The whole lines after byte ``offset`` of a file that others append to, and the offset after them."""
    with path.open("rb") as file:
        file.seek(offset)
        new = file.read()
    whole = new[: new.rfind(b"\n") + 1]  # the rest is still being written
    return whole.splitlines(), offset + len(whole)


def _append(path: Path, lines: bytes) -> None:
    with path.open("ab+") as file:
        if file.tell() > 0:  # opened for appending, a file is at its end
            file.seek(-1, os.SEEK_END)
            if (
                file.read(1) != b"\n"
            ):  # a kill cut the last line short: what continued it would be lost with it
                lines = b"\n" + lines
        file.write(lines)


def _types_of(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass in order, each with its type."""
    return {part.name: part.type for part in fields(kind)}


def _value(text: str, kind: Any) -> Any:
    """One cell as its field's type; an empty one of ``float | None`` is None."""
    if get_origin(kind) is types.UnionType:  # int | None, float | None, str | None
        return None if text == "" else get_args(kind)[0](text)
    return kind(text)
