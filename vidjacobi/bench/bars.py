"""Bars: what the results of a bench have to reach. Their numbers are in the configuration of the bench.

A bar is judged by the interval of a paired estimate (see ``table``), not by the mean alone: "fewer passes" means
that the whole 95 % interval of the ratio of passes lies below 1. An estimate from one clip has no interval and
proves nothing.
"""

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
class BarResult:
    """The judgement on one bar. ``met`` is None where nothing was measured, as before a bench has finished."""

    bar: str
    measured: Estimate | None
    met: bool | None

    def cells(self) -> list[str]:
        """The cells of its row in the table of bars."""
        found = self.measured
        interval = "" if found is None or found.low is None else f"{found.low:.3f} to {found.high:.3f}"
        word = {None: "not measured", True: "met", False: "not met"}[self.met]
        return [self.bar, f"{found.mean:.3f}" if found else "", interval, word]


@dataclass(frozen=True)
class Names:
    """The decoders that others are compared with; see ``BenchConfig``."""

    baseline: str
    reference: str


@runtime_checkable
class Bar(Protocol):
    """Something to reach, judged on the decodes of one model."""

    def judge(self, rows: Rows, names: Names) -> list[BarResult]:
        """The judgements of this bar on all decodes ``rows``."""
        ...


@dataclass(frozen=True)
class FewerPasses:
    """The passes are at most ``most[window]`` of the baseline's, and the whole interval of the ratio is below 1."""

    decoder: str
    most: Mapping[int, float]

    def judge(self, rows: Rows, names: Names) -> list[BarResult]:
        found = []
        for window, most in self.most.items():
            measured = ratio(rows, (self.decoder, window), (names.baseline, window))
            bar = f"{self.decoder} / {names.baseline}, passes at window {window}: at most {most:.2f}"
            found.append(judged(bar, measured, partial(reaches, most)))
        return found


@dataclass(frozen=True)
class LanesAtEqualPositions:
    """A decoder with lanes, which are lossy, saves enough passes and loses little.

    At equal mean positions a pass, its passes are at most ``passes`` of the reference's. Its nll differs from AR's
    by at most ``nll`` nats a token, and so does its excess from 0. The nll differs much more between two samples
    than within one, so the interval of the excess is about a tenth as wide.
    """

    decoder: str
    passes: float
    nll: float

    def judge(self, rows: Rows, names: Names) -> list[BarResult]:
        found = []
        # [0]: without any decode the bars are still listed, as not measured.
        for window in sorted({row.window for row in rows if row.decoder == self.decoder}) or [0]:
            key, whose = (self.decoder, window), f"{self.decoder} (window {window})"
            passes = ratio_at_equal_positions(rows, key, names.reference)
            nll = nll_above_ar(rows, key)
            bar = f"{whose} / {names.reference}, passes at equal mean positions: at most {self.passes:.2f}"
            found.append(judged(bar, passes, partial(reaches, self.passes)))
            bar = f"{whose}, nll above {AR}'s: within {self.nll:.2f} nats a token"
            found.append(judged(bar, nll, lambda e: abs(e.mean) <= self.nll))
            excess = over_clips((row.clip, row.excess) for row in of(rows, key).values())
            bar = f"{whose}, nll above its own expectation (excess): within {self.nll:.2f} nats a token"
            found.append(judged(bar, excess, lambda e: abs(e.mean) <= self.nll))
        return found


@dataclass(frozen=True)
class AheadOnce:
    """Fewer passes than the decoder ``of`` at some window >= ``least``: the interval of that ratio is below 1."""

    decoder: str
    of: str
    least: int

    def judge(self, rows: Rows, names: Names) -> list[BarResult]:
        windows = sorted(
            {row.window for row in rows if row.decoder == self.decoder and row.window >= self.least}
        )
        ratios = [(window, ratio(rows, (self.decoder, window), (self.of, window))) for window in windows]
        found = [
            judged(f"{self.decoder} / {self.of}, passes at window {window}: below 1", estimate, below_one)
            for window, estimate in ratios
        ]
        # The window whose interval ends lowest is the best evidence; one clip alone has a mean only.
        best = min(
            (e for _, e in ratios if e), key=lambda e: e.mean if e.high is None else e.high, default=None
        )
        bar = f"{self.decoder} / {self.of}, passes at one window >= {self.least}: below 1"
        return [*found, judged(bar, best, below_one)]


@dataclass(frozen=True)
class Falling:
    """The passes fall from each of the windows to the next. The worst of these steps is shown."""

    decoder: str
    windows: Sequence[int]

    def judge(self, rows: Rows, names: Names) -> list[BarResult]:
        steps = list(pairwise(self.windows))
        ratios = [ratio(rows, (self.decoder, after), (self.decoder, before)) for before, after in steps]
        known = [found for found in ratios if found]
        # Windows 16, 32 and 64 make the steps 32 / 16 and 64 / 32. All must have been measured.
        worst = max(known, key=lambda e: e.mean) if len(known) == len(ratios) else None
        windows = ", ".join(map(str, self.windows))
        bar = f"{self.decoder}, passes from one window to the next ({windows}), worst step: below 1"
        return [judged(bar, worst, below_one)]


@dataclass(frozen=True)
class LevelsOff:
    """From one window to another the passes stay at ``least`` or more of what they were."""

    decoder: str
    windows: Sequence[int]
    least: float

    def __post_init__(self) -> None:
        if len(self.windows) != 2:
            raise InvalidArgument(f"bar levels_off: two windows, not {list(self.windows)}")

    def judge(self, rows: Rows, names: Names) -> list[BarResult]:
        before, after = self.windows
        measured = ratio(rows, (self.decoder, after), (self.decoder, before))
        bar = (
            f"{self.decoder}, passes at window {after} / at {before}: at least {self.least:.2f} (levels off)"
        )
        return [judged(bar, measured, lambda e: e.mean >= self.least)]


# names in the configuration of a bench -> bars
BARS: dict[str, type] = {
    "fewer_passes": FewerPasses,
    "lanes": LanesAtEqualPositions,
    "ahead_once": AheadOnce,
    "falling": Falling,
    "levels_off": LevelsOff,
}


def below_one(estimate: Estimate) -> bool:
    """Whether the whole interval is below 1; False without an interval."""
    return estimate.high is not None and estimate.high < 1


def reaches(most: float, estimate: Estimate) -> bool:
    """Whether a ratio is at most ``most``, with an interval that is below 1."""
    return estimate.mean <= most and below_one(estimate)


def judged(bar: str, measured: Estimate | None, test: Callable[[Estimate], bool]) -> BarResult:
    """The judgement on a bar by a ``test`` of what was measured, if anything was."""
    return BarResult(bar, measured, None if measured is None else test(measured))


def bars_table(results: Sequence[BarResult]) -> str:
    """A Markdown table of all judgements."""
    return markdown(["bar", "measured", "95 % interval", ""], [result.cells() for result in results])
