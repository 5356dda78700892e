"""What has been done: every worker appends rows to a log of its own, and all logs together are the manifest.

``log/*.jsonl`` is the truth: a line is written and fsynced after each finished item. ``manifest.parquet`` is made
of it at intervals, at the end, and by ``vidjacobi report``.
"""

import csv
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from vidjacobi.output.atomic import replacing
from vidjacobi.output.rows import JsonRows, RowLog
from vidjacobi.output.run_folder import locked

LOGS, MANIFEST, FAILURES = "log", "manifest.parquet", "failures.csv"
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
_CHUNK = 10_000  # rows that are Python objects at a time


class Item(NamedTuple):
    """What one row is about: a future, or (start and sample None) an episode without any."""

    episode: str
    start: int | None = None
    sample: int | None = None


@dataclass(frozen=True)
class ManifestRow:
    """One item.

    Attributes:
        episode, start, sample: which one; ``start`` and ``sample`` are None for an episode without any.
        status: done, skipped (too short, and that is allowed) or failed; ``error`` says why.
        starts: contexts of the episode, once it was opened.
        tokens, video: paths below the output folder; ``video`` may be a folder of frames.
        tokens_sha256: of the decided tokens (int32, little-endian, raster order, all chunks).
        nfe: passes that it took part in, the prefill included.
        new_tokens: tokens decided. tokens_per_pass: new_tokens / nfe.
        seconds: its share of the wall time of decoding.
        seconds_frames: wall time of turning its tokens into frames and writing them.
        finished: seconds since 1970.
        source, fps, notes: of the episode's file.
    """

    episode: str
    start: int | None = None
    sample: int | None = None
    status: str = DONE
    error: str | None = None
    starts: int | None = None
    tokens: str | None = None
    video: str | None = None
    tokens_sha256: str | None = None
    nfe: int | None = None
    new_tokens: int | None = None
    tokens_per_pass: float | None = None
    seconds: float | None = None
    seconds_frames: float | None = None
    finished: float = field(default_factory=time.time)
    source: str | None = None
    fps: float | None = None
    notes: str | None = None

    @property
    def item(self) -> Item:
        """Which one it is about."""
        return Item(self.episode, self.start, self.sample)


ROWS = JsonRows(ManifestRow)


def new_log(out: Path, shard: str = "0/1") -> RowLog[ManifestRow]:
    """A log of its own for one worker; the file appears with the first row. Its rows raise BadOutput."""
    # never an old one's name: two writers of one file would need a lock, and a torn line would be continued
    name = f"{label_of(shard)}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:12]}.jsonl"
    return RowLog(out / LOGS / name, ROWS)


def label_of(shard: str) -> str:
    """A shard in file names: 0-of-4."""
    return shard.replace("/", "-of-")


def rows_in(out: Path) -> Iterator[ManifestRow]:
    """The rows of all logs. A line that a crash cut short, or that is none of ours, is passed over."""
    for path in sorted((out / LOGS).glob("*.jsonl")):
        yield from ROWS.read(path)


class FinishedItems:
    """Which items need not be done again, by the logs in ``out``."""

    def __init__(self, out: Path) -> None:
        self._done: dict[str, set[tuple[int | None, int | None]]] = {}
        self._starts: dict[str, int] = {}
        self._skipped: set[str] = set()
        for row in rows_in(out):
            if row.status == DONE:
                self._done.setdefault(row.episode, set()).add((row.start, row.sample))
                self._starts[row.episode] = row.starts or 0  # so a complete episode need not be opened again
            elif row.status == SKIPPED:
                self._skipped.add(row.episode)

    def done(self, episode: str, start: int, sample: int) -> bool:
        """Whether this future is finished."""
        return (start, sample) in self._done.get(episode, ())

    def complete(self, episode: str, samples: int) -> bool:
        """Whether an episode has nothing left to do, without opening it."""
        if episode in self._skipped:
            return True
        done = self._done.get(episode, set())
        starts = {start for start, _ in done}
        return len(starts) == self._starts.get(episode, -1) and all(
            (start, sample) in done for start in starts for sample in range(samples)
        )


def merged(out: Path) -> list[ManifestRow]:
    """One row per item, by episode, start and sample: done beats skipped beats failed, then the latest wins.

    An episode's own row is dropped when a later attempt got as far as its contexts.
    """
    best: dict[Item, ManifestRow] = {}
    latest: dict[str, float] = {}
    for row in rows_in(out):
        if row.start is not None:
            latest[row.episode] = max(row.finished, latest.get(row.episode, 0.0))
        # of equal rank and time the later line wins: it was written later
        if row.item not in best or _rank(row) >= _rank(best[row.item]):
            best[row.item] = row
    kept = [
        row for row in best.values() if row.start is not None or row.finished >= latest.get(row.episode, 0.0)
    ]
    return sorted(
        kept, key=lambda row: (row.episode, -1 if row.start is None else row.start, row.sample or 0)
    )


def compact(out: Path) -> "Counter[str]":
    """Write ``manifest.parquet`` and ``failures.csv`` of all logs, each whole or not at all.

    Returns the number of rows by status. Raises BadOutput.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with locked(out / LOGS / ".lock", wait=True):  # or an older state could replace a newer one
        rows = merged(out)
        with replacing(out / MANIFEST) as partial, pq.ParquetWriter(partial, schema()) as writer:
            for first in range(0, len(rows), _CHUNK):
                # a part at a time: a million rows as Python objects would take gigabytes
                part = [asdict(row) for row in rows[first : first + _CHUNK]]
                writer.write_table(pa.Table.from_pylist(part, schema()))
        _list_failures(out / FAILURES, [row for row in rows if row.status == FAILED])
    return Counter(row.status for row in rows)


def _list_failures(path: Path, rows: list[ManifestRow]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    with (
        replacing(path) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow(["episode", "start", "sample", "source", "error"])
        table.writerows([row.episode, row.start, row.sample, row.source, row.error] for row in rows)


def schema() -> Any:
    """Arrow schema of ``manifest.parquet``."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(part.name, kinds[_plain(part.type)]) for part in fields(ManifestRow)])


def _rank(row: ManifestRow) -> tuple[int, float]:
    return ((FAILED, SKIPPED, DONE).index(row.status), row.finished)


def _plain(kind: Any) -> type:
    """int of ``int | None``."""
    return next(part for part in getattr(kind, "__args__", (kind,)) if part is not type(None))
