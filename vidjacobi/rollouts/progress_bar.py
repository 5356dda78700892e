"""The progress bar of a decode: tokens decided, passes, tokens per pass, time left."""

import sys
from types import TracebackType

from tqdm import tqdm

from vidjacobi.decoding.recipe import Progress
from vidjacobi.errors import number_of


class ProgressBar:
    """Feed it to ``observe=``. No bar where standard error is not a terminal; with ``quiet`` no lines either."""

    def __init__(self, label: str, clips: int = 1, quiet: bool = False) -> None:
        self._clips, self._quiet = clips, quiet
        # None: tqdm looks whether it is a terminal
        disable = True if quiet else None
        self._bar = tqdm(desc=label, unit="tok", disable=disable, dynamic_ncols=True, leave=False)

    def __call__(self, progress: Progress) -> None:
        per_pass = progress.decided / progress.passes / self._clips  # of one clip, as papers count it
        self._bar.total = progress.total
        self._bar.set_postfix_str(
            f"{number_of(progress.passes, 'pass')}, {per_pass:.1f} tok/pass", refresh=False
        )
        self._bar.update(progress.decided - self._bar.n)

    def say(self, line: str) -> None:
        """Print a line above the bar, on standard error."""
        if not self._quiet:
            self._bar.write(line, file=sys.stderr)

    def say_done(self, line: str) -> None:
        """Print a line above the bar, on standard output."""
        if not self._quiet:
            self._bar.write(line, file=sys.stdout)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
