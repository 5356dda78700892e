"""The memory model beside what decoding really allocates, phase by phase."""

from functools import cache, partial
from typing import Any

import pytest
import torch

import vidjacobi
from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.clip_queue import Request as Clip
from vidjacobi.decoding.clip_queue import decode_each
from vidjacobi.errors import BadModelOutput
from vidjacobi.estimate.counting import counted
from vidjacobi.estimate.measuring import Meter, expected, fill, measure_decoding, measured, one_pass
from vidjacobi.estimate.memory import memory_of
from vidjacobi.estimate.scenario import RolloutShape, Scenario
from vidjacobi.loading import outline
from vidjacobi.sampling import sampler

pytestmark = pytest.mark.unchecked

CPU = torch.device("cpu")


@cache
def nano() -> Any:
    return vidjacobi.load("nano", "cpu", "float32")[0]


def test_a_meter_sees_phases() -> None:
    kept = torch.zeros(1000)
    with Meter(CPU) as meter:
        meter.mark("a")
        first = torch.zeros(500)
        meter.mark("b")
        torch.zeros(2000).sum()
        meter.mark("a")
        del first, kept
        last = torch.zeros(300)
    assert meter.phases["a"].peak == 4 * 500
    assert meter.phases["b"].peak == pytest.approx(4 * 2500, rel=0.02)
    assert meter.phases["a"].seconds > 0
    assert measured(CPU, lambda: torch.zeros(700)).peak == 4 * 700
    del last


def test_pieces_of_a_decode() -> None:
    """A prefill and passes by themselves, on the model and on its outline; NaN is seen."""
    lines = outline("nano", torch.float32)
    real, bare = (model.make_cache(1, 800) for model in (nano(), lines.model))
    tokens = torch.zeros(1, 640, dtype=torch.long)
    fill(nano(), real, tokens)  # makes the position tables
    for work in (partial(fill, tokens=tokens), partial(one_pass, width=64, slots=768)):
        found = measured(CPU, lambda work=work: work(nano(), real)).peak
        assert found == pytest.approx(counted(lambda work=work: work(lines.model, bare)).peak, rel=0.1)
    real[0].keys.fill_(float("nan"))
    with pytest.raises(BadModelOutput, match="NaN or infinite"):
        one_pass(nano(), real, 2, 700)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token takes part, as everywhere but on a CPU, where what a draw takes depends on the numbers."""
    monkeypatch.setattr(sampler, "takes_sparse_path", lambda logits: False)
    monkeypatch.setattr(
        torch.compiler, "is_compiling", lambda: True
    )  # AR sorts with torch, which its profiler sees


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize(("decoder", "window"), [("ar", 1), ("pathwise", 64), ("gs_sjd", 128)])
def test_decoding_takes_what_was_expected(decoder: str, window: int) -> None:
    """Each phase, within a tenth of all that decoding holds: kernels of the CPU have small buffers of their own."""
    config = with_window(load_decoder(decoder), window)
    context = torch.arange(640)[None] * 7 % nano().vocab_size
    nano().network(context[:, :1])  # makes the position tables
    found = measure_decoding(nano(), context, 960, config, passes=2)
    wanted = expected(outline("nano", torch.float32), RolloutShape(config))
    assert found.keys() == wanted.keys() == {"prefill", "forward", "outside"}
    for phase, peak in wanted.items():
        assert found[phase].peak == pytest.approx(peak, rel=0.1), phase


@pytest.mark.slow
@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_batch_takes_what_was_expected() -> None:
    """Three rows, four contexts, the tokenizer's part left out."""
    contexts = torch.arange(4 * 640).view(4, 640) * 7 % nano().vocab_size
    config = with_window(load_decoder("gs_sjd"), 64)
    clips = [Clip(context, 24, f"clip {index}") for index, context in enumerate(contexts)]
    assert nano().bitwise  # which stores its weights in another order: the profiler would see half of that
    found = measured(CPU, lambda: list(decode_each(nano(), clips, 3, config, positions=960)))
    memory = memory_of(
        Scenario(
            outline("nano", torch.float32), RolloutShape(config, 3, 1, 9, 8), offload=True, in_batch=True
        )
    )
    (turn,) = (bytes_ for name, bytes_ in memory.phases.items() if name.startswith("decoding"))
    weights = memory.parts["transformer weights"] + memory.parts["position tables"]
    assert found.peak == pytest.approx(turn - weights, rel=0.15)
