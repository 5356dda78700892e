"""The pass model: what it counts, what it predicts of the published table, how it moves."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.api import choose_decoder, decode
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.counting import FusedAttention
from vidjacobi.estimate.overhead import outside_work
from vidjacobi.estimate.pass_seconds import (
    PERFECT,
    Fit,
    Gpu,
    Machine,
    PassShape,
    Speed,
    fit_published,
    load_gpu,
    prefill_seconds,
    published,
    quantised,
    seconds_by_part,
    total,
)
from vidjacobi.estimate.predictions import DecoderCosts, PassPredictor
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.estimate.simulate import recipe_of, slots_read
from vidjacobi.kinds import Grid
from vidjacobi.loading import outline
from vidjacobi.models.outline import Outline
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel

SLOW = Gpu("slow", 10**9, 0, 1e9, {"bfloat16": 1e12}, "made up")


@cache
def model(name: str = "4b") -> Outline:
    return outline(name, torch.bfloat16)


@cache
def fitted() -> Fit:
    return fit_published()


def test_the_published_table_is_reproduced_with_the_stated_errors() -> None:
    fit = fitted()
    assert len(fit.residuals) == 13
    assert fit.mean < 0.035
    errors = {(one.row.decoder, one.row.window): one.error for one in fit.residuals}
    assert abs(errors["ar", 1]) < 0.01
    # the paper's gs_sjd at 128 takes 12 % less a pass than its mc_sjd at 128: no model of windows can have both
    assert errors.pop(("gs_sjd", 128)) == pytest.approx(0.088, abs=0.005)
    assert max(map(abs, errors.values())) < 0.06
    assert 0.7 < fit.speed.efficiency < 0.85
    assert 0.003 < fit.speed.launch < 0.006


def test_the_fit_finds_what_made_a_table() -> None:
    table, fit = published(), fitted()
    made = replace(table, rows=tuple(replace(one.row, seconds=one.predicted) for one in fit.residuals))
    again = fit_published(made)
    assert again.speed.efficiency == pytest.approx(fit.speed.efficiency, rel=1e-9)
    assert again.speed.launch == pytest.approx(fit.speed.launch, rel=1e-9)
    assert again.worst < 1e-9


def test_numbers_of_the_4b() -> None:
    arithmetic = model().arithmetic
    assert 2 * arithmetic.matrix_parameters == 2 * 3_751_804_928  # 7.50 GFLOP a token
    assert arithmetic.attention_flops == 262_144
    assert arithmetic.matrix_bytes == 2 * arithmetic.matrix_parameters


@pytest.mark.parametrize("name", ["4b", "5b", "nano"])
def test_operations_are_those_of_the_network(name: str) -> None:
    """torch's own counter, on a pass of 24 inputs (attention, which is not run there, apart)."""
    lines = model(name)
    tokens = torch.empty(2, 12, dtype=torch.long, device="meta")
    seen = torch.empty(2, 12, 64, dtype=torch.bool, device="meta")
    network = lines.model
    with torch.no_grad(), FusedAttention(), FlopCounterMode(display=False) as flops:
        network.forward(tokens, tokens, tokens, seen, network.make_cache(2, 64))
    assert flops.get_total_flops() == 24 * 2 * lines.arithmetic.matrix_parameters


def test_a_pass_is_what_its_slowest_resource_takes() -> None:
    machine, arithmetic = Machine(SLOW, PERFECT, "bfloat16"), model().arithmetic
    narrow = seconds_by_part(machine, arithmetic, PassShape(1, 1, 1000, 10**8, 0))
    assert narrow["weights"] == pytest.approx(arithmetic.matrix_bytes / 1e9)
    assert narrow["cache"] == pytest.approx(1000 * 65_536 / 1e9)
    assert narrow["outside"] == pytest.approx(0.1)
    assert narrow["launch"] == narrow["host"] == 0
    wide = seconds_by_part(machine, arithmetic, PassShape(2, 4000, 1000, 0, 0))
    assert wide["weights"] == pytest.approx(8000 * 2 * arithmetic.matrix_parameters / 1e12)
    assert wide["cache"] == pytest.approx(8000 * 262_144 * 1000 / 1e12)
    half = seconds_by_part(
        replace(machine, speed=Speed(0.5, 0.25, 0.0)), arithmetic, PassShape(1, 1, 1000, 10**8, 0)
    )
    assert total(half) == pytest.approx(2 * total(narrow) + 0.25)
    waiting = seconds_by_part(
        replace(machine, speed=Speed(1.0, 0.0, 1.0)), arithmetic, PassShape(1, 1, 1000, 0, 500)
    )
    assert total(waiting) == pytest.approx(500)


def test_quantised_weights_take_half_the_bytes() -> None:
    arithmetic = model().arithmetic
    assert quantised(arithmetic, 8).matrix_bytes * 2 == arithmetic.matrix_bytes
    machine = Machine(SLOW, PERFECT, "bfloat16")
    assert prefill_seconds(machine, arithmetic, 5120, 0) == prefill_seconds(
        machine, quantised(arithmetic, 8), 5120, 0
    )


@pytest.mark.slow
def test_wider_windows_and_longer_prefixes_never_take_less() -> None:
    machine = Machine(load_gpu("h100"), fitted().speed, "bfloat16")
    passes = PassPredictor(DecoderCosts(model(), RolloutShape(load_decoder("gs_sjd"))), machine)
    by_window = [passes.mean_pass("gs_sjd", window) for window in (16, 64, 256)]
    assert by_window == sorted(by_window)
    assert by_window[0] < by_window[-1]
    by_prefix = [total(passes.pass_parts("gs_sjd", 64, prefix)) for prefix in (5120, 9000, 12000)]
    assert by_prefix == sorted(by_prefix)
    assert passes.mean_pass("gs_sjd", 64, 8) < 8 * passes.mean_pass("gs_sjd", 64)
    assert replace(passes, weight_bits=8).mean_pass("gs_sjd", 64) < passes.mean_pass("gs_sjd", 64)


def test_outside_work_grows_with_the_window() -> None:
    shape = RolloutShape(load_decoder("gs_sjd"))
    narrow, wide = (outside_work(model("nano"), shape.changed(window=window)) for window in (16, 64))
    assert wide.each_pass.kernels == narrow.each_pass.kernels
    assert 3 < wide.each_pass.moved / narrow.each_pass.moved <= 4
    nano = model("nano").model  # the prefill makes the probs of the empty window before the first pass
    empty = (64 - 16) * nano.vocab_size * nano.dtype.itemsize
    assert wide.prefill.moved - narrow.prefill.moved == pytest.approx(empty, rel=0.02)
    remembers = outside_work(model("nano"), RolloutShape(load_decoder("pathwise")))
    assert remembers.prefill.moved > 10 * narrow.prefill.moved  # the probs of the context's last frame


def test_slots_are_whole_buckets() -> None:
    recipe = recipe_of(model(), RolloutShape(with_window(load_decoder("gs_sjd"), 64)))
    assert slots_read(recipe, 5120) == slots_read(recipe, 5121) == 5184
    assert slots_read(recipe, 5122) == 5248
    assert slots_read(recipe, 12799) == 12800
    assert slots_read(recipe_of(model(), RolloutShape(load_decoder("ar"))), 5121) == 5184


@pytest.mark.parametrize("decoder", ["ar", "gs_sjd", "pathwise"])
def test_slots_are_those_that_decoding_reads(decoder: str) -> None:
    """Every pass of a decode, down to the last one at the clip's end."""
    tiny, seen = TinyVideoModel(vocab_size=5, grid=Grid(60, 2, 3)), []
    forward, window, room = tiny.forward, 1 if decoder == "ar" else 16, 200
    recipe = choose_decoder(decoder, window, SamplingParams()).recipe(tiny, room)

    def watched(tokens: Tensor, positions: Tensor, slots: Tensor, visible: Tensor, cache: Any) -> Tensor:
        seen.append((visible.shape[-1], slots_read(recipe, int(positions.min()) + 1)))
        return forward(tokens, positions, slots, visible, cache)

    tiny.forward = watched  # type: ignore[method-assign]
    decode(tiny, torch.zeros(1, 6, dtype=torch.long), room - 6, decoder, window)
    passes = seen[1:]  # without the prefill
    assert len(passes) > 50
    assert all(read == predicted for read, predicted in passes)
    assert {read for read, _ in passes} == {64, 128, 192, 256}


@pytest.mark.parametrize("name", ["h100", "a100", "4090", "rtx6000ada"])
def test_shipped_gpus(name: str) -> None:
    gpu = load_gpu(name)
    assert gpu.flops["bfloat16"] > gpu.flops["float32"]
    assert 0 < gpu.reserved < gpu.usable < gpu.memory
    assert gpu.source


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x", "lacks memory_mib, reserved_mib, bandwidth_gb_s, tflops, source"),
        ("[1, 2]", "expected keys and values"),
        ("name: [", "gpu"),
        (
            "{name: x, memory_mib: -1, reserved_mib: 1, bandwidth_gb_s: 1, tflops: {bfloat16: 1}, source: y}",
            "memory_mib must be a number above 0, not -1",
        ),
        (
            "{name: x, memory_mib: 9, reserved_mib: 1, bandwidth_gb_s: 1, tflops: 5, source: y}",
            "tflops must be",
        ),
        (
            "{name: x, memory_mib: 9, reserved_mib: 1, bandwidth_gb_s: 1, tflops: {bfloat16: fast}, source: y}",
            "tflops.bfloat16 must be a number",
        ),
    ],
)
def test_gpu_files_that_cannot_be_used(tmp_path, text: str, words: str) -> None:
    path = tmp_path / "gpu.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument, match=words):
        load_gpu(str(path))


def test_unknown_gpus() -> None:
    with pytest.raises(InvalidArgument, match=r"unknown gpu 'h10' \(did you mean 'h100'"):
        load_gpu("h10")
    with pytest.raises(InvalidArgument, match="has no number for float64"):
        seconds_by_part(Machine(SLOW, PERFECT, "float64"), model().arithmetic, PassShape(1, 1, 1, 0, 0))
