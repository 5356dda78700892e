"""Attention whose queries are cut into pieces: the probe finds where it must be, and pieces are the whole."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_cosmos import TINY, TINY_TEXT, tiny_network
from torch import Tensor

import vidjacobi
from cosmos_adapter.transformer.attention import GroupedQueryAttention
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from vidjacobi.invariance import (
    PLAIN,
    PassShape,
    Sizes,
    attention_is_invariant,
    in_pieces,
    pass_shape,
)
from vidjacobi.invariance import Attend as Kernel
from vidjacobi.runtime import attend

CPU = torch.device("cpu")
SIZES = Sizes(((48, 96),), kv_heads=2, group=2, head_size=12)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    pass_shape.cache_clear()
    yield
    pass_shape.cache_clear()


def found(kernel: Kernel) -> PassShape:
    # in float64 attention sums any number of rows alike on the processors known so far, but for tails of a row or two
    return pass_shape(SIZES, torch.float64, CPU, 1, kernel)


def otherwise(wrong: Any) -> Kernel:
    """A kernel with another log-sum-exp in the queries that ``wrong`` names of the stacked ones."""

    def kernel(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        mixed, norm = attend(queries, keys, values, mask)
        return mixed, torch.where(wrong(queries), norm + 1e-6, norm)

    return kernel


def more_than(most: int) -> Kernel:
    return otherwise(lambda queries: torch.tensor(queries.shape[2] > most))


def test_the_probe_finds_the_cut() -> None:
    assert found(attend).invariant
    assert found(attend).queries == 0
    assert found(more_than(1000)).queries == 128  # of 1,024 at most
    assert found(more_than(128)).queries == 128
    assert found(more_than(127)).queries == 32  # pieces of 128 are more
    assert found(more_than(63)).queries == 32
    assert found(more_than(32)).queries == 32
    assert found(more_than(31)) == PLAIN


def test_the_probe_finds_a_difference_that_few_queries_show() -> None:
    """One in fifteen, and only in passes of one position."""
    rare = otherwise(lambda queries: (queries[..., 0] > 1.5) & (queries.shape[2] > 2))
    shape = found(rare)
    assert not shape.invariant or shape.positions > 1
    assert found(otherwise(lambda queries: (queries[..., 0] > 1.5) & (queries.shape[2] > 63))).queries == 32


def test_the_last_piece_has_any_size() -> None:
    """The probe tries all of them: here one of 26 rows is summed another way, which no other probe knows."""
    shape = PassShape(rows=1, most=256, slots=512, queries=32)
    honest = attention_is_invariant(shape, SIZES, torch.float64, CPU, attend)
    kernel = otherwise(lambda queries: torch.tensor(queries.shape[2] == 26))
    assert not attention_is_invariant(shape, SIZES, torch.float64, CPU, kernel)
    if honest:
        with_pairs = replace(shape, positions=2)  # whose pieces have a multiple of four rows
        assert attention_is_invariant(with_pairs, SIZES, torch.float64, CPU, kernel)


@pytest.mark.parametrize("most", [1, 32, 64, 200])
def test_pieces_are_the_whole(most: int) -> None:
    """Every row's own part of queries and mask."""
    sizes: list[int] = []

    def counted(queries: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(queries.shape[2])
        return attend(queries, *others)

    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(3, 2, n, 12, generator=generator).double() for n in (150, 512))
    mask = torch.randn(3, 1, 150, 512, generator=generator).double()
    wanted = attend(queries, keys, keys, mask)
    for one, other in zip(in_pieces(counted, queries, keys, keys, mask, most), wanted, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)
    assert sum(sizes) == 150
    assert max(sizes) <= most
    assert len(sizes) == -(-150 // most)


def cut(network: CosmosTransformer, most: int) -> None:
    for part in network.modules():
        if isinstance(part, GroupedQueryAttention):
            part.most_queries = most


def window_of(model: CosmosModel, before: int, n: int) -> Tensor:
    tokens = torch.arange(before + n)[None] * 7 % model.vocab_size
    cache = model.make_cache(1, before + n)
    list(model.prefill(tokens[:, :before], cache, 1))
    positions = torch.arange(before, before + n)[None]
    visible = torch.arange(before + n) <= positions[..., None]
    return model.forward(tokens[:, before:], positions, positions, visible, cache)


@pytest.mark.parametrize("text", [False, True])
def test_a_pass_in_pieces(text: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the logits of one that is not cut, to the bit where the kernel allows it; that of a text is cut too."""
    monkeypatch.setattr(CosmosTransformer, "settle", lambda self, device, beside=(): self.shape)
    grid = (4, 8, 8)
    model = CosmosModel(tiny_network(replace(TINY_TEXT if text else TINY, video_latent_shape=grid)))
    if text:
        model = model.with_context(torch.randn(1, 7, 20, generator=torch.Generator().manual_seed(0)))
    model.network.shape = PassShape(rows=8, most=0, positions=8, slots=512)
    real, calls = F.scaled_dot_product_attention, []

    def counted(queries: Tensor, *given: Any, **named: Any) -> Tensor:
        calls.append(queries.shape[2])
        return real(queries, *given, **named)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    wanted = window_of(model, 120, 64)
    whole = len(calls)
    cut(model.network, 32)
    pieces = window_of(model, 120, 64)
    torch.testing.assert_close(pieces, wanted)
    known = PassShape(rows=8, most=256, positions=8, slots=512)
    sizes = Sizes((), kv_heads=2, group=2, head_size=12)
    if all(
        attention_is_invariant(replace(known, queries=most), sizes, torch.float32, CPU, attend)
        for most in (0, 32)
    ):
        assert torch.equal(pieces, wanted)
    if text:
        assert whole
        assert max(calls[whole:]) <= 32 < max(calls[:whole])


def test_the_shape_reaches_the_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the inputs and of a text, and it is taken back where no cut is needed."""
    shapes = iter([PassShape(most=32, queries=32, invariant=True), PLAIN])
    monkeypatch.setattr("cosmos_adapter.transformer.network.pass_shape", lambda *given: next(shapes))
    network = tiny_network(TINY_TEXT)
    for wanted in (32, 0):
        assert network.settle(CPU).queries == wanted
        parts = [part for part in network.modules() if isinstance(part, GroupedQueryAttention)]
        assert len(parts) > len(network.layers)
        assert {part.most_queries for part in parts} == {wanted}


def test_the_cut_is_told() -> None:
    words = str(PassShape(most=32, slots=512, queries=32, invariant=True))
    assert words.endswith(", attention in pieces of at most 32 query rows")
    assert "attention" not in str(PassShape(most=32, slots=512, invariant=True))


def test_micro_in_bfloat16() -> None:
    """Its heads of 48 numbers need the cut with AMX: a position of a window has the logits of a pass of its own."""
    model: Any = vidjacobi.load("micro", "cpu", "bfloat16")[0]
    if not model.bitwise:
        pytest.skip(f"micro in bfloat16: {model.padding}")
    wanted = window_of(model, 300, 1)
    for n in (2, 16, 33, 64, 200):
        assert torch.equal(window_of(model, 300, n)[:, :1], wanted)
