"""Passes that keep their shapes and memory: what compiled code and CUDA graphs need, checked without either.

The compiler itself runs in test_torch_compile.py, in processes without shape checks.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from noting_runner import NotedModel
from plain_model import Plain
from recording import case, every_pass
from torch import Tensor

import vidjacobi
from vidjacobi.decoding import compiled as module
from vidjacobi.decoding.api import choose_decoder
from vidjacobi.decoding.compiled import PREFIXES, check_mode, compiled
from vidjacobi.decoding.state import DecodeState, tensors_of
from vidjacobi.decoding.step import StepOutput
from vidjacobi.decoding.trace import Decoded
from vidjacobi.decoding.window import PassSize
from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import RowModel, TreeModel, VideoModel
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked

GRID = Grid(12, 8, 4)  # frames of 32, clips of 384
DECODERS = ("pathwise", "fast", "sjd", "pjd_temporal", "adaptive")


def model(dtype: torch.dtype = torch.float64) -> TinyVideoModel:
    return TinyVideoModel(12, GRID, surprise=0.3, dtype=dtype)


def decode(on: Any, decoder: str, seed: int = 0, **options: Any) -> Decoded:
    clips = torch.randint(0, 12, (3, 40), generator=torch.Generator().manual_seed(1))
    return vidjacobi.decode(
        on,
        [clips[0], clips[1], clips[2, :9]],
        [130, 30, 90],
        decoder,
        16,
        SamplingParams(seed=seed),
        **options,
    )


class Graphs:
    """Stands in for CUDA graphs: recording runs nothing, and what a replay gives lies where it lay before."""

    def __init__(self) -> None:
        self.recorded = self.warmed = 0

    def __call__(self, warm_up: Callable[[], Any], work: Callable[[], Any]) -> Callable[[], Any]:
        self.recorded += 1
        warm_up()  # which must change nothing
        results: list[Any] = []

        def replay() -> Any:
            made = work()
            if not results:
                results.append(made)
            for old, new in zip(tensors_of(results[0]), tensors_of(made), strict=True):
                old.copy_(new)
            return results[0]

        return replay


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    monkeypatch.setattr(module, "compile_whole", lambda function, backend: function)
    return Graphs()


@pytest.mark.parametrize("decoder", DECODERS)
def test_captured_passes_decide_the_same(decoder: str, graphs: Graphs) -> None:
    """Tokens, counts and marks, of clips of different lengths."""
    captured = compiled(model(), "reduce-overhead", recorder=graphs)
    made, expected = decode(captured, decoder), decode(model(), decoder)
    assert graphs.recorded > 1
    assert torch.equal(made.tokens, expected.tokens)
    assert made.stats.nfe == expected.stats.nfe
    for name in ("decided_in", "redrafted", "evaluated", "accepted"):
        assert torch.equal(getattr(made.trace, name), getattr(expected.trace, name))


def test_each_prefix_is_captured_once_and_nothing_moves(graphs: Graphs) -> None:
    """The probs that are carried on and the cache are in the same memory in all passes of two decodes."""
    places: set[tuple[int, ...]] = set()
    sizes: list[tuple[int, int]] = []

    def note(size: PassSize, cache: Tensor, output: StepOutput) -> None:
        left = tensors_of(output.state.probs, output.state.frame_probs)
        places.add((cache.data_ptr(), *(tensor.data_ptr() for tensor in left)))
        sizes.append((size.width, size.slots))

    captured: Any = NotedModel(model(), "inductor", graphs, note=note)
    for seed in (0, 1):
        assert torch.equal(decode(captured, "fast", seed).tokens, decode(model(), "fast", seed).tokens)
    assert len(places) == 1
    assert graphs.recorded == len(set(sizes)) > 2
    assert {width for width, _ in sizes} == {16}
    assert len({slots for _, slots in sizes}) <= PREFIXES


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("decoder", ["pathwise", "fast", "sjd", "sjd_pac", "sjdpp"])
def test_the_first_state_is_laid_out_like_the_later_ones(decoder: str, temperature: float) -> None:
    """Otherwise the first pass would be compiled for itself: shapes, strides and shared tensors count."""

    def layout(state: DecodeState) -> list[Any]:
        tensors = tensors_of(state.probs, state.frame_probs)
        ids = [id(tensor) for tensor in tensors]
        return [(x.shape, x.stride(), x.dtype, ids.index(id(x))) for x in tensors]

    chosen, some = choose_decoder(decoder, 40, SamplingParams(temperature)), case(40)
    recipe = replace(some.recipe, sampling=chosen.sampling, parts=chosen.parts)
    first, second, *_ = every_pass(replace(some, recipe=recipe))
    assert (recipe.siblings > 0) == (chosen.config.draft_tree is not None)
    assert layout(first.before) == layout(first.after) == layout(second.after)


def test_a_decode_inside_a_decode_has_passes_of_its_own(graphs: Graphs) -> None:
    captured, inner = compiled(model(), "reduce-overhead", recorder=graphs), []

    def interrupt(progress: Any) -> None:
        if progress.passes == 5:
            inner.append(decode(captured, "fast", 1))

    outer = decode(captured, "fast", observe=interrupt)
    assert torch.equal(outer.tokens, decode(model(), "fast").tokens)
    assert torch.equal(inner[0].tokens, decode(model(), "fast", 1).tokens)


def test_queues_are_decoded_in_batches(graphs: Graphs) -> None:
    contexts = torch.randint(0, 12, (5, 20), generator=torch.Generator().manual_seed(2))

    def tokens(on: Any) -> dict[str, list[int]]:
        requests = [vidjacobi.Request(row, 20 + 9 * at, name=str(at)) for at, row in enumerate(contexts)]
        done = vidjacobi.decode_each(on, requests, rows=2, decoder="fast", window=8)
        return {str(one.request.name): one.decoded.tokens[0].tolist() for one in done}

    captured = compiled(model(), "reduce-overhead", recorder=graphs)
    assert tokens(captured) == tokens(model())


def test_watchers_see_the_same(graphs: Graphs) -> None:
    def watched(on: Any) -> list[Tensor]:
        seen: list[Tensor] = []

        def watch(positions: Tensor, new: Tensor, logits: Tensor) -> None:
            seen.extend([positions[new].clone(), logits[new].clone()])

        decode(on, "fast", watch=watch)
        return seen

    pairs = zip(watched(compiled(model(), "reduce-overhead", recorder=graphs)), watched(model()), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_compiled_model_offers_what_its_model_does(graphs: Graphs) -> None:
    one = model()
    plain: Any = Plain(one)
    assert isinstance(compiled(one, backend="eager"), TreeModel)
    assert isinstance(compiled(one, backend="eager"), RowModel)
    assert isinstance(compiled(plain, backend="eager"), VideoModel)
    assert not isinstance(compiled(plain, backend="eager"), TreeModel)
    assert not isinstance(compiled(plain, backend="eager"), RowModel)
    assert compiled(one, "off") is one
    bare = compiled(plain, "reduce-overhead", recorder=graphs)
    assert torch.equal(decode(bare, "fast").tokens, decode(plain, "fast").tokens)


def test_what_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match="did you mean 'default'"):
        compiled(model(), "defualt")
    with pytest.raises(InvalidArgument, match="on a CPU use compile mode 'default'"):
        compiled(model(), "reduce-overhead")
    with pytest.raises(InvalidArgument, match="leave out offload or compile"):
        check_mode("default", torch.device("cpu"), offload=True)
    with pytest.raises(InvalidArgument, match="on a CPU use compile mode 'default'"):
        vidjacobi.load("nano", device="cpu", compile="reduce-overhead")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InvalidArgument, match=r"install one \(Debian and Ubuntu: g\+\+"):
        compiled(model(), "default")
