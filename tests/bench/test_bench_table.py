"""Statistics of a bench: the clip is the unit, and ratios are paired."""

import math

import pytest
from scipy import stats

from vidjacobi.bench.bars import (
    AheadOnce,
    BarResult,
    Falling,
    FewerPasses,
    LanesAtEqualPositions,
    LevelsOff,
    Names,
    bars_table,
)
from vidjacobi.bench.decode_rows import Measurement
from vidjacobi.bench.table import (
    Estimate,
    interpolate,
    over_clips,
    ratio,
    ratio_at_equal_positions,
    summary,
    t_quantile,
    tables,
)

NAMES = Names("gs_sjd", "pathwise")


def row(decoder: str, window: int, clip: int, nfe: int, seed: int = 0, **other: float | str) -> Measurement:
    values = {
        "guarantee": "lossless",
        "lanes": "raster",
        "positions": float(window),
        "seconds": nfe / 10,
        "nll": 1.5,
        "excess": 0.0,
        **other,
    }
    return Measurement("m", decoder, seed=seed, clip=clip, window=window, nfe=nfe, **values, **COMMON)  # type: ignore[arg-type]


COMMON = {"new_tokens": 960, "forward_seconds": 1.0, "ar_agreement": 0.5}


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 15, 16, 63])
def test_student_t(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-6)


def test_seeds_of_a_clip_are_averaged_first() -> None:
    found = over_clips([(0, 1.0), (0, 3.0), (1, 4.0)])
    assert found is not None
    low, high = stats.t.interval(0.95, 1, loc=3, scale=1)
    assert (found.mean, found.low, found.high) == (3, pytest.approx(low), pytest.approx(high))
    assert over_clips([]) is None
    assert over_clips([(0, 2.0)]) == Estimate(2.0, None, None)


def test_a_ratio_is_paired_and_turns_around() -> None:
    rows = [row("a", 16, clip, 50 * (clip + 1)) for clip in range(3)]
    # clip 2 has no decode to be paired with
    rows += [row("b", 16, clip, 100 * (clip + 1)) for clip in range(2)]
    found, back = ratio(rows, ("a", 16), ("b", 16)), ratio(rows, ("b", 16), ("a", 16))
    assert found is not None
    assert back is not None
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert back.mean == pytest.approx(2)
    assert ratio(rows, ("a", 16), ("c", 16)) is None


def test_interpolation_is_linear_in_logs_and_ends_at_the_windows() -> None:
    rows = [row("pathwise", 16, 0, 160), row("pathwise", 64, 0, 40), row("lane", 256, 0, 60, positions=32.0)]
    found = ratio_at_equal_positions(rows, ("lane", 256), "pathwise")
    assert found is not None
    assert found.mean == pytest.approx(60 / 80)
    outside = [*rows[:2], row("lane", 256, 0, 60, positions=8.0)]
    assert ratio_at_equal_positions(outside, ("lane", 256), "pathwise") is None
    assert interpolate([(1.0, 5.0)], 1.0) is None
    assert interpolate([(1.0, 5.0), (1.0, 5.0)], 1.0) == 5


def sheet() -> list[Measurement]:
    rows = []
    for clip in range(4):
        rows.append(row("ar", 1, clip, 960, positions=1.0))
        for window, base, ours in ((16, 300, 200), (32, 200, 150), (64, 150, 149)):
            rows += [row("gs_sjd", window, clip, base + clip), row("fast", window, clip, ours - clip % 2)]
            rows.append(row("pathwise", window, clip, ours))
        lane = {"lanes": "rows", "guarantee": "lossy", "positions": 32.0, "nll": 1.51, "kl": 0.1}
        rows.append(row("lane", 256, clip, 90 + clip, **lane))
    return rows


def test_bars() -> None:
    rows = sheet()
    fewer = FewerPasses("fast", {16: 0.78, 32: 0.7, 128: 0.8}).judge(rows, NAMES)
    assert [verdict.met for verdict in fewer] == [True, False, None]
    passes, nll, excess = LanesAtEqualPositions("lane", 0.70, 0.02).judge(rows, NAMES)
    assert passes.met
    assert passes.measured is not None
    assert passes.measured.mean == pytest.approx(91.5 / 150, rel=1e-3)
    assert nll.met
    assert nll.measured is not None
    assert nll.measured.mean == pytest.approx(0.01)
    assert not LanesAtEqualPositions("lane", 0.5, 0.005).judge(rows, NAMES)[1].met
    assert excess.met
    assert [v.met for v in LanesAtEqualPositions("none", 0.5, 0.005).judge(rows, NAMES)] == [None, None, None]
    assert [v.met for v in AheadOnce("fast", "gs_sjd", 32).judge(rows, NAMES)] == [True, True, True]
    assert Falling("gs_sjd", [16, 32, 64]).judge(rows, NAMES)[0].met
    assert Falling("gs_sjd", [16, 32, 128]).judge(rows, NAMES)[0].met is None
    assert LevelsOff("pathwise", [32, 64], 0.9).judge(rows, NAMES)[0].met
    assert not LevelsOff("gs_sjd", [16, 64], 0.9).judge(rows, NAMES)[0].met


def test_one_clip_reaches_no_bar() -> None:
    rows = [found for found in sheet() if found.clip == 0]
    assert FewerPasses("fast", {16: 0.78}).judge(rows, NAMES)[0].met is False


def test_tables_say_what_is_missing() -> None:
    rows = [*sheet(), row("thin", 256, 0, 90, lanes="rows", guarantee="lossy", positions=9.0)]
    text = tables(summary(rows, "gs_sjd", "pathwise"), "gs_sjd", "pathwise")
    lines = text.splitlines()
    assert lines[2].startswith("| ar | lossless | 1 | 1.0 | 960.0 | 1.00 |")
    assert any("| fast | lossless | 16 |" in line and "0.66" in line for line in lines)
    assert "not between pathwise's windows" in text
    assert all(line.count("|") == lines[0].count("|") for line in lines[: lines.index("")])
    table = bars_table([BarResult("x", None, None), BarResult("y", Estimate(0.5, 0.4, 0.6), True)])
    assert "| x |  |  | not measured |" in table
    assert "| y | 0.500 | 0.400 to 0.600 | met |" in table


def test_summary_numbers() -> None:
    line = next(found for found in summary(sheet(), "gs_sjd", "pathwise") if found["decoder"] == "pathwise")
    assert line["window"] == 16
    assert line["fewer_passes"]["mean"] == pytest.approx(960 / 200)
    assert line["faster"]["mean"] == pytest.approx(4.8)
    logs = [math.log(200 / (300 + clip)) for clip in range(4)]
    assert line["to_baseline"]["mean"] == pytest.approx(math.exp(sum(logs) / 4))
