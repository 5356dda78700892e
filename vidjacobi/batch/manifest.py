"""What has been done: every worker appends rows to a log of its own, and all logs together are the manifest.

``log/*.jsonl`` is the truth: a line is written and fsynced after each finished item. Tables are made of it, see
``manifest_table``.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from uuid import uuid4

from vidjacobi.datasets import folder_name
from vidjacobi.output.rows import JsonRows, RowLog

SETTINGS, LOGS, ITEMS = "settings.json", "log", "items"
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
# by what a batch keeps, the suffix of what lies beside the tokens: empty for a folder of pictures, None for nothing
BESIDE: dict[str, str | None] = {"videos": ".mp4", "frames": "", "tokens": None}
_LARGEST, _SLOWEST = 1e12, 1e-6  # numbers and rates beyond these are no batch's


class Item(NamedTuple):
    """What one row is about: a future, or (start and sample None) an episode without any."""

    episode: str
    start: int | None = None
    sample: int | None = None

    def path(self, suffix: str) -> PurePosixPath:
        """The file of a future with this suffix, below the output folder."""
        return PurePosixPath(ITEMS, folder_name(self.episode), f"{self.start or 0:06d}-{self.sample}{suffix}")


@dataclass(frozen=True)
class ManifestRow:
    """One item.

    Attributes:
        episode, start, sample: which one; ``start`` and ``sample`` are None for an episode without any.
        status: done, skipped (too short, and that is allowed) or failed; ``error`` says why.
        starts: contexts of the episode, once it was opened.
        tokens, video: paths below the output folder; ``video`` may be a folder of frames.
        tokens_sha256: of the decided tokens (int32, little-endian, raster order, all chunks).
        video_sha256: of the video's bytes, or of the names and contents of its pictures; None in rows from before
            2026-11-29.
        nfe: passes that it took part in, the prefill included.
        new_tokens: tokens decided. tokens_per_pass: new_tokens / nfe.
        seconds: its share of the wall time of decoding.
        seconds_frames: wall time of turning its tokens into frames and writing them.
        finished: seconds since 1970.
        source, fps, notes: of the episode's file.
        actions_sha256: of the actions fed, see ``vidjacobi.batch.fed_actions``; None where there were none.
        actions_of: the episode whose actions led to the predicted frames, or no-op.
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
    video_sha256: str | None = None
    nfe: int | None = None
    new_tokens: int | None = None
    tokens_per_pass: float | None = None
    seconds: float | None = None
    seconds_frames: float | None = None
    finished: float = field(default_factory=time.time)
    source: str | None = None
    fps: float | None = None
    notes: str | None = None
    actions_sha256: str | None = None
    actions_of: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for what no batch writes: a damaged line must not say what is done, or where files are."""
        if self.status not in (DONE, SKIPPED, FAILED):
            raise ValueError(f"status {self.status!r}")
        for name in (
            "start",
            "sample",
            "nfe",
            "tokens_per_pass",
            "seconds",
            "seconds_frames",
            "finished",
            "fps",
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _LARGEST:  # NaN is neither
                raise ValueError(f"{name} {value}")
        if self.fps is not None and 0 < self.fps < _SLOWEST:
            raise ValueError(f"fps {self.fps}")
        for path, suffixes in ((self.tokens, (".npz",)), (self.video, (".mp4", ""))):
            if path is not None and path not in {str(self.item.path(suffix)) for suffix in suffixes}:
                raise ValueError(f"{path!r:.60} is no file of {self.item}")

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
    for _, rows in _logs(out):
        yield from (row for _, row in rows if row is not None)


def damage_in(out: Path) -> list[str]:
    """Where lines of the logs are no rows, in words; the lines that kills cut short are left out."""
    found = []
    for path, rows in _logs(out):
        if lines := [number for number, row in rows if row is None]:
            found.append(f"{path}: line {', '.join(map(str, lines[:5]))}{' ...' if len(lines) > 5 else ''}")
    return found


def _logs(out: Path) -> Iterator[tuple[Path, Iterator[tuple[int, ManifestRow | None]]]]:
    """Each log, and its lines as ``JsonRows.lines`` gives them; a done row that names no files of its own is none."""
    kept = _kept(out)

    def named(row: ManifestRow) -> bool:
        beside = kept is None or (row.video is None) == (BESIDE[kept] is None)
        return row.status != DONE or (row.tokens is not None and beside)

    for path in sorted((out / LOGS).glob("*.jsonl")):
        yield path, ((number, row if row and named(row) else None) for number, row in ROWS.lines(path))


def _kept(out: Path) -> str | None:
    """What the batch keeps, a key of BESIDE; None where its settings cannot be read, which others refuse."""
    try:
        kept = json.loads((out / SETTINGS).read_text(encoding="utf-8"))["settings"]["output"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return kept if isinstance(kept, str) and kept in BESIDE else None


class FinishedItems:
    """Which items need not be done again, by the logs in ``out``."""

    def __init__(self, out: Path) -> None:
        self._done: dict[str, frozenset[tuple[int | None, int | None]]] = {}
        self._starts: dict[str, int] = {}
        self._skipped: set[str] = set()
        done: dict[str, set[tuple[int | None, int | None]]] = {}
        failed: set[Item] = set()
        for row in rows_in(out):
            if row.status == DONE:
                done.setdefault(row.episode, set()).add((row.start, row.sample))
                self._starts[row.episode] = row.starts or 0  # so a complete episode need not be opened again
            elif row.status == SKIPPED:
                self._skipped.add(row.episode)
            else:
                failed.add(row.item)
        self._done = {episode: frozenset(items) for episode, items in done.items()}
        self._failed = sum(
            not self.done(*item) if item.start is not None else item.episode not in self._done
            for item in failed
        )

    @property
    def counts(self) -> "Counter[str]":
        """Futures done, episodes skipped, and what had failed and is tried again."""
        return Counter(
            {DONE: sum(map(len, self._done.values())), SKIPPED: len(self._skipped), FAILED: self._failed}
        )

    def copy(self) -> "FinishedItems":
        """As it is now, whatever is forgotten later."""
        made = copy(self)
        made._done = dict(self._done)
        return made

    def items(self, episode: str) -> list[Item]:
        """The futures of an episode that are finished."""
        return [Item(episode, start, sample) for start, sample in self._done.get(episode, ())]

    def forget(self, items: Sequence[Item]) -> None:
        """Take futures for unfinished: their files are gone."""
        for item in items:
            self._done[item.episode] = self._done[item.episode] - {(item.start, item.sample)}

    def done(self, episode: str, start: int | None, sample: int | None) -> bool:
        """Whether this future is finished."""
        return (start, sample) in self._done.get(episode, ())

    def complete(self, episode: str, samples: int) -> bool:
        """Whether an episode has nothing left to do, without opening it."""
        if episode in self._skipped:
            return True
        done = self._done.get(episode, frozenset())
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


def _rank(row: ManifestRow) -> tuple[int, float]:
    return ((FAILED, SKIPPED, DONE).index(row.status), row.finished)
