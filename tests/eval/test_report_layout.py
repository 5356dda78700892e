"""The report in a real browser: the widest table fits a laptop's window, and printed pages are whole."""

import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from headless import BROWSER, Browser
from made_up_results import MANY, PROTOCOL, made_up
from sample_page import heat, square

from vidjacobi.eval import captions
from vidjacobi.eval.plots import plots
from vidjacobi.eval.report import figures, result_table
from vidjacobi.eval.settings import EvalConfig
from vidjacobi.html_report.page import Clip, Column, Figure, Gallery, Page, Section, Table, Track, write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
    ),
]
INCH, MARGIN, PAPER = 25.4, 12, 210  # A4 in mm
INTRODUCTION = "Context frames are marked."
NEEDS_PDFTOTEXT = pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="no pdftotext (Debian: poppler-utils)"
)
# for every word in a table how many lines it takes, and whether it lies within its window
WORDS = """(() => {
  const found = [];
  const walker = document.createTreeWalker(document.querySelector('table'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode())
    for (const word of walker.currentNode.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(walker.currentNode, word.index);
      range.setEnd(walker.currentNode, word.index + word[0].length);
      const boxes = [...range.getClientRects()].filter(box => box.width > 0);
      found.push([word[0], new Set(boxes.map(box => box.top)).size, Math.max(...boxes.map(box => box.right))]);
    }
  return found })()"""


@pytest.fixture(scope="module", params=["many windows", "one window"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with the widest table that there is: with LPIPS, and with intervals of three digits."""
    windows = (16, 32, 64, 128) if request.param == "many windows" else (64,)
    lines, ar = made_up(MANY, windows, clips=12)
    for line in lines:
        line["lpips"] = 0.123
        if line["fvd_above_ar"]:
            line["fvd_above_ar"] = {"mean": -2419.0, "low": -2610.4, "high": -2229.4}
    config = EvalConfig(data="rooms", decoders=list(MANY), windows=list(windows))
    about = {"label": "FVD", "conventions": captions.conventions(config, ar, "FVD", "2 CPU cores, float32")}
    tracks = [
        Track(name, square(0, 12, height=48, width=80), "L = 64") for name in ("ground truth", "ar", *MANY)
    ]
    clips = [
        Clip(
            f"clip {i}",
            10,
            tracks,
            9,
            [Figure(heat(j), "a map", f"map {j}") for j in range(4 if i == 0 else 0)],
        )
        for i in range(5)
    ]
    sections = [
        Section("Decoders", [result_table(lines, about), Gallery(figures(plots(lines, "FVD")))]),
        Section("Clips", clips, INTRODUCTION),
    ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, Page("realestate10k: nano", sections, "12 clips.", PROTOCOL, ["WARNING: only 12 clips"]))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def printed(browser: Browser, path: Path) -> list[list[str]]:
    """The lines of each page of what is open, on A4."""
    sheet = browser.send("Page.printToPDF", paperWidth=PAPER / INCH, paperHeight=297 / INCH)
    path.write_bytes(b64decode(sheet["data"]))
    words = ["pdftotext", "-layout", str(path), "-"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    pages = [[line.strip() for line in part.splitlines() if line.strip()] for part in text.split("\f")]
    return [lines for lines in pages if lines]


def test_the_table_fits_1280_pixels(page: Path, browser: Browser) -> None:
    browser.open(page, 1280, 900)
    box = "document.querySelector('table').parentNode"
    assert browser.run(f"{box}.scrollWidth <= {box}.clientWidth")
    assert browser.run("document.scrollingElement.scrollWidth <= innerWidth")
    assert [word for word in browser.run(WORDS) if word[1] != 1 or word[2] > 1280] == []


def test_no_column_is_torn_on_a4(page: Path, browser: Browser) -> None:
    width = int((PAPER - 2 * MARGIN) / INCH * 96)
    browser.open(page, width, 1000)
    browser.send("Emulation.setEmulatedMedia", media="print")
    words = browser.run(WORDS)
    browser.send("Emulation.setEmulatedMedia", media="")
    assert len(words) > 100
    assert [word for word in words if word[1] != 1 or word[2] > width] == []


@NEEDS_PDFTOTEXT
def test_printed_pages_have_no_orphans_and_repeat_the_head(
    page: Path, browser: Browser, tmp_path: Path
) -> None:
    browser.open(page)
    headings = browser.run(
        "[...document.querySelectorAll('h2, h3, .table > figcaption')].map(h => h.innerText.trim())"
    )
    pages = printed(browser, tmp_path / "page.pdf")
    assert len(pages) > 2
    for lines in pages:
        assert lines[-1] not in [*headings, INTRODUCTION], "a heading stands alone at the end of a page"
        rows = [line for line in lines if line.split()[:2] in ([name, "lossless"] for name in MANY)]
        if rows:
            assert any(line.startswith("decoder") and "guarantee" in line for line in lines)


@NEEDS_PDFTOTEXT
def test_no_row_of_the_protocol_or_of_a_table_stands_alone(browser: Browser, tmp_path: Path) -> None:
    """Wherever the page's end falls among them: above them is more and more."""
    facts: dict[str, object] = {f"fact {number}": "so it is" for number in range(12)}
    rows = [[f"row {number}", number] for number in range(12)]
    table = Table([Column("name"), Column("n", "number")], rows, "twelve")
    for kind, sections, told in (
        ("fact", [Section("Nothing", [])], facts),
        ("row", [Section("Rows", [table])], {}),
    ):
        write_page(tmp_path / "page.html", Page("a page", sections, "", told))
        browser.open(tmp_path / "page.html")
        split = 0
        for above in range(610, 1010, 20):
            browser.run(f"document.querySelector('h1').style.paddingTop = '{above}px'")
            pages = printed(browser, tmp_path / "page.pdf")
            found = [sum(line.startswith(f"{kind} ") for line in lines) for lines in pages]
            counts = [count for count in found if count]
            assert sum(counts) == 12
            assert min(counts) >= 3, (kind, above, counts)
            split += len(counts) > 1
        assert split >= 3
