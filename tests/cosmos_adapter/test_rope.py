"""Position tables: official numbers, the formulas written out by hand, and what a rotation must keep."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_cosmos import TINY, TINY_TEXT, TINY_YARN, golden_case

from cosmos_adapter.transformer.rope import (
    PositionTables,
    absolute_table,
    axis_sizes,
    grid_indices,
    inverse_frequencies,
    rotary_angles,
    rotate,
    spread,
)
from cosmos_adapter.transformer.spec import PRESETS
from cosmos_adapter.transformer.weights import load_model


def every_row(rows: int) -> torch.Tensor:
    return torch.arange(rows)[None]


def test_golden_tables() -> None:
    case = golden_case("ar_base")
    spec = load_model(case["path"]).spec
    cos, sin, absolute = PositionTables(spec).rows(every_row(128), torch.float32)
    assert absolute is None
    torch.testing.assert_close(torch.cat([cos, cos], -1)[0], case["io"]["debug.rope_cos"], atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cat([sin, sin], -1)[0], case["io"]["debug.rope_sin"], atol=1e-6, rtol=0)
    half = PositionTables(spec).rows(every_row(128), torch.bfloat16)[0]
    expected = case["io"]["debug.rope_cos_bf16"]
    torch.testing.assert_close(torch.cat([half, half], -1)[0], expected, atol=4e-3, rtol=0)


def test_channels_of_the_released_models() -> None:
    assert axis_sizes(128) == (44, 42, 42)
    assert axis_sizes(4096) == (1368, 1364, 1364)
    assert axis_sizes(5120) == (1708, 1706, 1706)


def test_grid_indices_are_raster_order() -> None:
    indices = grid_indices(TINY)
    located = [TINY.grid.locate(position) for position in range(TINY.grid.tokens)]
    assert indices.T.tolist() == [list(place) for place in located]


def test_one_angle_by_hand() -> None:
    spec = PRESETS["4B"].spec
    position = (3 * 40 + 17) * 64 + 59  # t=3, h=17, w=59
    angles = rotary_angles(spec, torch.float64)[position]
    assert angles.shape == (64,)
    assert angles[5].item() == pytest.approx(3 * 500000 ** (-10 / 44), rel=1e-12)
    assert angles[22 + 4].item() == pytest.approx(17 * 500000 ** (-8 / 42), rel=1e-12)
    assert angles[22 + 21 + 20].item() == pytest.approx(59 * 500000 ** (-40 / 42), rel=1e-12)


def test_yarn_halves_time_and_slow_space_and_keeps_fast_space() -> None:
    spec = PRESETS["12B"].spec
    plain = replace(spec, apply_yarn=False)
    ratio = [
        inverse_frequencies(spec, axis, torch.float64) / inverse_frequencies(plain, axis, torch.float64)
        for axis in range(3)
    ]
    assert torch.equal(ratio[0], torch.full_like(ratio[0], 0.5))
    assert torch.equal(ratio[1], ratio[2])
    assert ratio[1][0] == 1
    assert ratio[1][-1] == 0.5
    frequency = 500000 ** (-2 / 42)
    kept = (frequency - 2 * math.pi / 40) / (6 * math.pi / 40)
    expected = 1.0 if kept >= 1 else (1 - kept) / 2 + kept
    assert ratio[1][1].item() == pytest.approx(expected)


def test_special_and_padding_rows_have_no_angle() -> None:
    angles = rotary_angles(TINY_TEXT, torch.float32)
    assert angles.shape == (64, 6)
    assert not angles[0].any()
    assert not angles[37:].any()
    assert torch.equal(angles[1:37], rotary_angles(TINY, torch.float32)[:36])
    absolute = absolute_table(TINY_TEXT)
    assert absolute.dtype == torch.bfloat16
    assert not absolute[0].any()
    assert not absolute[37:].any()
    assert absolute[1].float().sum() == 24  # position (0, 0, 0): every sine 0, every cosine 1


def test_absolute_embedding_by_hand() -> None:
    row = absolute_table(TINY_TEXT)[1 + (2 * 3 + 1) * 4 + 3].float()  # t=2, h=1, w=3; 16 channels each
    assert row[3].item() == pytest.approx(math.sin(2 * 10000 ** (-3 / 8)), abs=4e-3)
    assert row[16 + 8].item() == pytest.approx(math.cos(1.0), abs=4e-3)
    assert row[32 + 1].item() == pytest.approx(math.sin(3 * 10000 ** (-1 / 8)), abs=4e-3)


def test_tables_follow_the_dtype() -> None:
    tables = PositionTables(TINY_YARN)
    wide = tables.rows(every_row(36), torch.float64)[0]
    narrow = tables.rows(every_row(36), torch.float32)[0]
    rounded = tables.rows(every_row(36), torch.bfloat16)[0]
    assert torch.equal(rounded, narrow.bfloat16())
    assert 0 < (wide - narrow.double()).abs().max() < 1e-5  # made in float64, not widened


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = PositionTables(TINY)
    x, y = torch.randn(2, 1, 1, 1, 12, generator=generator, dtype=torch.float64)

    def turned(v: torch.Tensor, position: int) -> torch.Tensor:
        cos, sin, _ = tables.rows(torch.tensor([[position]]), torch.float64)
        return rotate(v, *spread(cos, sin))

    assert turned(x, 30).norm().item() == pytest.approx(x.norm().item())
    near = (turned(x, 2) * turned(y, 1)).sum().item()  # one step along w
    far = (turned(x, 35) * turned(y, 34)).sum().item()
    assert near == pytest.approx(far)
    assert near != pytest.approx((turned(x, 5) * turned(y, 1)).sum().item())  # one step along h
