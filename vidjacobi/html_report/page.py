"""Reports: records become a single HTML file that needs no network, and no font or script from elsewhere.

The commands for evaluation and batches fill these records. All text is escaped, so that names of clips may be
anything. Only `Figure.picture`, if it is SVG, goes into the page as it is; vidjacobi.html_report.figures makes it.
"""

import hashlib
import math
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib.resources import files
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.html_report.media import Film, Video, film, picture_kind, picture_uri
from vidjacobi.output.atomic import replacing
from vidjacobi.registry import suggest

if TYPE_CHECKING:
    from jinja2 import Template

KINDS = ("text", "number", "interval")
MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval, both None where there is none. The value may lie outside the interval."""

    value: int | float
    low: int | float | None = None
    high: int | float | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise InvalidArgument(f"an interval has two ends or none, not {self.low} to {self.high}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise InvalidArgument(f"an interval from {self.low} up to {self.high}")


Cell = str | Real | Interval | None


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: heading of the column.
        kind: "text" (sorted as text, with clip 2 before clip 10), "number", or "interval" (sorted by its value).
        digits: decimals of numbers; None shows whole numbers without and others with two.
    """

    name: str
    kind: str = "text"
    digits: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = suggest(self.kind, list(KINDS))
            raise InvalidArgument(
                f"column {self.name!r}: unknown kind {self.kind!r}{near}; there are {', '.join(KINDS)}"
            )


@dataclass(frozen=True)
class Table:
    """Rows that a click on a heading sorts, with `caption` above and `note` below. None is a missing cell.

    Empty lines in the note separate its paragraphs.

    Raises InvalidArgument for a row of another length, and for text where numbers are expected.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str
    note: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InvalidArgument(
                    f"table {self.caption!r}, row {number}: {len(row)} cells for {len(self.columns)} columns"
                )
            for column, cell in zip(self.columns, row, strict=True):
                if not _fits(cell, column.kind):
                    raise InvalidArgument(
                        f"table {self.caption!r}, row {number}: {cell!r} is not of kind {column.kind!r} "
                        f"(column {column.name!r})"
                    )


@dataclass(frozen=True)
class Figure:
    """A picture: SVG text, or PNG or JPEG bytes. `alt` tells those who cannot see it what it shows."""

    picture: str | bytes
    alt: str
    caption: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.picture, bytes):
            picture_kind(self.picture)
        elif not self.picture.startswith("<svg"):
            raise InvalidArgument(f"figure {self.alt!r}: neither SVG nor bytes: {self.picture[:20]!r}")

    @property
    def uri(self) -> str:
        """The picture as a data URI; empty for SVG, which goes into the page as it is."""
        return picture_uri(self.picture) if isinstance(self.picture, bytes) else ""


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, as many as fit, such as plots that belong together."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Track:
    """One video of a clip: uint8 frames [T H W 3], or the path of a file. `note` is shown below its label."""

    label: str
    video: Video
    note: str = ""


@dataclass(frozen=True)
class Clip:
    """A clip: videos that play side by side, in step, frame by frame.

    Attributes:
        name: heading of the clip.
        fps: rate of all tracks, whatever the rate of a file is.
        tracks: the videos; a shorter one stops at its last frame.
        context: the number of frames at the beginning of every track that are context, and marked as such.
        pictures: figures below the videos, such as acceptance maps.
        notes: what was odd about this clip, shown as warnings.
    """

    name: str
    fps: int | float | Fraction
    tracks: Sequence[Track]
    context: int = 0
    pictures: Sequence[Figure] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.tracks:
            raise InvalidArgument(f"clip {self.name!r}: no videos to show")
        if self.context < 0:
            raise InvalidArgument(f"clip {self.name!r}: {number_of(self.context, 'context frame')}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise InvalidArgument(f"clip {self.name!r}: {self.fps} frames per second")


Part = Table | Figure | Gallery | Clip


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs of text (separated by empty lines), and the parts below.

    `parts` may be a generator, which is read while the file is written. Then the frames of only one clip need to be
    in memory, and the page can be written only once.
    """

    title: str
    parts: Iterable[Part] = ()
    text: str = ""


@dataclass(frozen=True)
class Page:
    """A report. `facts` are the names and values of the protocol; `warnings` are shown before everything else."""

    title: str
    sections: Sequence[Section]
    summary: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def write_page(path: str | Path, page: Page) -> None:
    """Write `page` as one HTML file that appears whole or not at all.

    Videos are encoded on the way. A browser handles a page with some dozens of clips well. Raises BadOutput, BadInput
    where the file of a track cannot be read, and InvalidArgument.
    """
    with replacing(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(render(page))


def render(page: Page) -> Iterator[str]:
    """The pieces of the HTML text, made one after the other."""
    # The page's Content-Security-Policy allows exactly one script: the one with this hash.
    script = _asset("script.js")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    yield from _template().generate(
        page=page, style=_asset("style.css"), script=script, script_hash=f"sha256-{digest}"
    )


def cell_text(cell: Cell, column: Column) -> str:
    """The text of a cell, such as 7,680 or 12.30; of an interval it is the value."""
    if cell is None:
        return MISSING
    value = cell.value if isinstance(cell, Interval) else cell
    return _number(value, column.digits) if isinstance(value, Real) and column.kind != "text" else str(value)


def ends(cell: Cell, column: Column) -> str:
    """The interval of a cell, such as [11.90, 12.70], or an empty text."""
    if not isinstance(cell, Interval) or cell.low is None or cell.high is None:
        return ""
    return f"[{_number(cell.low, column.digits)}, {_number(cell.high, column.digits)}]"


def sort_value(cell: Cell, column: Column) -> str:
    """The text that a cell is sorted by: a number with all its digits, text as it is, empty without a value."""
    if cell is None:
        return ""
    if column.kind == "text":
        return str(cell)
    value = float(cell.value if isinstance(cell, Interval) else cell)
    # The script reads it with Number(), which knows "Infinity" and not "inf".
    return "" if math.isnan(value) else repr(value).replace("inf", "Infinity")


def _number(value: Real | int | float, digits: int | None) -> str:
    """A number with thousands separated and a true minus sign, but without one before zero."""
    if digits is None:
        digits = 0 if isinstance(value, Integral) else 2
    text = f"{value:,d}" if isinstance(value, int) and not digits else f"{float(value):,.{digits}f}"
    nothing = not text.strip("-0.")  # -0.004 with two digits is "-0.00", shown as 0.00
    return text.lstrip("-") if nothing else text.replace("-", "\N{MINUS SIGN}")


def _fits(cell: Cell, kind: str) -> bool:
    if cell is None or kind == "text":
        return not isinstance(cell, Interval)
    return isinstance(cell, Real) or (isinstance(cell, Interval) and kind == "interval")


def _film(clip: Clip, track: Track) -> Film:
    try:
        return film(track.video, clip.fps)
    except InvalidArgument as error:
        raise InvalidArgument(f"clip {clip.name!r}, {track.label!r}: {error}") from error


def _asset(name: str) -> str:
    return files("vidjacobi.html_report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell_text": cell_text, "ends": ends, "sort_value": sort_value}
    # ``{% if part is table %}`` in the template asks for the type of a part.
    environment.tests |= {
        kind.__name__.lower(): (lambda part, kind=kind: isinstance(part, kind))
        for kind in (Table, Figure, Gallery, Clip)
    }
    environment.globals["film"] = _film
    return environment.from_string(_asset("template.html"))
