"""Plots for a page, as SVG text that takes the page's font and colours, light or dark, and prints well.

Sizes are made for a phone: a plot is 360 units wide, so that its letters are as large as the text around it.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vidjacobi.errors import InvalidArgument

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# The colours of style.css in its light theme. Every colour stands for a variable of the page: "#0072b2" becomes
# "var(--series-0, #0072b2)" in the SVG text, so the same plot follows a dark theme and still works alone.
_INK, _SOFT, _RULE, _PAPER = "#1a1a1a", "#5c5c5c", "#d6d6d6", "#ffffff"
_SERIES = ("#0072b2", "#d55e00", "#00805f", "#b5477f", "#8a6d00", "#3d8fc4", "#6a4fb3", "#7f3b08")
_VARIABLES = {
    **{_INK: "ink", _SOFT: "soft", _RULE: "rule", _PAPER: "paper"},
    **{colour: f"series-{index}" for index, colour in enumerate(_SERIES)},
}
_MARKERS = "osD^vP*"  # 7 markers and 8 colours: 56 lines look different
_SIZE = (5.0, 4.1)  # inches; one inch is 72 units
_BINS = 40  # most bars of a histogram
_STYLE = {
    "svg.fonttype": "none",  # text stays text, which the page's font then draws
    "font.size": 12,
    "text.parse_math": False,  # a $ in a name is a $
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 11,
}


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
) -> str:
    """NFE, latency or FVD over the window, with a line for each decoder, as SVG text.

    A decoder looks the same in all plots whose ``lines`` have the same order. Raises InvalidArgument where there is
    nothing to draw, where two names are the same, and for values that are not finite or, with ``log``, not positive.
    """
    labels = [*(line.label for line in lines), *(level.label for level in levels)]
    if len(set(labels)) < len(labels):
        raise InvalidArgument(f"{label}: two lines of the same name: {', '.join(labels)}")
    points = [point for line in lines for point in line.points]
    marks: list[Point | ReferenceLevel] = [*points, *levels]
    values = [x for mark in marks for x in (mark.value, mark.low, mark.high) if x is not None]
    windows = sorted({point.window for point in points})
    _check(label, values, positive=log)
    _check("windows", [1, *windows], positive=True)
    with _style():
        figure, axis = _blank(label, "window: positions per pass")
        handles = _draw_lines(axis, lines, apart=0.0 if log else 0.06)
        handles |= {level.label: _draw_level(axis, level, index) for index, level in enumerate(levels)}
        _windows(axis, windows)
        if log:
            _log2(axis, max(values) / min(values))
        # About 36 letters fit into a row of the legend; the longest name decides how many names do.
        ncols = max(1, 36 // max(12, *map(len, handles)))
        legend = figure.legend(
            list(handles.values()), ["name"] * len(handles), loc="outside lower left", ncols=ncols
        )
        for text, name in zip(legend.get_texts(), handles, strict=True):
            text.set_text(name)  # set afterwards, since matplotlib leaves out names that begin with _
        return svg(figure)


def histogram(label: str, values: Sequence[int | float], count: str = "clips") -> str:
    """A histogram of values, with the median marked, as SVG text. Raises InvalidArgument, see `over_window`."""
    from matplotlib.ticker import MaxNLocator

    _check(label, values)
    with _style():
        figure, axis = _blank(count, label)
        axis.hist(values, bins=min(_BINS, max(5, int(2 * len(values) ** 0.5))), color=_SERIES[0])
        middle = float(np.median(values))
        axis.axvline(middle, color=_SERIES[1], linewidth=1.5)
        axis.set_title(f"median {middle:,.4g}, n = {len(values):,}", fontsize=11, loc="right")
        axis.grid(False, axis="x")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        return svg(figure)


def throughput(finished: Sequence[int | float], count: str = "clips") -> str:
    """Clips per minute over the time of a run, as SVG text.

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
    with _style():
        figure, axis = _blank(f"{count} per minute", f"{unit} since the start")
        axis.stairs(rate, edges / scale, fill=True, color=_SERIES[0], alpha=0.35)
        axis.stairs(rate, edges / scale, color=_SERIES[0], linewidth=1.5)
        axis.axhline(mean, color=_SERIES[1], linewidth=1.5)
        axis.set_title(f"mean {mean:,.3g}", fontsize=11, loc="right")
        axis.set_ylim(bottom=0)
        return svg(figure)


def svg(figure: "Figure") -> str:
    """A figure as SVG text for use inside HTML: without a fixed size, and with the page's colours.

    The colours of this module become variables of the page, with themselves as the fallback.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', _OPENING, body, count=1)
    body = re.sub("#[0-9a-f]{6}", _variable, body)
    # ids must be unique in a page, and matplotlib gives the same ones to every figure. Those that are referred to
    # get a hash of the figure, and the others are dropped.
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    mark = hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{m[1]}-{mark}"' if m[1] in used else "", body)
    return re.sub(r'(href="#|url\(#)([^")]+)', rf"\1\2-{mark}", body).strip()


def png(figure: "Figure", dpi: int = 100) -> bytes:
    """A figure as PNG bytes, for pictures of many pixels such as acceptance maps."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


_OPENING = r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" \1>'


def _variable(match: re.Match[str]) -> str:
    name = _VARIABLES.get(match[0])
    return f"var(--{name}, {match[0]})" if name else match[0]


def _style() -> AbstractContextManager[None]:
    import matplotlib as mpl

    return mpl.rc_context({**_STYLE, "svg.hashsalt": "vidjacobi"})


def _blank(y: str, x: str) -> "tuple[Figure, Axes]":
    # A Figure that is made directly has no window and no global state, unlike those of pyplot.
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(_SIZE, dpi=72, layout="constrained")
    axis = figure.subplots()
    axis.set_xlabel(x)
    # a title is horizontal, and the label of the y axis would be turned
    axis.set_title(y, loc="left", fontsize=12)
    plain = FuncFormatter(lambda value, _: f"{value:,.6g}")
    axis.xaxis.set_major_formatter(plain)
    axis.yaxis.set_major_formatter(plain)
    return figure, axis


def _draw_lines(axis: "Axes", lines: Sequence[Curve], apart: float) -> "dict[str, Line2D]":
    """Draw all lines; returns what the legend shows, by name.

    Lines are shifted sideways by at most ``apart`` octaves each, so that intervals do not hide each other where
    values are alike.
    """
    # Three lines with apart 0.06 are drawn at 2^-0.06, 1 and 2^0.06 times their windows.
    step, middle = min(apart, 0.4 / max(1, len(lines))), (len(lines) - 1) / 2
    return {
        line.label: _draw_line(axis, line, index, shift=2.0 ** (step * (index - middle)))
        for index, line in enumerate(lines)
        if line.points
    }


def _draw_line(axis: "Axes", line: Curve, index: int, shift: float) -> "Line2D":
    colour = _SERIES[index % len(_SERIES)]
    points = sorted(line.points, key=lambda point: point.window)
    windows = [point.window * shift for point in points]
    (handle,) = axis.plot(
        windows,
        [point.value for point in points],
        color=colour,
        linestyle="--" if line.lossy else "-",
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=5,
        markerfacecolor=_PAPER if line.lossy else colour,
    )
    for window, point in zip(windows, points, strict=True):
        if point.low is not None and point.high is not None:
            axis.plot([window] * 2, [point.low, point.high], color=colour, linewidth=1, zorder=1.5)
    return handle


def _draw_level(axis: "Axes", level: ReferenceLevel, index: int) -> "Line2D":
    dashes = ("-", (0, (1, 2)), (0, (6, 2, 1, 2)))[index % 3]
    if level.low is not None and level.high is not None:
        axis.axhspan(level.low, level.high, color=_SOFT, alpha=0.15, linewidth=0)
    return axis.axhline(level.value, color=_SOFT, linestyle=dashes, linewidth=1.4)


def _windows(axis: "Axes", windows: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    formatter = axis.xaxis.get_major_formatter()
    axis.set_xscale("log", base=2)  # this replaces the formatter, so it is set again
    axis.xaxis.set_major_formatter(formatter)
    axis.xaxis.set_major_locator(FixedLocator(windows or [1]))
    axis.xaxis.set_minor_locator(NullLocator())


def _log2(axis: "Axes", span: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    formatter = axis.yaxis.get_major_formatter()
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_locator(LogLocator(2, subs=(1, 1.5) if span < 8 else (1,)))
    axis.yaxis.set_major_formatter(formatter)
    axis.yaxis.set_minor_formatter(NullFormatter())


def _check(label: str, values: Sequence[int | float], positive: bool = False) -> None:
    if not len(values):
        raise InvalidArgument(f"{label}: nothing to draw")
    bad = [x for x in values if not np.isfinite(x) or (positive and x <= 0)]
    if bad:
        wanted = "finite and positive" if positive else "finite"
        raise InvalidArgument(f"{label}: {bad[0]} cannot be drawn; values must be {wanted}")
