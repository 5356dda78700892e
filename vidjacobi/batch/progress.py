"""How far a batch is, from the logs that its workers append to; whatever engine they run on."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType

from tqdm import tqdm

from vidjacobi.batch.manifest import (
    DONE,
    FAILED,
    LOGS,
    ROWS,
    SKIPPED,
    FinishedItems,
    ManifestRow,
    label_of,
)
from vidjacobi.datasets import Entry
from vidjacobi.errors import VidjacobiError, number_of
from vidjacobi.output.rows import new_lines

_EVERY = 10.0  # seconds between lines where standard error is not a terminal
_BAR = "{desc}: {n_fmt}/{total_fmt} {bar} {elapsed}<{remaining}{postfix}"


class Outlook:
    """How many futures a shard has in all: those of earlier runs, of the episodes seen, and an estimate for the rest.

    The episodes are counted by a thread of its own, because a listing opens no video but may still take a while.

    Attributes:
        before: futures of this shard that earlier runs had done and this one has not made again; complete once
            ``listed`` is.
        listed: episodes of the shard; None until they are counted.
    """

    def __init__(self, samples: int) -> None:
        self.before = 0
        self.listed: int | None = None
        self._samples = samples
        self._to_do = 0
        self._complete: dict[str, int] = {}  # futures of each episode that had nothing left to do
        self._expected: dict[str, int] = {}  # futures of each episode that this run has come to
        self._stop = Event()
        self._thread: Thread | None = None
        self._finished: FinishedItems | None = None  # at the begin of this run
        self._counting = Lock()

    def count(self, entries: Iterable[Entry], finished: FinishedItems) -> None:
        """Begin to count the shard's entries, and what is finished of them."""
        self._finished = finished.copy()
        self._thread = Thread(target=self._count, args=(entries, self._finished), name="count", daemon=True)
        self._thread.start()

    def wait(self) -> int:
        """Wait until they are counted; how many there are, 0 where the listing broke off."""
        if self._thread is not None:
            self._thread.join()
        return self.listed or 0

    def stop(self) -> None:
        """Count no further."""
        self._stop.set()

    def see(self, row: ManifestRow) -> None:
        """Take note of what this run has come to: of the row's episode, and of how many futures it has."""
        futures, episode = (row.starts or 0) * self._samples, row.episode
        with self._counting:
            self._expected[episode] = max(futures, self._expected.get(episode, 0))
            if self._complete.pop(episode, None) is not None:  # its files were gone or damaged
                self._to_do += 1
            if row.status == DONE and self._finished and self._finished.done(*row.item):
                self.before -= 1

    @property
    def total(self) -> int | None:
        """All futures of the shard, exact once every episode was seen; None until they are counted."""
        if self.listed is None:
            return None
        seen, expected = len(self._expected), sum(self._expected.values())
        mean = expected / seen if seen else self._samples
        return round(sum(self._complete.values()) + expected + max(0, self._to_do - seen) * mean)

    def _count(self, entries: Iterable[Entry], finished: FinishedItems) -> None:
        listed = 0
        with suppress(VidjacobiError):  # whoever does the work meets it too, and says it
            for entry in entries:
                if self._stop.is_set():
                    return
                done = len(finished.items(entry.id))
                complete = finished.complete(entry.id, self._samples)
                listed += 1
                with self._counting:
                    self.before += done
                    if complete and entry.id not in self._expected:
                        self._complete[entry.id] = done
                    else:
                        self._to_do += 1
            self.listed = listed


class ProgressTracker:
    """Counts the rows that a shard's workers add from now on, and shows them. Use it as a context.

    Attributes:
        counts: rows by status.
        outlook: how many futures there will be.
    """

    def __init__(self, out: Path, shard: str, samples: int) -> None:
        self._folder, self._pattern = out / LOGS, f"{label_of(shard)}-*.jsonl"
        # by file, the bytes that are counted or were there before this run
        self._read = {path: path.stat().st_size for path in self._logs()}
        self.counts: Counter[str] = Counter()
        self.outlook = Outlook(samples)
        self._began = self._told = time.monotonic()
        self._bar = tqdm(desc="futures", disable=None, dynamic_ncols=True, bar_format=_BAR)

    def look(self) -> None:
        """Read the rows that are new, and show the counts."""
        for path in self._logs():
            lines, self._read[path] = new_lines(path, self._read.get(path, 0))
            for line in lines:
                with suppress(ValueError, RecursionError):  # a line of a later version, or none of ours
                    row = ROWS.row_of(json.loads(line))
                    self.counts[row.status] += 1
                    self.outlook.see(row)
        if not self._bar.disable:
            self._show()
        elif time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            tell(self.line())

    def line(self) -> str:
        """Futures done of all, a minute, seconds left, and what was skipped or failed."""
        done, total = self.counts[DONE], self.outlook.total
        there = done + self.outlook.before
        words = (
            f"{there:,} of {number_of(max(total, there), 'future')} done"
            if total
            else f"{number_of(done, 'future')} done"
        )
        pace = self._pace()
        facts = [f"{60 * pace:.1f} a minute"] if pace else []
        if total and pace and total > there:
            facts.append(f"about {tqdm.format_interval((total - there) / pace)} left")
        return ", ".join([words + (f" ({', '.join(facts)})" if facts else ""), *self._troubles()])

    def summary(self) -> str:
        """What this run did, and what was there before it."""
        done, pace = self.counts[DONE], self._pace()
        words = f"{done:,} future{'s' * (done != 1)} done now" + (
            f" ({60 * pace:.1f} a minute)" if pace else ""
        )
        if self.outlook.before:
            words = f"{words}, {self.outlook.before:,} before"
        if not self.counts and self.outlook.before:
            words = f"everything was done before: {number_of(self.outlook.before, 'future')}"
        return ", ".join([words, *self._troubles()])

    def _show(self) -> None:
        done, pace = self.counts[DONE], self._pace()
        rate = [f"{60 * pace:.1f} a minute"] if pace else []
        self._bar.set_postfix_str(", ".join([*rate, *self._troubles()]), refresh=False)
        total = self.outlook.total
        if total is not None:
            self._bar.initial = self.outlook.before
            self._bar.total = max(total, done + self.outlook.before)
            done += self.outlook.before
        self._bar.update(done - self._bar.n)

    def _logs(self) -> list[Path]:
        return [path for path in self._folder.glob(self._pattern) if path.is_file()]

    def _pace(self) -> float:
        """Futures a second of this run."""
        return self.counts[DONE] / max(1e-9, time.monotonic() - self._began)

    def _troubles(self) -> list[str]:
        return [f"{self.counts[status]:,} {status}" for status in (SKIPPED, FAILED) if self.counts[status]]

    def __enter__(self) -> "ProgressTracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.outlook.stop()
        self.look()
        self._bar.close()


def tell(text: str) -> None:
    """Print a line on standard error, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def explain(error: VidjacobiError) -> None:
    """Print what ended a worker."""
    tell(f"vidjacobi: error: {error}")
