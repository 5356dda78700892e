"""The plot of a bench: places, intervals and files."""

from pathlib import Path

import pytest

from vidjacobi.bench.decode_rows import Measurement
from vidjacobi.bench.plot import plot, write_plot
from vidjacobi.bench.table import summary


def lines(*windows: int, clips: int = 3) -> list[dict]:
    """AR, two decoders at these windows, and one with lanes."""
    rows = []
    for clip in range(clips):
        for name, lanes, window, positions, nfe in [
            ("ar", "raster", 1, 1.0, 960),
            *(
                (name, "raster", w, float(w), 2000 // w + 9 * clip)
                for name in ("gs_sjd", "fast")
                for w in windows
            ),
            ("diagonal", "rows", 256, 13.5, 90 + clip),
        ]:
            guarantee = "lossless" if lanes == "raster" else "lossy"
            seconds = (0.01 * nfe, 0.009 * nfe)
            found = Measurement(
                *(
                    "nano",
                    name,
                    guarantee,
                    lanes,
                    0,
                    clip,
                    window,
                    nfe,
                    960,
                    positions,
                    *seconds,
                    0.3,
                    2.5,
                    0.0,
                )
            )
            rows.append(found)
    return summary(rows, "gs_sjd", "fast")


@pytest.mark.parametrize("windows", [(64,), (16, 64)])
def test_points_stand_at_their_windows_with_intervals(windows: tuple[int, ...]) -> None:
    found = lines(*windows)
    passes = plot(found).axes[0]
    assert list(passes.get_xticks()) == list(windows)
    low, high = passes.get_xlim()
    assert low <= 13.5 / 1.4  # lanes are at their mean positions
    assert high >= windows[-1] * 1.4
    bars = {
        (line.get_xdata()[0], *line.get_ydata())
        for line in passes.get_lines()
        if line.get_marker() in ("None", "")
    }
    expected = {
        (
            line["positions"] if line["lanes"] == "rows" else line["window"],
            line["passes_low"],
            line["passes_high"],
        )
        for line in found
        if line["decoder"] != "ar"
    }
    assert bars == expected
    assert all(low < high for _, low, high in bars)


def test_one_clip_has_no_intervals() -> None:
    found = lines(64, clips=1)
    assert {line["passes_low"] for line in found} == {None}
    assert all(line.get_marker() not in ("None", "") for line in plot(found).axes[0].get_lines())


def test_files(tmp_path: Path) -> None:
    write_plot(tmp_path / "nfe.png", lines(64), finished=False)
    assert [path.name for path in tmp_path.iterdir()] == ["nfe.png"]
    write_plot(tmp_path / "nfe.png", lines(64), finished=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nfe.pdf", "nfe.png", "nfe.svg"]
    assert b"/Type3" not in (tmp_path / "nfe.pdf").read_bytes()
    write_plot(tmp_path / "ar.png", [line for line in lines(64) if line["decoder"] == "ar"], finished=True)
    assert not (tmp_path / "ar.png").exists()
