"""The logs of a batch as tables: ``manifest.parquet``, ``failures.csv``, and totals with the commonest reasons.

They are made at intervals, at the end, and by ``vidjacobi report``.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from vidjacobi.batch.manifest import DONE, FAILED, LOGS, SKIPPED, ManifestRow, merged
from vidjacobi.output.atomic import replacing
from vidjacobi.output.locks import locked
from vidjacobi.output.rows import spreadsheet_cell

MANIFEST, FAILURES = "manifest.parquet", "failures.csv"
_CHUNK = 10_000  # rows that are Python objects at a time


class Reason(NamedTuple):
    """What rows say of items: as one row words it, and how many say the same but for their numbers."""

    text: str
    times: int


@dataclass(frozen=True)
class Totals:
    """What a folder holds.

    Attributes:
        counts: items by status.
        reasons: the commonest reason of those that were skipped and that failed.
        notes: what is odd about contexts of futures that are done, the commonest kind first.
    """

    counts: "Counter[str]"
    reasons: dict[str, Reason]
    notes: list[Reason]


def compact(out: Path) -> Totals:
    """Write ``manifest.parquet`` and ``failures.csv`` of all logs, each whole or not at all. Raises BadOutput."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with locked(out / LOGS / ".lock", wait=True):  # or an older state could replace a newer one
        rows = merged(out)
        with (
            replacing(out / MANIFEST) as partial,
            partial.open("wb") as file,  # by name, Arrow takes none that is not UTF-8
            pq.ParquetWriter(file, schema()) as writer,
        ):
            for first in range(0, len(rows), _CHUNK):
                # a part at a time: a million rows as Python objects would take gigabytes
                part = [
                    {key: _in_utf8(value) for key, value in asdict(row).items()}
                    for row in rows[first : first + _CHUNK]
                ]
                writer.write_table(pa.Table.from_pylist(part, schema()))
        _list_failures(out / FAILURES, [row for row in rows if row.status == FAILED])
    return Totals(Counter(row.status for row in rows), reasons_of(rows), notes_of(rows))


def reasons_of(rows: Sequence[ManifestRow]) -> dict[str, Reason]:
    """By status, the commonest reason."""
    found = {}
    for status in (SKIPPED, FAILED):
        texts = [(row.error or "").replace(f"{row.source}: ", "") for row in rows if row.status == status]
        if kinds := kinds_of(texts):
            found[status] = kinds[0]
    return found


def notes_of(rows: Sequence[ManifestRow]) -> list[Reason]:
    """The notes on futures that are done, each kind once."""
    return kinds_of(
        [note for row in rows if row.status == DONE for note in (row.notes or "").split("; ") if note]
    )


def kinds_of(texts: Sequence[str]) -> list[Reason]:
    """Texts that differ in numbers only as one, the commonest kind first."""
    first: dict[str, str] = {}
    kinds = Counter(re.sub(r"\d+", "#", text) for text in texts)
    for text in texts:
        first.setdefault(re.sub(r"\d+", "#", text), text)
    return [Reason(first[kind], count) for kind, count in kinds.most_common()]


def _in_utf8(value: Any) -> Any:
    """A text as Parquet takes it: what UTF-8 has no code for as its escape, \\udcff for a byte ff in a path."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _list_failures(path: Path, rows: list[ManifestRow]) -> None:
    if not rows and not path.is_dir():  # a folder there is refused below, in words
        path.unlink(missing_ok=True)
        return
    with (
        replacing(path) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow(["episode", "start", "sample", "source", "error"])
        for row in rows:
            cells = (row.episode, row.start, row.sample, row.source, row.error)
            table.writerow([spreadsheet_cell(cell) for cell in cells])


def schema() -> Any:
    """Arrow schema of ``manifest.parquet``."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(part.name, kinds[_plain(part.type)]) for part in fields(ManifestRow)])


def _plain(kind: Any) -> type:
    """int of ``int | None``."""
    return next(part for part in getattr(kind, "__args__", (kind,)) if part is not type(None))
