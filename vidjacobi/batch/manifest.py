"""What has been done: every worker appends rows to a log of its own, and all logs together are the manifest.

``log/*.jsonl`` is the truth: a line is written and fsynced behind each finished item. ``manifest.parquet`` is
made of it: at intervals, at the end, and by ``vidjacobi report``.
"""

import csv
import errno
import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from vidjacobi.batch.items import Item
from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import replacing

LOGS, MANIFEST, FAILURES = "log", "manifest.parquet", "failures.csv"
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
_CHUNK = 10_000  # rows that are Python objects at a time


@dataclass(frozen=True)
class Row:
    """One item.

    Attributes:
        episode, start, sample: which one; ``start`` and ``sample`` are None for an episode without any.
        status: done, skipped (too short, and that is allowed) or failed; ``error`` says why.
        starts: contexts of the episode, once it was opened.
        tokens, video: paths below the output folder; ``video`` may be a folder of frames.
        tokens_sha256: of the decided tokens (int32, little-endian, raster order, all chunks).
        nfe: passes it took part in, the prefill included. new_tokens: decided. tokens_per_pass: their quotient.
        seconds: its share of the wall time of decoding. seconds_frames: of turning tokens into frames and writing.
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


class Log:
    """The rows of one worker, appended one by one. The file appears with the first. Raises BadOutput."""

    def __init__(self, out: Path, shard: str = "0/1") -> None:
        name = f"{label_of(shard)}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:12]}.jsonl"
        self.path = out / LOGS / name
        self._file: IO[bytes] | None = None

    def append(self, row: Row) -> None:
        """Write a row; when this returns, the disk has it."""
        line = json.dumps(asdict(row), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab", buffering=0)
                sync_folder(self.path.parent)
            self._file.write(line)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BadOutput(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """No more rows."""
        if self._file is not None:
            self._file.close()


def label_of(shard: str) -> str:
    """A shard in file names: 0-of-4."""
    return shard.replace("/", "-of-")


def rows_in(out: Path) -> Iterator[Row]:
    """The rows of all logs. A line that a crash cut short, or that is none of ours, is passed over."""
    known = {part.name for part in fields(Row)}
    for path in sorted((out / LOGS).glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                with suppress(ValueError, TypeError, AttributeError):
                    values = json.loads(line)
                    yield Row(**{key: value for key, value in values.items() if key in known})


class State:
    """Which items need not be done again."""

    def __init__(self, out: Path) -> None:
        self._done: dict[str, set[tuple[int | None, int | None]]] = {}
        self._starts: dict[str, int] = {}
        self._skipped: set[str] = set()
        for row in rows_in(out):
            if row.status == DONE:
                self._done.setdefault(row.episode, set()).add((row.start, row.sample))
                self._starts[row.episode] = row.starts or 0
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


def merged(out: Path) -> list[Row]:
    """One row per item, by episode, start and sample: done beats skipped beats failed, then the latest.

    An episode's own row goes when a later attempt got as far as its contexts.
    """
    best: dict[Item, Row] = {}
    latest: dict[str, float] = {}
    for row in rows_in(out):
        if row.start is not None:
            latest[row.episode] = max(row.finished, latest.get(row.episode, 0.0))
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
                part = [asdict(row) for row in rows[first : first + _CHUNK]]
                writer.write_table(pa.Table.from_pylist(part, schema()))
        _list_failures(out / FAILURES, [row for row in rows if row.status == FAILED])
    return Counter(row.status for row in rows)


def _list_failures(path: Path, rows: list[Row]) -> None:
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
    """Of ``manifest.parquet``."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(part.name, kinds[_plain(part.type)]) for part in fields(Row)])


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Hold a lock file, which the system releases however this process ends.

    Raises BadOutput where another process holds it (without ``wait``) or its folder cannot be written. File
    systems that have no locks are taken as they are.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise BadOutput(f"{path.parent}: cannot be written to: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
                raise BadOutput(
                    f"{path.parent}: another run is at work here; wait for it, or end it"
                ) from error
        yield


def sync_folder(folder: Path) -> None:
    """Make renames in this folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rank(row: Row) -> tuple[int, float]:
    return ((FAILED, SKIPPED, DONE).index(row.status), row.finished)


def _plain(kind: Any) -> type:
    """int of ``int | None``."""
    return next(part for part in getattr(kind, "__args__", (kind,)) if part is not type(None))
