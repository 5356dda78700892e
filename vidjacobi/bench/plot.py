"""A plot of passes and tokens per pass over the window: a line for each decoder, and those of the MC-SJD paper.

Bars are 95 % intervals of the mean over clips.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidjacobi.bench.decode_rows import AR
from vidjacobi.errors import number_of
from vidjacobi.html_report.drawing import window_axis, write_vector
from vidjacobi.output.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# MC-SJD paper, table 2: Cosmos-1 AR 4B on RealEstate10K, 9 -> 24 frames, top-p 0.8, T 1; 7,680 tokens / NFE
PAPER_WINDOWS = (16, 32, 64, 128)
PAPER = {
    "SJD": (3.38, 4.07, 4.26, 4.29),
    "$\\pi_{MC}$": (3.86, 5.94, 9.19, 13.3),
    "$\\pi_{GS}$": (3.96, 6.06, 9.47, 13.6),
}
_MARKERS = "osD^vPX*<>hp"
# without C7, the grey of the paper's curves
_COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9", "navy", "k", "gold")
# where the names of the paper's curves are, in points from the end of the curve
_LABELS = {"SJD": (4, -9), "$\\pi_{MC}$": (4, -7), "$\\pi_{GS}$": (4, 2)}


def plot(lines: Sequence[dict[str, Any]]) -> "Figure":
    """A figure with two panels for each model, from the lines of ``vidjacobi.bench.table.summary``."""
    # A Figure that is made directly has no window and no global state, unlike those of pyplot.
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(line["model"] for line in lines))
    decoders = [name for name in dict.fromkeys(line["decoder"] for line in lines) if name != AR]
    figure = Figure((13, 5.2 * len(models)), layout="constrained")
    axes = figure.subplots(len(models), 2, squeeze=False)
    for row, model in enumerate(models):
        here = [line for line in lines if line["model"] == model]
        for axis, value in zip(axes[row], ("passes", "tokens_per_pass"), strict=True):
            for index, decoder in enumerate(decoders):
                draw(axis, [line for line in here if line["decoder"] == decoder], value, index)
        clips = max(line["clips"] for line in here)
        axes[row, 0].set_title(
            f"{model}: passes per clip (NFE), mean of {number_of(clips, 'clip')}, 95 % intervals"
        )
        axes[row, 1].set_title(f"{model}: tokens per pass; grey: Cosmos-4B of the MC-SJD paper")
        draw_paper(axes[row, 1])
        dress(axes[row, 0], here)
        dress(axes[row, 1], here, PAPER_WINDOWS)
    handles, names = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=9, title="decoder (dashed: lossy)")
    return figure


def draw(axis: "Axes", lines: Sequence[dict[str, Any]], value: str, index: int) -> None:
    """Draw one decoder: a curve over its windows or, with lanes, points at its mean positions a pass."""
    lanes = any(line["lanes"] != "raster" for line in lines)
    points = sorted((place(line), line[value], line[f"{value}_low"], line[f"{value}_high"]) for line in lines)
    lossy = any(line["guarantee"] == "lossy" for line in lines)
    colour = _COLOURS[index % len(_COLOURS)]
    for x, _, low, high in points:
        if low is not None:  # one clip has no interval
            axis.plot([x, x], [low, high], color=colour, linewidth=1, zorder=1.5)
    axis.plot(
        [point[0] for point in points],
        [point[1] for point in points],
        color=colour,
        linestyle="none" if lanes else "--" if lossy else "-",
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=8 if lanes else 5,
        markerfacecolor="white" if lossy else None,
        markeredgewidth=1.6 if lossy else 1.0,
        label=lines[0]["decoder"] + (" (lanes)" if lanes else "") if lines else None,
    )


def place(line: dict[str, Any]) -> float:
    """Where a line stands on the x axis: at its window or, with lanes, at its mean positions a pass."""
    return float(line["window"] if line["lanes"] == "raster" else line["positions"])


def draw_paper(axis: "Axes") -> None:
    """Draw the curves of the paper in grey, below everything else."""
    for name, values in PAPER.items():
        axis.plot(PAPER_WINDOWS, values, color="0.6", linestyle=(0, (4, 3)), linewidth=1.2, zorder=0)
        end = (PAPER_WINDOWS[-1], values[-1])
        axis.annotate(name, end, _LABELS[name], textcoords="offset points", color="0.45", fontsize=9)


def dress(axis: "Axes", lines: Sequence[dict[str, Any]], more: Sequence[int] = ()) -> None:
    """Give a panel logarithmic axes with plain numbers, and ticks at the windows.

    ``more`` are windows of other curves, which have room but no ticks.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    shown = [line for line in lines if line["decoder"] != AR]
    windows = sorted({line["window"] for line in shown if line["lanes"] == "raster"})
    window_axis(axis, windows or [1], [*map(place, shown), *more] or [1])
    axis.set_yscale("log", base=2, nonpositive="clip")  # an interval may reach below 0
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_major_locator(LogLocator(2, subs=(1, 1.5)))
    axis.yaxis.set_minor_locator(LogLocator(2, subs=(1.25, 1.75)))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("window: positions per pass (lanes: at their mean)")
    axis.grid(True, which="major", color="0.9")
    axis.set_axisbelow(True)  # a window's interval lies on its line of the grid
    axis.spines[["top", "right"]].set_visible(False)


def write_plot(path: Path, lines: Sequence[dict[str, Any]], finished: bool) -> None:
    """Write the plot as PNG and, of a finished bench, as SVG and PDF beside it; nothing where only AR was run."""
    if all(line["decoder"] == AR for line in lines):
        return
    figure = plot(lines)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110)
    if finished:
        write_vector(path.with_suffix(""), figure)
