"""A report in a real browser: it reports no errors, loads nothing, plays, sorts, and fits on a phone."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from headless import BROWSER, Browser
from sample_page import COLUMNS, HOSTILE, rows, sample_page, square

from vidjacobi.html_report.page import Interval, write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
    ),
]
TABLE, CLIPS = "document.querySelector('table')", "[...document.querySelectorAll('.clip')]"
FPS, LAST, CONTEXT = 10, 32, 9
# half a surrogate pair cannot be written to a file
SEEN = HOSTILE.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_page(folder / "report.html", sample_page(folder))
    return folder / "report.html"


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Browser) -> Iterator[Browser]:
    """A browser that fails a test whose page reported any error or loaded anything but itself."""
    shared_browser.complaints.clear()
    shared_browser.requests.clear()
    yield shared_browser
    shared_browser.run("1")  # all messages until now have arrived
    assert shared_browser.complaints == []
    assert "CONSOLE" not in shared_browser.log.read_text(errors="replace")
    others = [url for url in shared_browser.requests if not re.match(r"data:|file:.*\.html$", url)]
    assert shared_browser.requests
    assert others == []


def test_errors_would_be_noticed_and_the_network_is_closed(page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.open(page)
        assert browser.complaints == []
        browser.run("console.warn('a warning'), 1")
        browser.run("setTimeout(() => { throw new Error('an exception') }), 1")
        browser.run("Promise.reject(new Error('a rejection')), 1")
        refused = browser.run("fetch('http://127.0.0.1:9/').then(() => 'loaded', () => 'refused')")
        said = " ".join(browser.complaints)
        log = browser.log.read_text(errors="replace")
    assert refused == "refused"
    for word in ("a warning", "an exception", "a rejection", "Content Security Policy"):
        assert word in said
    assert "CONSOLE" in log


def test_every_video_plays_to_its_end_and_again(page: Path, browser: Browser) -> None:
    browser.open(page)
    count = browser.run(f"{CLIPS}.length")
    assert count == 2
    for index in range(count):
        clip = f"{CLIPS}[{index}]"
        browser.run(f"""window.told = [...{clip}.querySelectorAll('video')].map(video => {{
            const told = {{playing: 0, ended: 0, size: ''}};
            video.addEventListener('playing', () => told.playing++);
            video.addEventListener('ended', () => {{ told.ended++;
                told.size = `${{video.videoWidth}}x${{video.videoHeight}} ${{video.duration.toFixed(1)}}` }});
            return told }}), 1""")
        browser.click(f"{clip}.querySelector('button')")
        assert browser.run(f"{clip}.querySelector('button').textContent") == "Pause"
        browser.wait_for("told.every(video => video.ended >= 2 && video.playing >= 2)")
        browser.click(f"{clip}.querySelector('button')")
        sizes = browser.run("told.map(video => video.size)")
        assert sizes == ["160x96 0.9", *["160x96 3.3"] * 4]  # odd sides are padded
        frame_in_step(browser, clip)


def frame_in_step(browser: Browser, clip: str) -> int:
    """Assert that all videos of a clip stop in the middle of the frame that its control shows."""
    frame = int(browser.run(f"{clip}.querySelector('input').value"))
    expected = [(min(frame, last) + 0.5) / FPS for last in (CONTEXT - 1, *[LAST] * 4)]
    there = f"!video.seeking && video.paused && Math.abs(video.currentTime - {expected}[i]) < 1e-3"
    browser.wait_for(f"[...{clip}.querySelectorAll('video')].every((video, i) => {there})")
    return frame


def test_a_video_that_falls_behind_catches_up(page: Path, browser: Browser) -> None:
    browser.open(page)
    clip = f"{CLIPS}[1]"
    speed = f"{clip}.querySelector('select')"
    browser.run(f"{speed}.value = '0.25', {speed}.dispatchEvent(new Event('change'))")
    browser.click(f"{clip}.querySelector('button')")
    browser.wait_for(f"{clip}.querySelectorAll('video')[1].currentTime > 0.8")
    caught_up = browser.run(f"""new Promise(done => {{
        const [, lead, late] = {clip}.querySelectorAll('video');
        late.currentTime = 0;
        const look = () => {{
            if (lead.ended) done(false);
            else if (!late.seeking && Math.abs(late.currentTime - lead.currentTime) < 0.15) done(true);
            else requestAnimationFrame(look) }};
        look() }})""")
    assert caught_up


def test_it_can_be_paused_while_it_starts_again(page: Path, browser: Browser) -> None:
    """During every seek, and a start is one, a video has no data for a moment."""
    browser.open(page)
    clip = f"{CLIPS}[1]"
    browser.click(f"{clip}.querySelector('button')")
    browser.run(f"""new Promise(done => {{
        const video = {clip}.querySelectorAll('video')[1];
        video.addEventListener('ended', () => video.addEventListener('seeking', () => {{
            {clip}.querySelector('button').click();
            done() }}, {{once: true}}), {{once: true}}) }})""")
    assert frame_in_step(browser, clip) == 0


def test_the_keyboard_steps_through_the_frames(page: Path, browser: Browser) -> None:
    browser.open(page)
    clip = f"{CLIPS}[0]"
    control = f"{clip}.querySelector('input')"
    spoken = f"{control}.getAttribute('aria-valuetext')"
    marked = f"[...{clip}.querySelectorAll('.film')].map(film => film.classList.contains('context'))"
    assert browser.run(spoken) == "frame 33 of 33, predicted"  # the posters show the last frame
    browser.run(f"{control}.focus()")
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")
    assert browser.run(spoken) == "frame 31 of 33, predicted"
    assert browser.run(marked) == [True, False, False, False, False]
    assert frame_in_step(browser, clip) == 30
    assert nearest_frame(browser, f"{clip}.querySelectorAll('video')[1]") == 30
    browser.press("Home")
    assert browser.run(spoken) == "frame 1 of 33, context"
    assert browser.run(marked) == [True] * 5
    assert frame_in_step(browser, clip) == 0
    assert nearest_frame(browser, f"{clip}.querySelectorAll('video')[1]") == 0
    for _ in range(CONTEXT):
        browser.press("ArrowRight")
    assert browser.run(spoken) == "frame 10 of 33, predicted"
    assert frame_in_step(browser, clip) == CONTEXT
    assert nearest_frame(browser, f"{clip}.querySelectorAll('video')[1]") == CONTEXT


def nearest_frame(browser: Browser, video: str) -> int:
    """The frame of the first clip's ground truth that is most like what a video shows."""
    browser.wait_for(f"!{video}.seeking")
    pixels = browser.run(f"""new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {{
        const pen = Object.assign(document.createElement('canvas'), {{width: 160, height: 96}}).getContext('2d');
        pen.drawImage({video}, 0, 0);
        done([...pen.getImageData(0, 0, 160, 96).data]) }})))""")
    picture = np.array(pixels, float).reshape(96, 160, 4)[..., :3]
    errors = np.abs(square(0).numpy() - picture).mean((1, 2, 3))
    assert errors.min() < 6
    return int(errors.argmin())


def test_a_clip_out_of_sight_pauses(page: Path, browser: Browser) -> None:
    browser.open(page)
    button = f"{CLIPS}[0].querySelector('button')"
    browser.click(button)
    browser.wait_for(f"{CLIPS}[0].querySelector('video').currentTime > 0")
    browser.run("scrollTo(0, 0)")
    browser.wait_for(f"{button}.textContent === 'Play'")
    assert browser.run(f"[...{CLIPS}[0].querySelectorAll('video')].every(video => video.paused)")


def test_slow_motion(page: Path, browser: Browser) -> None:
    browser.open(page)
    speed = f"{CLIPS}[1].querySelector('select')"
    browser.run(f"{speed}.value = '0.25', {speed}.dispatchEvent(new Event('change'))")
    browser.click(f"{CLIPS}[1].querySelector('button')")
    browser.wait_for(f"!{CLIPS}[1].querySelectorAll('video')[1].paused")
    rates = browser.run(f"[...{CLIPS}[1].querySelectorAll('video')].map(video => video.playbackRate)")
    assert rates == [0.25] * 5


def test_one_broken_video_does_not_stop_the_others(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    start = text.index("data:video/mp4;base64,", text.index('aria-label="ground truth'))
    end = text.index('"', start)
    (tmp_path / "broken.html").write_text(text[:start] + "data:video/mp4;base64,AAAA" + text[end:])
    with Browser(tmp_path) as browser:
        browser.open(tmp_path / "broken.html")
        browser.click(f"{CLIPS}[0].querySelector('button')")
        browser.wait_for(f"{CLIPS}[0].querySelectorAll('video')[4].currentTime > 1")
        failed = browser.run(f"[...{CLIPS}[0].querySelectorAll('.film')].map(f => f.className)")
    assert failed == ["film context", "film failed", "film", "film", "film"]


def key(cell: object) -> float | str | None:
    """The value that a cell is sorted by."""
    return cell.value if isinstance(cell, Interval) else cell  # type: ignore[return-value]


def test_every_column_sorts_both_ways(page: Path, browser: Browser) -> None:
    browser.open(page)
    expected = rows()
    for index, column in enumerate(COLUMNS):
        for falling in (False, True):
            browser.click(f"{TABLE}.tHead.rows[0].cells[{index}].querySelector('button')")
            there = [row for row in expected if key(row[index]) is not None]
            missing = [row for row in expected if key(row[index]) is None]
            expected = [*sorted(there, key=lambda row: key(row[index]), reverse=falling), *missing]
            assert order_of(browser) == [identity(row) for row in expected], (column.name, falling)
            sorts = browser.run(
                f"[...{TABLE}.tHead.rows[0].cells].map(head => head.getAttribute('aria-sort'))"
            )
            word = "descending" if falling else "ascending"
            assert sorts == [word if i == index else "none" for i in range(len(COLUMNS))]
    windows = browser.run(f"[...{TABLE}.tBodies[0].rows].map(row => row.cells[2].textContent.trim())")
    assert sorted(set(windows), key=len)[-1] == "128"  # as text, "128" would be sorted before "16"


def identity(row: list[object]) -> list[str]:
    """The decoder and the window in a row of the table."""
    return [str(row[0]), "\N{EN DASH}" if row[2] is None else str(row[2])]


def order_of(browser: Browser) -> list[list[str]]:
    cells = "[row.cells[0], row.cells[2]].map(cell => cell.textContent.trim())"
    return browser.run(f"[...{TABLE}.tBodies[0].rows].map(row => {cells})")


def test_the_keyboard_sorts_and_text_is_sorted_naturally(page: Path, browser: Browser) -> None:
    browser.open(page)
    table = "[...document.querySelectorAll('table')].at(-1)"
    first = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].textContent.trim())"
    browser.run(f"{table}.tHead.rows[0].cells[0].querySelector('button').focus()")
    browser.press("Enter")
    assert browser.run(first) == [SEEN, "clip 2", "clip 10"]
    browser.press("Enter")
    assert browser.run(first) == ["clip 10", "clip 2", SEEN]
    browser.run(f"{table}.tHead.rows[0].cells[1].querySelector('button').focus()")
    for _ in range(2):  # rising and falling, a missing reason stays last
        browser.press("Enter")
        assert browser.run(first)[-1] == "clip 2"


@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_shows_it_without_scrolling_sideways(page: Path, browser: Browser, width: int) -> None:
    browser.open(page, width, 812)
    assert browser.run("innerWidth") == width
    assert browser.run("document.scrollingElement.scrollWidth") <= width
    # the table scrolls in a box of its own
    assert browser.run(f"{TABLE}.parentNode.scrollWidth > {TABLE}.parentNode.clientWidth")
    browser.run(f"{TABLE}.parentNode.scrollLeft = 200")
    # the name of the row stays visible
    assert browser.run(f"{TABLE}.rows[1].cells[0].getBoundingClientRect().x") >= 0
    tops = browser.run(f"[...{CLIPS}[0].querySelectorAll('video')].map(v => v.getBoundingClientRect().top)")
    assert len(set(tops)) == 3  # two videos beside each other
    assert browser.run("parseFloat(getComputedStyle(document.body).fontSize)") >= 16


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(page: Path, browser: Browser, scheme: str) -> None:
    browser.open(page, scheme=scheme)
    style = "name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"
    names = ["paper", "ink", "soft", "link", "alarm", *(f"series-{i}" for i in range(8))]
    found = {name: luminance(browser.run(f"({style})('{name}')")) for name in names}
    paper = found.pop("paper")
    assert (paper < 0.05) == (scheme == "dark")
    for name, light in found.items():
        contrast = (max(light, paper) + 0.05) / (min(light, paper) + 0.05)
        assert contrast >= (3 if name.startswith("series") else 4.5), name
    body = browser.run("getComputedStyle(document.body).backgroundColor")
    drawn = browser.run("getComputedStyle(document.querySelector('svg text')).fill")
    assert (np.mean([int(x) for x in re.findall(r"\d+", body)]) < 64) == (scheme == "dark")
    assert (np.mean([int(x) for x in re.findall(r"\d+", drawn)]) > 192) == (scheme == "dark")


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance of #rrggbb."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else math.pow((c + 0.055) / 1.055, 2.4) for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_hostile_names_are_text(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.run("document.scripts.length") == 1
    assert browser.run(f"{CLIPS}[0].querySelector('h3').textContent") == SEEN
    assert browser.run(f"{CLIPS}[0].querySelector('.player').getAttribute('aria-label')").endswith(SEEN)
    assert SEEN in browser.run("document.querySelector('header .warnings').textContent")


def test_a_screen_reader_finds_names(page: Path, browser: Browser) -> None:
    """Every control, picture, video and scrolling box has a name that the browser gives to assistive software."""
    browser.open(page)
    browser.send("Accessibility.enable")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = (
        "button",
        "slider",
        "image",
        "Video",
        "combobox",
        "region",
        "group",
        "link",
        "note",
        "navigation",
    )
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {role for role, _ in found} == set(roles)
    assert [role for role, name in found if not name.strip()] == []
    assert json.dumps(sorted({name for role, name in found if role == "button"})).count("Play") == 1


@pytest.mark.parametrize("kind", [".warnings li", "tbody tr", ".films", ".figure"])
def test_what_belongs_together_is_printed_on_one_page(page: Path, browser: Browser, kind: str) -> None:
    browser.open(page)
    browser.send("Emulation.setEmulatedMedia", media="print")
    rules = browser.run(
        f"[...document.querySelectorAll('{kind}')].map(one => getComputedStyle(one).breakInside)"
    )
    browser.send("Emulation.setEmulatedMedia", media="")
    assert set(rules) == {"avoid"}
