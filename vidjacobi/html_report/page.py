"""Reports to look at: records become one HTML file that needs no network, font or script from elsewhere.

The evaluation and batch commands fill these records. All text is escaped, so that clip names may be anything;
only `Figure.picture`, if it is SVG, is put in as it is (see vidjacobi.html_report.figures, which makes it).
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

from vidjacobi.errors import InvalidArgument
from vidjacobi.html_report.media import Film, Video, film, picture_kind, picture_uri
from vidjacobi.output.atomic import replacing
from vidjacobi.registry import suggest

if TYPE_CHECKING:
    from jinja2 import Template

KINDS = ("text", "number", "interval")
MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval, both None where it has none. The value may lie outside."""

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
        kind: text (sorted as text, clip 2 before clip 10), number, or interval (sorted by its value).
        digits: decimals of numbers; None: whole numbers as such, others with two.
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
    """Rows that a click on a heading sorts; `caption` stands above, `note` below. None is a missing cell.

    Raises InvalidArgument for a row of another length, or text where numbers are expected.
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
    """A picture: SVG text, or PNG or JPEG bytes; `alt` says what it shows to those who cannot see it."""

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
        """Of bytes."""
        return picture_uri(self.picture) if isinstance(self.picture, bytes) else ""


@dataclass(frozen=True)
class Gallery:
    """Figures side by side, as many as fit: plots that belong together, contact sheets."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Track:
    """One video of a clip: uint8 frames [T H W 3], or a file that is read; `note` stands below its label."""

    label: str
    video: Video
    note: str = ""


@dataclass(frozen=True)
class Clip:
    """Videos that play side by side and in step, frame by frame.

    Attributes:
        fps: of all tracks; a file's own rate is not looked at. A shorter track stops at its last frame.
        context: the first so many frames of every track are context, and marked.
        pictures: below the videos, at most their own size: acceptance maps.
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
            raise InvalidArgument(f"clip {self.name!r}: {self.context} context frames")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise InvalidArgument(f"clip {self.name!r}: {self.fps} frames per second")


Part = Table | Figure | Gallery | Clip


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs of text (parted by empty lines), and what stands below.

    `parts` may be a generator, which is read while the file is written: then only one clip's frames
    need to be in memory, and the page can be written once.
    """

    title: str
    parts: Iterable[Part] = ()
    text: str = ""


@dataclass(frozen=True)
class Page:
    """A report. `facts` are the protocol: names and values; `warnings` stand in front of everything."""

    title: str
    sections: Sequence[Section]
    summary: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def write_page(path: str | Path, page: Page) -> None:
    """Write `page` as one HTML file that appears whole or not at all.

    Videos are encoded on the way; a page of some dozens of clips stays handy in a browser.
    Raises BadOutput, BadInput (a track's file cannot be read), InvalidArgument.
    """
    with replacing(path) as partial, partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(render(page))


def render(page: Page) -> Iterator[str]:
    """The pieces of the HTML text."""
    script = _asset("script.js")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    yield from _template().generate(
        page=page, style=_asset("style.css"), script=script, script_hash=f"sha256-{digest}"
    )


def shown(cell: Cell, column: Column) -> str:
    """A cell as people read it: 7,680 or 12.30, of an interval its value."""
    if cell is None:
        return MISSING
    value = cell.value if isinstance(cell, Interval) else cell
    return _number(value, column.digits) if isinstance(value, Real) and column.kind != "text" else str(value)


def ends(cell: Cell, column: Column) -> str:
    """The interval of a cell, [11.90, 12.70], or nothing."""
    if not isinstance(cell, Interval) or cell.low is None or cell.high is None:
        return ""
    return f"[{_number(cell.low, column.digits)}, {_number(cell.high, column.digits)}]"


def sort_value(cell: Cell, column: Column) -> str:
    """What a cell is sorted by: a number in full, text as such, nothing where there is no value."""
    if cell is None:
        return ""
    if column.kind == "text":
        return str(cell)
    value = float(cell.value if isinstance(cell, Interval) else cell)
    return "" if math.isnan(value) else repr(value).replace("inf", "Infinity")


def _number(value: Real | int | float, digits: int | None) -> str:
    """With thousands apart and a true minus sign, none before zero."""
    if digits is None:
        digits = 0 if isinstance(value, Integral) else 2
    text = f"{value:,d}" if isinstance(value, int) and not digits else f"{float(value):,.{digits}f}"
    nothing = not text.strip("-0.")  # minus zero is none
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
    environment.filters |= {"shown": shown, "ends": ends, "sort_value": sort_value}
    environment.tests |= {
        kind.__name__.lower(): (lambda part, kind=kind: isinstance(part, kind))
        for kind in (Table, Figure, Gallery, Clip)
    }
    environment.globals["film"] = _film
    return environment.from_string(_asset("template.html"))
