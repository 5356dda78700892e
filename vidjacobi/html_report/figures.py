"""The plots of reports as matplotlib figures, drawn in one style: ``drawing`` makes SVG and PDF of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vidjacobi.errors import InvalidArgument
from vidjacobi.html_report.drawing import PAPER, SERIES, SOFT, blank, plain_numbers, style, window_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_MARKERS = "osD^vP*"  # 7 markers and 8 colours: 56 lines look different
_BINS = 40  # most bars of a histogram


@dataclass(frozen=True)
class Point:
    """A value at a window, and the ends of its interval if it has one."""

    window: int
    value: int | float
    low: int | float | None = None
    high: int | float | None = None


@dataclass(frozen=True)
class Curve:
    """The values of one decoder over its windows; lossy decoders are dashed."""

    label: str
    points: Sequence[Point]
    lossy: bool = False


@dataclass(frozen=True)
class ReferenceLevel:
    """A value without a window, such as AR's or the floor of FVD, drawn as a horizontal line across the plot."""

    label: str
    value: int | float
    low: int | float | None = None
    high: int | float | None = None


def over_window(
    label: str, lines: Sequence[Curve], levels: Sequence[ReferenceLevel] = (), log: bool = False
) -> "Figure":
    """NFE, latency or FVD over the window, with a line for each decoder and a bar for each interval.

    A decoder looks the same in all plots whose ``lines`` have the same order. Raises InvalidArgument where there is
    nothing to draw, where two names are the same, and for values that are not finite or, with ``log``, not positive.
    With ``log``, an interval that begins at or below 0 runs out of the plot.
    """
    values = _checked(label, lines, levels, log)
    windows = sorted({point.window for line in lines for point in line.points})
    with style():
        figure, axis = blank(label, "window: positions per pass")
        handles = _draw_lines(axis, lines)
        handles |= {level.label: _draw_level(axis, level, index) for index, level in enumerate(levels)}
        window_axis(axis, windows or [1], windows or [1])
        if log:
            _log2(axis, values)
        _legend(figure, handles)
    return figure


def by_decoder(
    label: str, lines: Sequence[Curve], levels: Sequence[ReferenceLevel] = (), log: bool = False
) -> "Figure":
    """NFE, latency or FVD of decoders that ran at one window each: a row for each decoder, the first on top.

    Colours, markers and errors are those of ``over_window``.
    """
    values = _checked(label, lines, levels, log)
    drawn = [(index, line) for index, line in enumerate(lines) if line.points]
    several = [line.label for _, line in drawn if len(line.points) > 1]
    if several:
        raise InvalidArgument(f"{label}: several windows of {', '.join(several)}: draw it over the window")
    with style():
        figure, axis = blank("", label, size=(5.0, 1.5 + 0.3 * len(drawn)))
        for row, (index, line) in enumerate(drawn):
            (point,) = line.points
            _draw_marks(axis, line, index, [point.value], [row])
            if point.low is not None and point.high is not None:
                axis.plot([point.low, point.high], [row] * 2, color=_colour(index), linewidth=1.4)
        handles = {
            level.label: _draw_level(axis, level, index, upright=True) for index, level in enumerate(levels)
        }
        if log:
            _log2(axis, values, upright=False)
        axis.set_yticks(range(len(drawn)), [line.label for _, line in drawn])
        axis.set_ylim(len(drawn) - 0.5, -0.5)
        axis.grid(False, axis="y")
        _legend(figure, handles)
    return figure


def histogram(label: str, values: Sequence[int | float], count: str = "clips") -> "Figure":
    """A histogram of values, with the median marked. Raises InvalidArgument, see `over_window`."""
    from matplotlib.ticker import MaxNLocator

    _check(label, values)
    with style():
        figure, axis = blank(count, label)
        axis.hist(values, bins=min(_BINS, max(5, int(2 * len(values) ** 0.5))), color=SERIES[0])
        middle = float(np.median(values))
        axis.axvline(middle, color=SERIES[1], linewidth=1.5)
        axis.set_title(f"median {middle:,.4g}, n = {len(values):,}", fontsize=11, loc="right")
        axis.grid(False, axis="x")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def throughput(finished: Sequence[int | float], count: str = "clips") -> "Figure":
    """Clips per minute over the time of a run.

    Args:
        finished: when each clip was finished, in seconds since the start, in any order.
        count: what is counted.

    Raises InvalidArgument without times, and for times that are negative or not finite.
    """
    _check("times", finished)
    if min(finished) < 0:
        raise InvalidArgument(f"times: {min(finished)} seconds after the start")
    end = max(finished) or 1e-9
    scale, unit = (1, "seconds") if end < 180 else (60, "minutes") if end < 10800 else (3600, "hours")
    bins = min(_BINS, max(1, int(len(finished) ** 0.5)))
    done, edges = np.histogram(finished, bins=bins, range=(0, end))
    # A bar lasts end / bins seconds, so its clips per minute are done * 60 / (end / bins).
    rate, mean = done * 60 * bins / end, len(finished) * 60 / end
    with style():
        figure, axis = blank(f"{count} per minute", f"{unit} since the start")
        axis.stairs(rate, edges / scale, fill=True, color=SERIES[0], alpha=0.35)
        axis.stairs(rate, edges / scale, color=SERIES[0], linewidth=1.5)
        axis.axhline(mean, color=SERIES[1], linewidth=1.5)
        axis.set_title(f"mean {mean:,.3g}", fontsize=11, loc="right")
        axis.set_ylim(bottom=0)
    return figure


def _checked(
    label: str, lines: Sequence[Curve], levels: Sequence[ReferenceLevel], log: bool
) -> list[int | float]:
    """All values of a plot and the ends of their intervals. Raises InvalidArgument for what cannot be drawn."""
    labels = [*(line.label for line in lines), *(level.label for level in levels)]
    if len(set(labels)) < len(labels):
        raise InvalidArgument(f"{label}: two lines of the same name: {', '.join(labels)}")
    points = [point for line in lines for point in line.points]
    marks: list[Point | ReferenceLevel] = [*points, *levels]
    ends = [x for mark in marks for x in (mark.low, mark.high) if x is not None]
    _check(label, [mark.value for mark in marks], positive=log)
    _check(label, [0, *ends])
    values = [*(mark.value for mark in marks), *(end for end in ends if end > 0 or not log)]
    _check("windows", [1, *(point.window for point in points)], positive=True)
    return values


def _draw_lines(axis: "Axes", lines: Sequence[Curve]) -> "dict[str, Line2D]":
    """Draw all lines; returns what the legend shows, by name.

    Lines are shifted sideways by at most 0.06 octaves each, and by 0.4 octaves all together, so that intervals do
    not hide each other where values are alike.
    """
    # Three lines are drawn at 2^-0.06, 1 and 2^0.06 times their windows.
    step, middle = min(0.06, 0.4 / max(1, len(lines))), (len(lines) - 1) / 2
    handles = {}
    for index, line in enumerate(lines):
        if not line.points:
            continue
        points = sorted(line.points, key=lambda point: point.window)
        windows = [point.window * 2.0 ** (step * (index - middle)) for point in points]
        handles[line.label] = _draw_marks(axis, line, index, windows, [point.value for point in points])
        for window, point in zip(windows, points, strict=True):
            if point.low is not None and point.high is not None:
                axis.plot(
                    [window] * 2, [point.low, point.high], color=_colour(index), linewidth=1.2, zorder=1.5
                )
    return handles


def _draw_marks(
    axis: "Axes", line: Curve, index: int, x: Sequence[int | float], y: Sequence[int | float]
) -> "Line2D":
    """The values of one decoder, joined by a line; those of lossy ones are hollow, and the line is dashed."""
    (handle,) = axis.plot(
        x,
        y,
        color=_colour(index),
        linestyle="--" if line.lossy else "-",
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=5,
        markerfacecolor=PAPER if line.lossy else _colour(index),
    )
    return handle


def _colour(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _draw_level(axis: "Axes", level: ReferenceLevel, index: int, upright: bool = False) -> "Line2D":
    dashes = ("-", (0, (1, 2)), (0, (6, 2, 1, 2)))[index % 3]
    line, span = (axis.axvline, axis.axvspan) if upright else (axis.axhline, axis.axhspan)
    if level.low is not None and level.high is not None:
        span(level.low, level.high, color=SOFT, alpha=0.15, linewidth=0)
    return line(level.value, color=SOFT, linestyle=dashes, linewidth=1.4, zorder=1.2)


def _legend(figure: "Figure", handles: "dict[str, Line2D]") -> None:
    if not handles:
        return
    # About 36 letters fit into a row of the legend; the longest name decides how many names do.
    ncols = max(1, 36 // max(12, *map(len, handles)))
    legend = figure.legend(
        list(handles.values()), ["name"] * len(handles), loc="outside lower left", ncols=ncols
    )
    for text, name in zip(legend.get_texts(), handles, strict=True):
        text.set_text(name)  # set afterwards, since matplotlib leaves out names that begin with _


def _log2(axis: "Axes", values: Sequence[int | float], upright: bool = True) -> None:
    """Make the y axis (or, lying, the x axis) logarithmic and fit it to ``values``, which are positive.

    Ticks are at powers of 2 and, on a short axis, between them.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = min(values), max(values)
    room = max((high / low) ** 0.06, 1.1)
    (axis.set_yscale if upright else axis.set_xscale)("log", base=2, nonpositive="clip")
    (axis.set_ylim if upright else axis.set_xlim)(low / room, high * room)
    one = axis.yaxis if upright else axis.xaxis
    one.set_major_locator(LogLocator(2, subs=(1, 1.5) if high / low < 8 else (1,)))
    one.set_minor_locator(NullLocator())
    plain_numbers(axis)  # the scale has replaced the formatters


def _check(label: str, values: Sequence[int | float], positive: bool = False) -> None:
    if not len(values):
        raise InvalidArgument(f"{label}: nothing to draw")
    bad = [x for x in values if not np.isfinite(x) or (positive and x <= 0)]
    if bad:
        wanted = "finite and positive" if positive else "finite"
        raise InvalidArgument(f"{label}: {bad[0]} cannot be drawn; values must be {wanted}")
