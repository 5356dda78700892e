"""How plots look, and how a drawn figure is handed out: as SVG text for a page, and as SVG and PDF files for papers.

Sizes are made for a phone: a plot is 360 units wide, so that its letters are as large as the text around it.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from vidjacobi.output.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of style.css in its light theme. Every colour stands for a variable of the page: "#0072b2" becomes
# "var(--series-0, #0072b2)" in the SVG text, so the same plot follows a dark theme and still works alone.
INK, SOFT, RULE, PAPER = "#1a1a1a", "#5c5c5c", "#d6d6d6", "#ffffff"
SERIES = ("#0072b2", "#d55e00", "#00805f", "#b5477f", "#8a6d00", "#3d8fc4", "#6a4fb3", "#7f3b08")
_VARIABLES = {
    **{INK: "ink", SOFT: "soft", RULE: "rule", PAPER: "paper"},
    **{colour: f"series-{index}" for index, colour in enumerate(SERIES)},
}
_SIZE = (5.0, 4.1)  # inches; one inch is 72 units
_STYLE = {
    "svg.fonttype": "none",  # text stays text, which the page's font then draws
    "svg.hashsalt": "vidjacobi",  # the same figure is the same text
    "pdf.fonttype": 42,  # TrueType: publishers refuse matplotlib's default, Type 3
    "font.size": 12,
    "text.parse_math": False,  # a $ in a name is a $
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 11,
}
_OPENING = r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" \1>'


def style() -> AbstractContextManager[None]:
    """What figures are drawn and written in."""
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def blank(y: str, x: str, size: tuple[float, float] = _SIZE) -> "tuple[Figure, Axes]":
    """An empty figure, with the names of its axes."""
    # A Figure that is made directly has no window and no global state, unlike those of pyplot.
    from matplotlib.figure import Figure

    figure = Figure(size, dpi=72, layout="constrained")
    axis = figure.subplots()
    axis.set_xlabel(x)
    # a title is horizontal, and the label of the y axis would be turned
    axis.set_title(y, loc="left", fontsize=12)
    plain_numbers(axis)
    return figure, axis


def plain_numbers(axis: "Axes") -> None:
    """Numbers such as 1,024 at the ticks of both axes, and none at the minor ones."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for one in (axis.xaxis, axis.yaxis):
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        one.set_minor_formatter(NullFormatter())


def window_axis(axis: "Axes", ticks: Sequence[int], ends: Sequence[int | float]) -> None:
    """A logarithmic x axis of base 2 with plain numbers at ``ticks``, half an octave beyond its outer ``ends``.

    Without the fixed ends, the axis of a single window would be as narrow as the gaps between its points, which are
    shifted sideways by hundredths of an octave: they would seem to stand at other windows.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_xscale("log", base=2)
    plain_numbers(axis)  # the scale has replaced the formatters
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlim(min(ends) / 2**0.5, max(ends) * 2**0.5)


def svg(figure: "Figure") -> str:
    """A figure as SVG text for use inside HTML: without a fixed size, and with the page's colours.

    The colours of this module become variables of the page, with themselves as the fallback.
    """
    body = _svg_file(figure, transparent=True)
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


def write_vector(stem: Path, figure: "Figure") -> None:
    """Write STEM.svg and STEM.pdf, each whole or not at all, for papers and slides. Raises BadOutput."""
    with replacing(stem.with_name(stem.name + ".svg")) as partial:
        partial.write_text(_svg_file(figure), encoding="utf-8")
    with replacing(stem.with_name(stem.name + ".pdf")) as partial, style():
        figure.savefig(partial, format="pdf", metadata={"CreationDate": None})


def _svg_file(figure: "Figure", transparent: bool = False) -> str:
    text = io.StringIO()
    with style():
        figure.savefig(text, format="svg", transparent=transparent, metadata={"Date": None})
    return text.getvalue()


def _variable(match: re.Match[str]) -> str:
    name = _VARIABLES.get(match[0])
    return f"var(--{name}, {match[0]})" if name else match[0]
