"""The plots of an evaluation, each drawn once for the page and for the SVG and PDF files beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidjacobi.bench.decode_rows import AR
from vidjacobi.errors import BadOutput
from vidjacobi.eval.prediction import REFERENCES
from vidjacobi.eval.results import Line
from vidjacobi.html_report.drawing import write_vector
from vidjacobi.html_report.figures import Curve, Point, ReferenceLevel, by_decoder, over_window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = "figures"  # folder of the SVG and PDF files


@dataclass(frozen=True)
class Plot:
    """A drawn figure, the stem of its files, and a caption that is true of it."""

    stem: str
    figure: "Figure"
    alt: str
    caption: str


@dataclass(frozen=True)
class _Value:
    """One column of the results as a plot shows it."""

    key: str
    stem: str
    log: bool
    bars: str  # what its error bars are


_VALUES = (
    _Value("passes", "nfe", True, "95 % intervals of the mean over clips"),
    _Value("seconds", "latency", True, "95 % intervals of the mean over clips"),
    _Value(
        "fvd",
        "distance",
        False,
        "95 % intervals of the difference from AR's, over the same clips (paired bootstrap)",
    ),
)


def plots(lines: Sequence[Line], label: str) -> list[Plot]:
    """NFE, latency and distance: over the window or, where all decoders ran at the same one, by decoder."""
    names = [n for n in dict.fromkeys(line["decoder"] for line in lines) if n not in (AR, *REFERENCES)]
    windows = {line["window"] for line in lines if line["decoder"] in names}
    draw = by_decoder if len(windows) == 1 else over_window
    over = (
        f"at window {next(iter(windows))}" if len(windows) == 1 else "over the window, one line per decoder"
    )
    found = []
    for value in _VALUES:
        title = {"passes": "NFE", "seconds": "latency [s]", "fvd": label}[value.key]
        curves = [curve(lines, name, value.key) for name in names]
        levels = [
            ReferenceLevel(line["decoder"], line[value.key])
            for line in lines
            if line["decoder"] in (AR, *REFERENCES) and line[value.key] is not None
        ]
        caption = caption_of(curves, levels, value)
        found.append(Plot(value.stem, draw(title, curves, levels, value.log), f"{title} {over}", caption))
    return found


def caption_of(curves: Sequence[Curve], levels: Sequence[ReferenceLevel], value: _Value) -> str:
    """What the marks of this plot mean; only of what is on it."""
    barred = any(point.low is not None for one in curves for point in one.points)
    parts = [
        f"Bars: {value.bars}." if barred else "",
        f"Grey: {', '.join(level.label for level in levels)}." if levels else "",
        "Hollow: lossy." if any(one.lossy and one.points for one in curves) else "",
    ]
    return " ".join(part for part in parts if part)


def curve(lines: Sequence[Line], name: str, key: str) -> Curve:
    """The values of one decoder over its windows, with their intervals."""
    mine = [line for line in lines if line["decoder"] == name]
    points = [Point(line["window"], line[key], *ends(line, key)) for line in mine if line[key] is not None]
    return Curve(name, points, mine[0]["guarantee"] == "lossy")


def ends(line: Line, key: str) -> tuple[float | None, float | None]:
    """The interval around a value; around a distance it is that of its difference from AR's."""
    if key != "fvd":
        return line[f"{key}_low"], line[f"{key}_high"]
    difference = line["fvd_above_ar"]
    if difference is None:
        return None, None
    above_ar = line["fvd"] - difference["mean"]
    return above_ar + difference["low"], above_ar + difference["high"]


def write_figures(out: Path, drawn: Sequence[Plot]) -> None:
    """Write every plot as SVG and PDF into the folder ``figures`` of ``out``. Raises BadOutput."""
    folder = out / FIGURES
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BadOutput(f"{folder}: cannot be made: {error.strerror or error}") from error
    for plot in drawn:
        write_vector(folder / plot.stem, plot.figure)
