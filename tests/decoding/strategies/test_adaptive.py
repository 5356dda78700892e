"""The window that follows the clip: chosen from past counts and a stored curve, never from the clock."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vidjacobi import decode
from vidjacobi.bench.curve import measure_curve, write_curve
from vidjacobi.config.decoder import DecoderConfig, load_decoder
from vidjacobi.decoding.strategies.lanes import AdaptiveLane
from vidjacobi.kinds import Grid
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked

GRID, VOCAB = Grid(4, 6, 8), 16
MODEL = TinyVideoModel(VOCAB, GRID, surprise=0.3, dtype=torch.float64)
CONTEXT = torch.randint(0, VOCAB, (3, 48), generator=torch.Generator().manual_seed(0))
CURVE: dict[str, Any] = {
    "curve": "x",
    "sizes": (4, 8, 16),
    "seconds": (1.0, 1.5, 3.0),
    "tokens": (2.0, 3.0, 5.0),
}


def adaptive(**changes: Any) -> DecoderConfig:
    lanes = {"name": "adaptive", **CURVE, "block": 2, **changes}
    return replace(load_decoder("pathwise"), lanes=lanes, window=16)


def test_it_begins_with_the_best_of_the_curve() -> None:
    """2 / 1, 3 / 1.5 and 5 / 3 tokens a second: the first of the two best."""
    rule = AdaptiveLane(**CURVE)
    assert rule.init(3, torch.device("cpu"))[:, 0].tolist() == [0, 0, 0]
    steep = AdaptiveLane(**{**CURVE, "tokens": (2.0, 3.0, 7.0)})
    assert steep.init(1, torch.device("cpu"))[:, 0].tolist() == [2]


def test_a_block_of_passes_teaches_the_size_it_used_most() -> None:
    rule = AdaptiveLane(**{**CURVE, "tokens": (2.0, 3.0, 7.0)}, block=2, trust=0.5)
    state = rule.init(2, torch.device("cpu"))
    state = rule.update(state, torch.tensor([7, 0]))  # the second clip is finished
    assert state[:, 1:3].tolist() == [[1, 7], [0, 0]]
    state = rule.update(state, torch.tensor([0, 0]))
    assert state[0, 1:3].tolist() == [1, 7]  # so is the first
    state = rule.update(state, torch.tensor([0, 0]))
    assert state[:, 0].tolist() == [2, 2]
    poor = rule.update(rule.update(rule.init(1, torch.device("cpu")), torch.tensor([1])), torch.tensor([1]))
    did = 2 / (2 * 7)
    assert poor[0, 3:].tolist() == pytest.approx(
        [1 + 0.125 * (did - 1), 1 + 0.25 * (did - 1), 1 + 0.5 * (did - 1)]
    )
    assert poor[0, :3].tolist() == [0, 0, 0]  # a smaller window promises more now


def test_tokens_are_ars_and_passes_do_not_depend_on_batch_mates() -> None:
    together = decode(MODEL, CONTEXT, 144, adaptive())
    assert torch.equal(together.tokens, decode(MODEL, CONTEXT, 144, "ar").tokens)
    for clip in range(3):
        alone = decode(MODEL, CONTEXT[clip : clip + 1], 144, adaptive())
        assert alone.stats.nfe[0] == together.stats.nfe[clip]
        assert alone.stats.positions[0] == together.stats.positions[clip]


def test_it_uses_only_its_sizes_and_more_than_one_of_them() -> None:
    config = adaptive(tokens=(2.0, 3.0, 12.0))
    trace = decode(MODEL, CONTEXT[:1], 144, config).trace
    whole = trace.frontier[:-1, 0] <= 144 - 16  # at the end of the clip there is less to evaluate
    inside = trace.evaluated[1:, 0][whole]
    assert set(inside.tolist()) <= {4, 8, 16}
    assert len(set(inside.tolist())) > 1


def test_the_window_caps_the_sizes() -> None:
    config = replace(adaptive(tokens=(2.0, 3.0, 12.0)), window=5)
    assert int(decode(MODEL, CONTEXT[:1], 60, config).trace.evaluated[1:].max()) <= 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (8, 4, 16)}, "sizes must rise"),
        ({"sizes": (4, 8)}, "lists of one length"),
        ({"seconds": (1.0, 0.0, 2.0)}, "positive"),
        ({"block": 0}, "block"),
        ({"trust": 0.0}, "trust"),
    ],
)
def test_bad_numbers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveLane(**{**CURVE, **changes})


@pytest.mark.usefixtures("ticking_clock")
def test_a_measured_curve_can_be_named_in_a_decoder(tmp_path: Path) -> None:
    curve = measure_curve(MODEL, CONTEXT[:2], 60, "pathwise", [8, 4])
    assert curve["sizes"] == [4, 8]
    assert all(seconds > 0 for seconds in curve["seconds"])
    assert 1 < curve["tokens"][0] < curve["tokens"][1]
    write_curve(tmp_path / "mine.yaml", curve, {"model": "tiny"})
    lanes = {"name": "adaptive", "curve": str(tmp_path / "mine.yaml")}
    config = load_decoder("pathwise", {"lanes": lanes})
    assert config.lanes
    assert config.lanes["sizes"] == [4, 8]
    assert config.lanes["curve"] == str(tmp_path / "mine.yaml")
    assert decode(MODEL, CONTEXT[:1], 20, config).tokens.shape == (1, 20)


def test_a_curve_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("sizes: 3\n")
    with pytest.raises(ValueError, match="expected lists"):
        load_decoder("pathwise", {"lanes": {"name": "adaptive", "curve": str(tmp_path / "bad.yaml")}})
    with pytest.raises(ValueError, match="unknown curve"):
        load_decoder("pathwise", {"lanes": {"name": "adaptive", "curve": "nowhere"}})
    with pytest.raises(ValueError, match="at least 1"):
        measure_curve(MODEL, CONTEXT, 5, "pathwise", [])
