"""Plots: points stand at their windows, intervals are drawn, and files are for papers."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from vidjacobi.errors import InvalidArgument
from vidjacobi.html_report.drawing import write_vector
from vidjacobi.html_report.figures import Curve, Point, ReferenceLevel, by_decoder, over_window

NAMES = ("sjd", "mc_sjd", "gs_sjd", "sjdpp", "pathwise", "fast")


def at(*windows: int) -> list[Curve]:
    """A curve for each name, with intervals."""
    return [
        Curve(name, [Point(w, 40.0 + i, 38.0 + i, 43.0 + i) for w in windows], name == "sjdpp")
        for i, name in enumerate(NAMES)
    ]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("windows", [(64,), (16, 32, 64, 128)])
def test_points_stand_at_their_windows(windows: tuple[int, ...], log: bool) -> None:
    """Also where there is one window: the axis would else be as narrow as the gaps between the points."""
    (axis,) = over_window("FVD", at(*windows), [ReferenceLevel("ar", 41.0)], log).axes
    low, high = axis.get_xlim()
    assert low <= min(windows) / 1.4
    assert high >= max(windows) * 1.4
    assert list(axis.get_xticks()) == list(windows)
    assert list(axis.get_xticks(minor=True)) == []
    marked = [line for line in axis.get_lines() if line.get_marker() not in ("None", "")]
    assert len(marked) == len(NAMES)
    for line in marked:
        for window, x in zip(windows, line.get_xdata(), strict=True):
            assert 2**-0.21 < x / window < 2**0.21  # nearer to its own tick than to any other


def test_every_interval_is_drawn() -> None:
    (axis,) = over_window("FVD", at(16, 64)).axes
    bars = [list(line.get_ydata()) for line in axis.get_lines() if line.get_marker() in ("None", "")]
    assert sorted(bars) == sorted([38.0 + i, 43.0 + i] for i in range(len(NAMES)) for _ in range(2))
    (axis,) = by_decoder("FVD", at(64)).axes
    bars = [list(line.get_xdata()) for line in axis.get_lines() if line.get_marker() in ("None", "")]
    assert sorted(bars) == sorted([38.0 + i, 43.0 + i] for i in range(len(NAMES)))


def test_one_window_has_a_row_for_each_decoder() -> None:
    (axis,) = by_decoder("FVD", [*at(64), Curve("not run", [])], [ReferenceLevel("ar", 41.0)]).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == list(NAMES)
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first is on top
    assert axis.get_xlabel() == "FVD"
    with pytest.raises(InvalidArgument, match="several windows of sjd"):
        by_decoder("FVD", at(16, 64))


def test_an_interval_that_reaches_below_zero_runs_out_of_a_logarithmic_plot() -> None:
    wide = [Curve("fast", [Point(64, 100, -80, 280)])]
    for draw in (over_window, by_decoder):
        (axis,) = draw("NFE", wide, log=True).axes
        low, high = axis.get_ylim() if draw is over_window else axis.get_xlim()
        assert 0 < low < 100
        assert high > 280
    with pytest.raises(InvalidArgument, match="nan cannot be drawn"):
        over_window("NFE", [Curve("fast", [Point(64, 100, float("nan"), 280)])])


def test_files_stand_alone(tmp_path: Path) -> None:
    drawn = over_window("FVD", at(16, 64))
    write_vector(tmp_path / "fvd", drawn)
    vector = (tmp_path / "fvd.svg").read_text()
    root = ElementTree.fromstring(vector)
    assert {"width", "height", "viewBox"} <= set(root.attrib)
    assert "var(" not in vector  # outside of a page there are no variables
    assert "pathwise" in vector
    printed = (tmp_path / "fvd.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert b"/Type3" not in printed  # a kind of font that publishers refuse
    write_vector(tmp_path / "again", drawn)
    assert (tmp_path / "again.pdf").read_bytes() == printed
