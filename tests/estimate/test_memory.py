"""Predicted memory against real tensors, and what makes a rollout fit."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import vidjacobi
from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.estimate import simulate
from vidjacobi.estimate.counting import FusedAttention, WorkCounter
from vidjacobi.estimate.memory import make_fit, memory_of
from vidjacobi.estimate.scenario import (
    RolloutShape,
    Scenario,
    Turn,
    fewer_samples,
    offloading,
    other_dtype,
    smaller_window,
)
from vidjacobi.loading import outline
from vidjacobi.models.outline import Outline
from vidjacobi.sampling.probs import SamplingParams

PARAMETERS = {"4b": 4_014_088_192, "5b": 4_584_845_312, "12b": 11_560_975_360, "13b": 13_323_125_760}


@cache
def nano(dtype: torch.dtype = torch.float32) -> Outline:
    return outline("nano", dtype)


def shape(decoder: str = "pathwise", window: int = 32, **numbers: Any) -> RolloutShape:
    config = load_decoder(decoder)
    return RolloutShape(config if config.is_ar else with_window(config, window), **numbers)


def bytes_of(tensors: Any) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def real_peak(work: Callable[[], Any]) -> int:
    """Most bytes that torch's CPU allocator held beyond those before ``work``, as its profiler saw them."""
    gc.collect()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as seen:
        kept = work()
    held = peak = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    del kept
    return peak


@pytest.mark.parametrize("name", ["nano", "micro"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_and_cache_are_those_of_a_loaded_model(name: str, dtype: torch.dtype) -> None:
    model, tokenizer = vidjacobi.load(name, "cpu", str(dtype).removeprefix("torch."))
    lines = outline(name, dtype)
    assert lines.resident["weights"] == bytes_of(model.network.state_dict().values())
    assert lines.tokenizer_bytes == bytes_of(tokenizer.codec.net.state_dict().values())
    assert lines.frame_size == tokenizer.frame_size
    # a cache has whole blocks of 512 slots
    assert lines.arithmetic.kv_bytes * 1024 * 3 == bytes_of(
        t for layer in model.make_cache(3, 600) for t in layer
    )
    model.network.tables.rows(torch.zeros(1, 1, dtype=torch.long), dtype)  # makes the tables
    tables = next(iter(model.network.tables._made.values()))
    assert lines.resident["position tables"] == bytes_of(table for table in tables if table is not None)


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_released_sizes(name: str, parameters: int) -> None:
    lines = outline(name, torch.bfloat16)
    assert lines.resident["weights"] == 2 * parameters
    assert lines.arithmetic.kv_bytes == (65_536 if name in ("4b", "5b") else 163_840)
    assert lines.frame_size == (640, 1024)
    assert ("text keys and values" in lines.resident) == (name in ("5b", "13b"))


def test_a_folder_is_measured_by_its_files() -> None:
    assets = Path(vidjacobi.__file__).parent / "assets" / "nano"
    found = outline(str(assets), torch.float32)
    assert (found.resident, found.arithmetic) == (nano().resident, nano().arithmetic)
    assert (found.tokenizer_bytes, found.frame_size) == (nano().tokenizer_bytes, nano().frame_size)


def test_unknown_models(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"unknown model '4bb' \(did you mean '4b'"):
        outline("4bb", torch.bfloat16)
    with pytest.raises(BadCheckpoint, match="no weights in"):
        outline(str(tmp_path), torch.bfloat16)


class Enough(Exception):
    """The first pass after the prefill has come."""


@pytest.mark.parametrize("decoder", ["ar", "pathwise", "gs_sjd", "temporal"])
def test_every_decoders_cache_is_the_real_one(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that decode allocates for its cache, and those predicted."""
    model, _ = vidjacobi.load("nano", "cpu", "float32")
    made: list[int] = []
    make = model.make_cache

    def watched(batch: int, slots: int) -> Any:
        found = make(batch, slots)
        made.append(bytes_of(part for layer in found for part in layer))
        return found

    monkeypatch.setattr(model, "make_cache", watched)
    grid = model.grid_for(9)
    context = torch.zeros(1, grid.tokens, dtype=torch.long)

    def stop(*_: Any) -> Any:
        raise Enough

    monkeypatch.setattr(model, "forward", stop)
    with pytest.raises(Enough):
        vidjacobi.decode(
            model,
            context,
            3 * grid.frame_tokens,
            decoder,
            window=32,
            sampling=SamplingParams(temperature=1.0),
        )
    assert simulate.decoding(nano(), shape(decoder)).cache == made[0]


@pytest.mark.slow
def test_simulated_peaks_are_real_ones() -> None:
    """Attention keeps no scores on either side; small buffers of the CPU's kernels are let through."""
    model, tokenizer = vidjacobi.load("nano", "cpu", "float32")
    lines, size, stride = nano(), nano().frame_size, tokenizer.stride_space
    context = torch.zeros(1, 640, dtype=torch.long)
    tokens = torch.zeros(1, 3, size[0] // stride, size[1] // stride, dtype=torch.long)
    cache, stored = model.make_cache(1, 1601), lines.model.make_cache(1, 1601)
    list(model.prefill(context, cache, 1))  # makes the position tables

    def a_pass(model: Any, cache: Any, device: str) -> Any:
        places = torch.arange(64, device=device)[None]
        return model.forward(
            places, places, places, torch.ones(1, 64, 1280, dtype=torch.bool, device=device), cache
        )

    def filled(model: Any, cache: Any, device: str) -> Any:
        return list(model.prefill(context.to(device), cache, 640))

    def counted(work: Callable[[], Any]) -> int:
        with torch.no_grad(), FusedAttention(), WorkCounter() as counter:
            return counter.of(work)[1].peak

    with torch.no_grad():
        pairs = {
            "pass": (
                lambda: a_pass(model, cache, "cpu"),
                counted(lambda: a_pass(lines.model, stored, "meta")),
            ),
            "prefill": (
                lambda: filled(model, cache, "cpu"),
                counted(lambda: filled(lines.model, stored, "meta")),
            ),
            "encode": (
                lambda: tokenizer.codec.to_tokens(torch.zeros(1, 3, 9, *size)),
                simulate.encoding(lines, 9).peak,
            ),
            "to_frames": (lambda: tokenizer.codec.to_pixels(tokens), simulate.rendering(lines, 3).peak),
        }
        for name, (work, predicted) in pairs.items():
            assert predicted == pytest.approx(real_peak(work), rel=0.1), name


def test_counter_sees_what_lives() -> None:
    with torch.no_grad(), WorkCounter() as counter:
        old = torch.zeros(100, device="meta")
        kept, work = counter.of(lambda: (old + 1).mul_(2).view(10, 10))
        assert (work.peak, work.kernels, counter.now) == (400, 2, 800)
        assert work.moved == 2 * 800
        del kept
        assert counter.now == 400
        _, work = counter.of(lambda: torch.cat([torch.empty(50, device="meta") for _ in range(3)]))
        assert (work.peak, work.moved, work.kernels) == (1200, 1200, 1)
    outside = torch.zeros(100, device="meta")
    with torch.no_grad(), WorkCounter() as counter:
        counter.of(lambda: outside.view(10, 10).t())
        assert counter.peak == 0


@pytest.mark.slow
def test_rows_and_offload() -> None:
    one = memory_of(Scenario(nano(), shape("jacobi")))
    three = memory_of(Scenario(nano(), shape("jacobi", 64, rows=3, contexts=3)))
    assert three.parts["KV cache"] == 3 * one.parts["KV cache"]
    assert three.parts["transformer weights"] == one.parts["transformer weights"]
    assert three.parts["pass: logits, draft and verify"] > 5 * one.parts["pass: logits, draft and verify"]
    shared = memory_of(Scenario(nano(), shape("jacobi", 64, rows=3, contexts=1)))
    own = nano().arithmetic.kv_bytes * 1024  # the cache of the one context, in whole blocks
    assert shared.parts["prefill activations"] - own < three.parts["prefill activations"]
    apart = memory_of(Scenario(nano(), shape("jacobi"), offload=True))
    transformer = one.parts["transformer weights"] + one.parts["position tables"]
    assert one.phases["encode"] - apart.phases["encode"] == transformer
    assert one.phases["pass"] - apart.phases["pass"] == one.parts["tokenizer weights"]
    assert one.peak == max(one.phases.values()) == one.phases[one.worst]
    eight = memory_of(Scenario(nano(torch.bfloat16), shape("jacobi"), weight_bits=8))
    sixteen = memory_of(Scenario(nano(torch.bfloat16), shape("jacobi")))
    saved = sixteen.parts["transformer weights"] - eight.parts["transformer weights"]
    assert saved == nano().arithmetic.matrix_parameters


def made_up(scenario: Scenario) -> int:
    """Bytes: 100 for the models or 60 where they take turns, 1 for each row and window position."""
    return (60 if scenario.offload else 100) + scenario.shape.rows * scenario.shape.window


def fewer_clips(scenario: Scenario) -> Iterator[Turn]:
    """Halve the clips that are decoded together: an adjustment that is none of the package's own."""
    asked = scenario.shape
    samples, clips = asked.rows // asked.contexts, asked.contexts // 2
    while clips >= 1:
        yield f"--batch {clips}", replace(scenario, shape=asked.changed(rows=samples * clips, contexts=clips))
        clips //= 2


@pytest.mark.parametrize(
    ("room", "flags"),
    [
        (60 + 8 * 128, ["--offload"]),
        (100 + 4 * 128, ["--samples 1"]),
        (100 + 2 * 128, ["--batch 1"]),
        (100 + 8 * 16, ["--window 16"]),
        (60 + 4 * 16, ["--offload", "--samples 1", "--batch 1", "--window 64"]),
        (60 + 16, ["--offload", "--samples 1", "--batch 1", "--window 16"]),
        (60 + 15, None),
    ],
)
def test_flags_that_make_it_fit(room: int, flags: list[str] | None) -> None:
    scenario = Scenario(nano(), shape(window=128, rows=8, contexts=4))
    adjustments = [offloading, fewer_samples, fewer_clips, smaller_window]
    assert make_fit(scenario, lambda turned: made_up(turned) <= room, adjustments) == flags


def test_a_smaller_dtype_is_an_adjustment() -> None:
    smaller = other_dtype("bfloat16", lambda: nano(torch.bfloat16))
    half = nano(torch.bfloat16).resident["weights"]
    for room, flags in ((half, ["--dtype bfloat16"]), (half - 1, None)):
        found = make_fit(
            Scenario(nano(), shape()),
            lambda one, room=room: one.outline.resident["weights"] <= room,
            [smaller],
        )
        assert found == flags


@pytest.mark.parametrize("context", [0, 2, 33, 41])
def test_contexts_that_the_tokenizer_cannot_take(context: int) -> None:
    with pytest.raises(InvalidArgument, match=f"a context of {context} frames does not fit nano"):
        memory_of(Scenario(nano(), shape(context_frames=context)))
