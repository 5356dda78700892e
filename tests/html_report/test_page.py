"""Records become a single HTML file: what it holds, what is escaped, and what is refused."""

import gc
import re
import weakref
from base64 import b64decode
from collections.abc import Iterator
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
import torch
from sample_page import HOSTILE, heat, sample_page, square

from vidjacobi.errors import BadInput, BadOutput, InvalidArgument
from vidjacobi.html_report.drawing import svg
from vidjacobi.html_report.figures import Curve, Point, ReferenceLevel, histogram, over_window, throughput
from vidjacobi.html_report.media import film
from vidjacobi.html_report.page import (
    Clip,
    Column,
    Figure,
    Interval,
    Page,
    Section,
    Table,
    Track,
    cell_text,
    ends,
    render,
    sort_value,
    write_page,
)
from vidjacobi.video.clips import read_frames, write_video

NUMBER, INTERVAL, TEXT = Column("n", "number"), Column("i", "interval", 1), Column("t")


class Reader(HTMLParser):
    """Collects every element with its attributes, the text, and elements that are not closed."""

    EMPTY = ("meta", "link", "img", "input", "path", "use")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.open = "", []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    write_page(folder / "report.html", sample_page(folder))
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_element_is_closed_and_ids_are_one_of_a_kind(html: str) -> None:
    reader = Reader(html)
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in reader.all("use"):
        assert attributes["xlink:href"].removeprefix("#") in ids
    for attributes in reader.all("a"):
        assert attributes["href"].removeprefix("#") in ids
    for name in re.findall(r"url\(#([^)]+)\)", html):
        assert name in ids


def test_nothing_comes_from_elsewhere_and_only_the_script_runs(html: str) -> None:
    reader = Reader(html)
    for tag, attributes in reader.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in ("src", "href", "poster", "xlink:href"):
                assert value.startswith(("data:", "#")), f"<{tag} {name}={value[:40]}>"
    assert not re.search(r"@import|url\((?!#)", html)
    assert set(re.findall(r"https?://[^\"\s]+", html)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    (policy,) = (meta["content"] for meta in reader.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")


def test_any_name_is_text(html: str) -> None:
    seen = HOSTILE.encode("utf-8", "backslashreplace").decode()
    reader = Reader(html)
    assert len(reader.all("script")) == 1
    assert reader.text.count(seen) == 3  # a warning, a clip, a failure
    assert [a["aria-label"] for a in reader.all("video")][:2] == [f"context, {seen}", f"ground truth, {seen}"]
    page = Page(HOSTILE, [Section(HOSTILE, text=HOSTILE)], HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE])
    texts = Reader("".join(render(page)))
    assert [tag for tag, _ in texts.elements].count("script") == 1
    # title twice, summary, warning, link, heading, paragraph, facts twice
    assert texts.text.count(HOSTILE) == 8


def test_videos_are_what_every_browser_plays(tmp_path: Path) -> None:
    frames = square(3, 12)[:, :95, :159]
    made = film(frames, 10)
    assert (made.frames, made.height, made.width) == (12, 95, 159)
    (tmp_path / "a.mp4").write_bytes(b64decode(made.source.removeprefix("data:video/mp4;base64,")))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 10
    read = read_frames(tmp_path / "a.mp4", 0, 12).frames[:, :95, :159]
    assert (read.float() - frames.float()).abs().mean() < 4
    assert made.poster.startswith("data:image/jpeg;base64,/9j/")


def test_a_file_is_shown_frame_by_frame_at_the_rate_of_its_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", square(3, 12), Fraction(30000, 1001))
    made = film(tmp_path / "a.mp4", 5)
    (tmp_path / "b.mp4").write_bytes(b64decode(made.source.split(",")[1]))
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].average_rate == 5
        assert container.streams.video[0].frames == 12
    with pytest.raises(BadInput, match=r"nowhere\.mp4"):
        film(tmp_path / "nowhere.mp4", 5)


def test_the_context_is_marked() -> None:
    def player(context: int) -> str:
        tracks = [Track("context", square(0, 9)), Track("ar", square(0, 36))]
        clip = Clip("a clip", 10, tracks, context, notes=["cut short"])
        return "".join(render(Page("title", [Section("Clips", [clip])])))

    marked = Reader(player(9))
    assert [a["data-frames"] for a in marked.all("video")] == ["9", "36"]
    assert {"style": "width:25.0%"} in marked.all("div")
    assert [a["max"] for a in marked.all("input")] == ["35"]
    assert "cut short" in marked.text
    assert {"style": "width:0.0%"} in Reader(player(0)).all("div")
    assert {"style": "width:100.0%"} in Reader(player(99)).all("div")


def test_without_scripts_videos_have_the_browsers_controls(html: str) -> None:
    videos = Reader(html).all("video")
    assert len(videos) == 10
    for video in videos:
        assert {"controls", "muted", "playsinline"} <= set(video)
        assert video["preload"] == "none"  # a browser could not show hundreds of players


@pytest.mark.parametrize(
    ("cell", "column", "text", "inside", "key"),
    [
        (7680, NUMBER, "7,680", "", "7680.0"),
        (12.345, NUMBER, "12.35", "", "12.345"),
        (-1.5, Column("n", "number", 1), "\N{MINUS SIGN}1.5", "", "-1.5"),
        (-0.001, Column("n", "number", 1), "0.0", "", "-0.001"),
        (3, Column("n", "number", 2), "3.00", "", "3.0"),
        (np.float32(0.5), NUMBER, "0.50", "", "0.5"),
        (np.int64(64000), NUMBER, "64,000", "", "64000.0"),
        (float("nan"), NUMBER, "nan", "", ""),
        (float("-inf"), NUMBER, "\N{MINUS SIGN}inf", "", "-Infinity"),
        (None, NUMBER, "\N{EN DASH}", "", ""),
        (Interval(12.3, 11.94, 12.71), INTERVAL, "12.3", "[11.9, 12.7]", "12.3"),
        (Interval(-2, -3, 1), Column("i", "interval"), "\N{MINUS SIGN}2", "[\N{MINUS SIGN}3, 1]", "-2.0"),
        (Interval(960), INTERVAL, "960.0", "", "960.0"),
        (4.0, INTERVAL, "4.0", "", "4.0"),
        ("a", TEXT, "a", "", "a"),
        (16, TEXT, "16", "", "16"),
    ],
)
def test_cells(cell: object, column: Column, text: str, inside: str, key: str) -> None:
    assert (cell_text(cell, column), ends(cell, column), sort_value(cell, column)) == (text, inside, key)
    assert Table([column], [[cell]], "caption")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Column("a", "nummer"), "did you mean 'number'"),
        (lambda: Table([NUMBER], [[1], [1, 2]], "speed"), "'speed', row 1: 2 cells for 1 columns"),
        (lambda: Table([NUMBER], [["12"]], "speed"), "'12' is not of kind 'number' .*'n'"),
        (lambda: Table([NUMBER], [[Interval(1)]], "speed"), "not of kind 'number'"),
        (lambda: Table([TEXT], [[Interval(1)]], "speed"), "not of kind 'text'"),
        (lambda: Interval(1, 2, None), "two ends or none"),
        (lambda: Interval(1, 3, 2), "from 3 up to 2"),
        (lambda: Figure(b"GIF89a", "a map"), "PNG or JPEG"),
        (lambda: Figure("map.svg", "a map"), "'a map': neither SVG nor bytes"),
        (lambda: Clip("c", 10, []), "'c': no videos"),
        (lambda: Clip("c", 0, [Track("a", "a.mp4")]), "'c': 0 frames per second"),
        (lambda: Clip("c", 10, [Track("a", "a.mp4")], context=-1), "-1 context frames"),
        (lambda: over_window("FVD", []), "FVD: nothing to draw"),
        (
            lambda: over_window("NFE", [], [ReferenceLevel("ar", 0)], log=True),
            "NFE: 0 cannot be drawn; .*positive",
        ),
        (lambda: over_window("NFE", [], [ReferenceLevel("ar", float("nan"))]), "nan cannot be drawn"),
        (lambda: over_window("NFE", [Curve("a", [Point(0, 1)])]), "windows: 0 cannot be drawn"),
        (
            lambda: over_window("NFE", [Curve("a", [])], [ReferenceLevel("a", 1)]),
            "two lines of the same name: a, a",
        ),
        (lambda: histogram("NFE", []), "NFE: nothing to draw"),
        (lambda: throughput([]), "times: nothing to draw"),
        (lambda: throughput([1.0, -2.0]), "-2.0 seconds after the start"),
    ],
)
def test_mistakes_are_named(make: object, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        make()


def test_a_clip_without_frames_is_named(tmp_path: Path) -> None:
    clip = Clip("no. 7", 10, [Track("ar", torch.zeros(0, 4, 4, 3, dtype=torch.uint8))])
    with pytest.raises(InvalidArgument, match=r"'no\. 7', 'ar': .*at least one frame"):
        write_page(tmp_path / "a.html", Page("title", [Section("Clips", [clip])]))


def test_a_page_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, Page("first", []))
    before = path.read_text()

    def parts() -> Iterator[Table]:
        yield Table([TEXT], [["a"]], "a table")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_page(path, Page("second", [Section("Results", parts())]))
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == before
    with pytest.raises(BadOutput, match="nowhere"):
        write_page(tmp_path / "nowhere" / "report.html", Page("title", []))


@pytest.mark.slow
def test_one_clip_at_a_time_is_in_memory(tmp_path: Path) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def clips() -> Iterator[Clip]:
        for seed in range(6):
            frames = square(seed, 2)
            alive.append(weakref.ref(frames))
            yield Clip(str(seed), 10, [Track("ar", frames)])
            del frames
            gc.collect()
            assert sum(ref() is not None for ref in alive) <= 2  # this clip and the one before it

    write_page(tmp_path / "a.html", Page("title", [Section("Clips", clips())]))
    assert len(alive) == 6


def test_plots_take_the_pages_colours_and_are_reproducible() -> None:
    lines = [
        Curve("pathwise", [Point(16, 200, 190, 212), Point(64, 95, 90, 101)]),
        Curve(
            "_$x^2$ & <b>", [Point(16, 300)], lossy=True
        ),  # a name that must not be hidden, or read as a formula or as markup
        Curve("left out", []),
    ]
    drawn = svg(over_window("NFE", lines, [ReferenceLevel("ar", 960, 950, 970)], log=True))
    assert drawn == svg(over_window("NFE", lines, [ReferenceLevel("ar", 960, 950, 970)], log=True))
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for text in ("pathwise", "_$x^2$ & <b>", "ar", "16", "64", "NFE", "256", "512"):
        assert text in texts
    assert "left out" not in texts
    assert re.findall(r"(?<!, )#[0-9a-f]{6}", drawn) == []  # colours only occur as fallbacks of variables
    for variable in ("series-0", "series-1", "ink", "soft", "rule"):
        assert f"var(--{variable}, #" in drawn
    assert set(root.attrib) == {"viewBox"}  # the page decides on its size


def test_throughput_counts_everything_once() -> None:
    drawn = svg(throughput([60.0 * (1 + i // 2) for i in range(100)]))
    assert "mean 2<" in drawn  # clips per minute
    assert "minutes since the start" in drawn
    assert "seconds since the start" in svg(throughput([0.0]))


def test_pictures_are_put_in(tmp_path: Path) -> None:
    png = heat(0)
    figure = Figure(png, "what it shows", "what it says")
    clip = Clip("c", 10, [Track("ar", square(0, 2))], pictures=[figure])
    reader = Reader("".join(render(Page("title", [Section("s", [figure, clip])]))))
    images = reader.all("img")
    assert [b64decode(image["src"].split(",")[1]) for image in images] == [png, png]
    assert images[1]["alt"] == "what it shows"
    assert reader.text.count("what it says") == 2
