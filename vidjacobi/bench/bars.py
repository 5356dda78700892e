"""Bars that a bench's results are held against. Their numbers stand in its configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol, runtime_checkable

from vidjacobi.bench.decode_rows import AR
from vidjacobi.bench.table import (
    Estimate,
    Rows,
    markdown,
    nll_above_ar,
    of,
    over_clips,
    ratio,
    ratio_at_equal_positions,
)
from vidjacobi.errors import InvalidArgument


@dataclass(frozen=True)
class Verdict:
    """One bar: what was asked, what was found; ``met`` None where it was not measured."""

    bar: str
    measured: Estimate | None
    met: bool | None

    def cells(self) -> list[str]:
        """Its line of the table."""
        found = self.measured
        interval = "" if found is None or found.low is None else f"{found.low:.3f} to {found.high:.3f}"
        word = {None: "not measured", True: "met", False: "not met"}[self.met]
        return [self.bar, f"{found.mean:.3f}" if found else "", interval, word]


@dataclass(frozen=True)
class Names:
    """Whom decoders are compared with."""

    baseline: str
    reference: str


@runtime_checkable
class Bar(Protocol):
    """Something to reach, judged on the decodes of one model."""

    def judge(self, rows: Rows, names: Names) -> list[Verdict]: ...


@dataclass(frozen=True)
class FewerPasses:
    """Passes over the baseline's at most ``most[window]``, and the whole interval below 1."""

    decoder: str
    most: Mapping[int, float]

    def judge(self, rows: Rows, names: Names) -> list[Verdict]:
        found = []
        for window, most in self.most.items():
            measured = ratio(rows, (self.decoder, window), (names.baseline, window))
            bar = f"{self.decoder} / {names.baseline}, passes at window {window}: at most {most:.2f}"
            found.append(verdict(bar, measured, partial(reaches, most)))
        return found


@dataclass(frozen=True)
class LanesAtEqualPositions:
    """At equal mean positions passes over the reference's at most ``passes``; nll within ``nll`` of AR's.

    nll differs between any two samples by far more than within a sample, so the excess, whose interval is
    about a tenth as wide, is held against the same number.
    """

    decoder: str
    passes: float
    nll: float

    def judge(self, rows: Rows, names: Names) -> list[Verdict]:
        found = []
        for window in sorted({row.window for row in rows if row.decoder == self.decoder}) or [0]:
            key, whose = (self.decoder, window), f"{self.decoder} (window {window})"
            passes = ratio_at_equal_positions(rows, key, names.reference)
            nll = nll_above_ar(rows, key)
            bar = f"{whose} / {names.reference}, passes at equal mean positions: at most {self.passes:.2f}"
            found.append(verdict(bar, passes, partial(reaches, self.passes)))
            bar = f"{whose}, nll above {AR}'s: within {self.nll:.2f} nats a token"
            found.append(verdict(bar, nll, lambda e: abs(e.mean) <= self.nll))
            excess = over_clips((row.clip, row.excess) for row in of(rows, key).values())
            bar = f"{whose}, nll above its own expectation (excess): within {self.nll:.2f} nats a token"
            found.append(verdict(bar, excess, lambda e: abs(e.mean) <= self.nll))
        return found


@dataclass(frozen=True)
class AheadOnce:
    """Fewer passes than ``of`` at one window of at least ``least`` or more: the interval of one lies below 1."""

    decoder: str
    of: str
    least: int

    def judge(self, rows: Rows, names: Names) -> list[Verdict]:
        windows = sorted(
            {row.window for row in rows if row.decoder == self.decoder and row.window >= self.least}
        )
        ratios = [(window, ratio(rows, (self.decoder, window), (self.of, window))) for window in windows]
        found = [
            verdict(f"{self.decoder} / {self.of}, passes at window {window}: below 1", estimate, below_one)
            for window, estimate in ratios
        ]
        best = min(
            (e for _, e in ratios if e), key=lambda e: e.mean if e.high is None else e.high, default=None
        )
        bar = f"{self.decoder} / {self.of}, passes at one window >= {self.least}: below 1"
        return [*found, verdict(bar, best, below_one)]


@dataclass(frozen=True)
class Falling:
    """Passes fall from each of the windows to the next; the worst step is shown."""

    decoder: str
    windows: Sequence[int]

    def judge(self, rows: Rows, names: Names) -> list[Verdict]:
        steps = list(pairwise(self.windows))
        ratios = [ratio(rows, (self.decoder, after), (self.decoder, before)) for before, after in steps]
        known = [found for found in ratios if found]
        worst = max(known, key=lambda e: e.mean) if len(known) == len(ratios) else None
        windows = ", ".join(map(str, self.windows))
        bar = f"{self.decoder}, passes from one window to the next ({windows}), worst step: below 1"
        return [verdict(bar, worst, below_one)]


@dataclass(frozen=True)
class LevelsOff:
    """From one window to another the passes fall to no less than ``least`` of what they were."""

    decoder: str
    windows: Sequence[int]
    least: float

    def __post_init__(self) -> None:
        if len(self.windows) != 2:
            raise InvalidArgument(f"bar levels_off: two windows, not {list(self.windows)}")

    def judge(self, rows: Rows, names: Names) -> list[Verdict]:
        before, after = self.windows
        measured = ratio(rows, (self.decoder, after), (self.decoder, before))
        bar = (
            f"{self.decoder}, passes at window {after} / at {before}: at least {self.least:.2f} (levels off)"
        )
        return [verdict(bar, measured, lambda e: e.mean >= self.least)]


BARS: dict[str, type] = {
    "fewer_passes": FewerPasses,
    "lanes": LanesAtEqualPositions,
    "ahead_once": AheadOnce,
    "falling": Falling,
    "levels_off": LevelsOff,
}


def below_one(estimate: Estimate) -> bool:
    """Whether the whole interval is; one clip has none and proves nothing."""
    return estimate.high is not None and estimate.high < 1


def reaches(most: float, estimate: Estimate) -> bool:
    """Whether a ratio is small enough, and surely below 1."""
    return estimate.mean <= most and below_one(estimate)


def verdict(bar: str, measured: Estimate | None, test: Callable[[Estimate], bool]) -> Verdict:
    """A bar held against what was measured, if it was."""
    return Verdict(bar, measured, None if measured is None else test(measured))


def bars_table(verdicts: Sequence[Verdict]) -> str:
    """The bars as Markdown."""
    return markdown(["bar", "measured", "95 % interval", ""], [verdict.cells() for verdict in verdicts])
