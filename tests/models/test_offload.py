"""Offloading: the results are the same, one module's weights are on the device at a time, and turns are fair."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from torch import nn

import vidjacobi
from cosmos_adapter.pair import modules_of
from cosmos_adapter.tokenizer.model import CosmosTokenizer, ScriptCodec
from vidjacobi.decoding.prefill import has_free_rows
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.offload import (
    MODEL,
    TOKENIZER,
    OffloadedModel,
    OffloadedTokenizer,
    SharedDevice,
    offload_pair,
)
from vidjacobi.models.protocol import RowModel, TreeModel

# Weights "on the device" are second copies in the same memory, so that a test can tell by their addresses where
# they are.
CPU = torch.device("cpu")


@pytest.fixture
def loaded(tiny_pair: Path) -> Any:
    return vidjacobi.load(tiny_pair, "cpu", "float64")


@pytest.fixture
def turning(loaded: Any) -> tuple[OffloadedModel, OffloadedTokenizer]:
    return offload_pair(*loaded, modules_of(*loaded), CPU)


def clip() -> torch.Tensor:
    return torch.randint(
        0, 255, (9, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("decoder", ["ar", "pathwise", "gs_sjd"])
def test_rollouts_are_the_same(tiny_pair: Path, turning: Any, decoder: str) -> None:
    plain = vidjacobi.load(tiny_pair, "cpu", "float64")
    expected, found = (
        vidjacobi.rollout(clip(), *pair, 16, 2, decoder=decoder, window=6) for pair in (plain, turning)
    )
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.predicted, expected.predicted)


def test_streams_are_the_same(tiny_pair: Path, turning: Any) -> None:
    """Each group of frames is a turn of the tokenizer, between passes that continue with their cache."""
    plain = vidjacobi.load(tiny_pair, "cpu", "float64")
    expected, found = (
        [
            (group.sample, group.first, group.frames)
            for group in vidjacobi.rollout(clip(), *pair, 16, 2, window=6, stream=True)
        ]
        for pair in (plain, turning)
    )
    assert [group[:2] for group in found] == [group[:2] for group in expected]
    assert all(torch.equal(one[2], other[2]) for one, other in zip(found, expected, strict=True))


def test_one_is_there_at_a_time(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every call that needs weights, the caller's weights are copies and the others are the host's own."""
    modules = dict(zip((MODEL, TOKENIZER), modules_of(*loaded), strict=True))
    host = {name: [part.data_ptr() for part in module.parameters()] for name, module in modules.items()}
    seen: list[str] = []

    def there() -> str:
        moved = [
            name
            for name, module in modules.items()
            if [part.data_ptr() for part in module.parameters()] != host[name]
        ]
        (name,) = moved
        assert not set(host[name]) & {part.data_ptr() for part in modules[name].parameters()}
        return name

    def watch(target: Any, method: str) -> None:
        inner = getattr(target, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.append(f"{method}: {there()}")
            return inner(*args, **kwargs)

        monkeypatch.setattr(target, method, watched)

    model, tokenizer = loaded
    for target, methods in (
        (model, ("make_cache", "prefill", "forward")),
        (tokenizer, ("encode", "to_frames")),
    ):
        for method in methods:
            watch(target, method)
    pair = offload_pair(model, tokenizer, modules_of(model, tokenizer), CPU)
    vidjacobi.rollout(clip(), *pair, 8, window=6)
    passes = seen[3:-1]
    assert passes
    assert set(passes) == {"forward: transformer"}
    assert seen[:3] == ["encode: tokenizer", "make_cache: transformer", "prefill: transformer"]
    assert seen[-1] == "to_frames: tokenizer"


def test_an_offloaded_model_offers_what_the_model_does(turning: Any) -> None:
    model, tokenizer = turning
    assert isinstance(model, TreeModel)
    assert isinstance(model, RowModel)
    assert has_free_rows(model)
    assert isinstance(tokenizer, vidjacobi.VideoTokenizer)
    assert (model.device, model.dtype) == (CPU, torch.float64)


def weights(module: nn.Module) -> list[int]:
    return [part.data_ptr() for part in module.parameters()]


def test_a_turn_that_runs_out_of_memory_can_be_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out when half of the weights are there: they are removed, and the device is empty."""
    first, second = nn.Linear(3, 4), nn.Linear(4, 5)
    shared = SharedDevice({"first": first, "second": second}, CPU)
    host = weights(first), weights(second)
    with shared.turn("first"):
        assert weights(first) != host[0]
    to, calls = torch.Tensor.to, []

    def failing(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(self)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no room")
        return to(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", failing)
    with pytest.raises(torch.OutOfMemoryError), shared.turn("second"):
        pytest.fail("its weights are not there")
    assert shared.there is None
    assert (weights(first), weights(second)) == host
    with shared.turn("second"):
        assert shared.there == "second"
        assert torch.equal(second(torch.ones(4)), second.weight.sum(1) + second.bias)


def test_the_callers_mode_does_not_stick_to_the_weights() -> None:
    one, other = nn.Linear(3, 4), nn.Linear(4, 5)
    shared = SharedDevice({"one": one, "other": other}, CPU)
    with torch.inference_mode(), shared.turn("one"):
        one(torch.ones(3))
    with shared.turn("other"), is_on_the_host(one):
        pass
    with shared.turn("one"):
        one(torch.ones(3)).sum().backward()
    assert one.weight.grad is not None


def is_on_the_host(module: nn.Module) -> Any:
    """Assert that all of a module is back on the host."""
    assert not any(part.is_inference() for part in module.parameters())
    return torch.no_grad()


def test_threads_get_their_turns_in_order() -> None:
    """While one module works the others wait, and they get their turns in the order in which they asked."""
    shared = SharedDevice({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, CPU)
    started, release, order = Event(), Event(), []

    def hold() -> None:
        with shared.turn("a"):
            started.set()
            release.wait(10)
            order.append("first")

    def queue(name: str, label: str) -> Thread:
        before = len(shared._waiting)
        thread = Thread(target=lambda: enter(name, label))
        thread.start()
        while len(shared._waiting) == before:
            Event().wait(0.001)
        return thread

    def enter(name: str, label: str) -> None:
        with shared.turn(name):
            assert shared.there == name
            order.append(label)

    threads = [Thread(target=hold)]
    threads[0].start()
    assert started.wait(10)
    threads += [queue("b", "second"), queue("a", "third"), queue("b", "fourth")]
    assert order == []
    release.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second", "third", "fourth"]


def test_others_may_come_between_the_chunks_of_a_prefill(loaded: Any, monkeypatch: Any) -> None:
    # the logits of one input at a time
    monkeypatch.setattr("cosmos_adapter.transformer.model.HEAD_CHUNK", 64)
    model, tokenizer = offload_pair(*loaded, modules_of(*loaded), CPU)
    tokens = torch.arange(10)[None]
    whole = torch.cat(list(loaded[0].prefill(tokens, loaded[0].make_cache(1, 10), 4)), 1)
    chunks: Iterator[torch.Tensor] = model.prefill(tokens, model.make_cache(1, 10), 4)
    found = [next(chunks)]
    tokenizer.encode(torch.zeros(1, 3, 1, 32, 48, dtype=torch.float64))
    found += chunks
    assert len(found) == 4
    assert torch.equal(torch.cat(found, 1), whole)


def test_what_cannot_be_offloaded(tiny_pair: Path, loaded: Any) -> None:
    with pytest.raises(InvalidArgument, match="on a CPU leave it out"):
        vidjacobi.load(tiny_pair, "cpu", offload=True)
    model, tokenizer = loaded
    program = torch.jit.trace(nn.Linear(1, 1), torch.zeros(1))
    running = CosmosTokenizer(tokenizer.spec, ScriptCodec(program, program, CPU, torch.float32))
    with pytest.raises(InvalidArgument, match="TorchScript"):
        modules_of(model, running)
