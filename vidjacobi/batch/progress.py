"""How far a batch is, from the logs that its workers append to; whatever engine they run on."""

import json
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from vidjacobi.batch.manifest import DONE, FAILED, LOGS, SKIPPED, label_of
from vidjacobi.errors import VidjacobiError
from vidjacobi.output.rows import new_lines

_EVERY = 10.0  # seconds between lines where standard error is not a terminal


class ProgressTracker:
    """Counts the rows that a shard's workers add from now on, and shows them. Use it as a context.

    Attributes:
        counts: rows by status.
    """

    def __init__(self, out: Path, shard: str) -> None:
        self._folder, self._pattern = out / LOGS, f"{label_of(shard)}-*.jsonl"
        # by file, the bytes that are counted or were there before this run
        self._read = {path: path.stat().st_size for path in self._folder.glob(self._pattern)}
        self.counts: Counter[str] = Counter()
        self._began = self._told = time.monotonic()
        self._bar = tqdm(desc="futures", unit="", disable=None, dynamic_ncols=True)

    def look(self) -> None:
        """Read the rows that are new, and show the counts."""
        for path in self._folder.glob(self._pattern):
            lines, self._read[path] = new_lines(path, self._read.get(path, 0))
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):  # a line of a later version, or none of ours
                    self.counts[json.loads(line)["status"]] += 1
        if not self._bar.disable:
            self._bar.set_postfix_str(", ".join(self._troubles()), refresh=False)
            self._bar.update(self.counts[DONE] - self._bar.n)
        elif time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            tell(self.line())

    def line(self) -> str:
        """Futures done, a minute, and what was skipped or failed."""
        spent = max(1e-9, time.monotonic() - self._began)
        done = self.counts[DONE]
        return ", ".join([f"{done} futures done ({60 * done / spent:.1f} a minute)", *self._troubles()])

    def _troubles(self) -> list[str]:
        return [f"{self.counts[status]} {status}" for status in (SKIPPED, FAILED) if self.counts[status]]

    def __enter__(self) -> "ProgressTracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.look()
        self._bar.close()


def tell(text: str) -> None:
    """Print a line on standard error, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def explain(error: VidjacobiError) -> None:
    """Print what ended a worker."""
    tell(f"vidjacobi: error: {error}")
