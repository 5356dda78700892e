"""A position has the same bits in any pass: probes, activations, tokens, and what happens where no padding helps."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_cosmos import TINY, TINY_SPECS, tiny_network
from torch import Tensor

import vidjacobi
from cosmos_adapter.transformer.attention import GroupedQueryAttention
from cosmos_adapter.transformer.linear import silu
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from vidjacobi import Guided, invariance
from vidjacobi.bench.material import contexts_of
from vidjacobi.decoding.recipe import BITWISE, ROUNDED
from vidjacobi.invariance import PLAIN, PassShape, Sizes, pass_shape
from vidjacobi.models.protocol import ExactModel, flatten
from vidjacobi.runtime import SMALL, attend

CPU = torch.device("cpu")
HERE = 900  # a position, and the slots in front of it
PROBED = ("attention_norm", "attention", "ffn_norm", "feed_forward")


class Unpadded(CosmosTransformer):
    """The control: passes of whatever size comes."""

    def settle(self, device: torch.device) -> PassShape:
        return PLAIN


def nano(dtype: str, network: type[CosmosTransformer] = CosmosTransformer) -> CosmosModel:
    """A network of its own, so that hooks and classes of one test are not seen by another."""
    model: Any = vidjacobi.load("nano", "cpu", dtype)[0]
    model.network.__class__ = network
    return model


@pytest.fixture(params=["float32", "bfloat16"])
def exact(request: pytest.FixtureRequest) -> CosmosModel:
    model = nano(request.param)
    if not model.bitwise:
        pytest.skip(f"no padding makes {request.param} passes width-invariant on this processor")
    return model


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


class Activations:
    """What a position's layers compute in a pass, by the layer's name."""

    def __init__(self, model: CosmosModel) -> None:
        self.model, self.seen = model, {}
        for name, module in model.network.named_modules():
            if name.split(".")[-1] in (*PROBED, "wo", "output"):
                module.register_forward_hook(self._hook(name))
            if isinstance(module, GroupedQueryAttention):
                module.projected = self._projected(name, module.projected)  # type: ignore[method-assign]
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(0, model.vocab_size, (1, 1600), generator=generator)

    def _hook(self, name: str) -> Callable[..., None]:
        def keep(module: Any, inputs: Any, output: Tensor) -> None:
            self.seen[name] = output

        return keep

    def _projected(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def keep(x: Tensor) -> Any:
            both, values = real(x)
            self.seen |= {f"{name}.both": both.clone(), f"{name}.values": values.clone()}
            return both, values

        return keep

    def cache(self, written: int | None = None) -> Any:
        """A cache with HERE slots, the last 96 written by passes of ``written`` inputs (None: by the prefill)."""
        cache, first = self.model.make_cache(1, 1728), HERE - (96 if written else 0)
        list(self.model.prefill(self.tokens[:, :first], cache, 1))
        for begin in range(first, HERE, written or HERE):
            self.window(written or 0, cache, begin)
        return cache

    def window(
        self, n: int, cache: Any, begin: int = HERE, read: int | None = None, slot: int | None = None
    ) -> dict[str, Tensor]:
        """Of the first of ``n`` inputs from ``begin`` on; its entry may be written at another ``slot``."""
        positions = torch.arange(begin, begin + n)[None]
        slots, length = positions.clone(), read or -(-(begin + n) // 64) * 64
        visible = torch.arange(length) <= positions[..., None]
        if slot is not None:
            slots[:, 0], visible[:, 0, begin], visible[:, 0, slot] = slot, False, True
        self.model.forward(self.tokens[:, begin : begin + n], positions, slots, visible, cache)
        return {name: output[0, 0].clone() for name, output in self.seen.items()}


CASES: tuple[tuple[str, dict[str, Any], int | None], ...] = (
    *((f"{n} inputs", {"n": n}, None) for n in (2, 3, 17, 64, 128)),
    *((f"{read} slots read", {"n": 16, "read": read}, None) for read in (960, 1088, 1600)),
    *((f"own entry {far} slots on", {"n": 1, "read": 1024, "slot": HERE + far}, None) for far in (1, 60)),
    *((f"prefix by passes of {n}", {"n": 1}, n) for n in (1, 32, 96)),
)

FAST = ("64 inputs", "prefix by passes of 96")


@pytest.mark.parametrize(
    ("how", "written"),
    [
        pytest.param(how, written, id=name, marks=() if name in FAST else pytest.mark.slow)
        for name, how, written in CASES
    ],
)
def test_activations_do_not_depend_on_the_pass(
    how: dict[str, Any], written: int | None, exact: CosmosModel
) -> None:
    watched = Activations(exact)
    wanted = watched.window(1, watched.cache())
    found = watched.window(cache=watched.cache(written), **how)
    assert len(found) == 7 * exact.spec.n_layers + 1
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []


def test_without_padding_they_do() -> None:
    if nano("float32").network.settle(CPU).rows == 1:
        pytest.skip("products of this processor need no padding")
    watched = Activations(nano("float32", Unpadded))
    wanted = watched.window(1, watched.cache())
    found = watched.window(64, watched.cache())
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] != []


@pytest.mark.parametrize("name", TINY_SPECS)
def test_batches_and_texts(name: str) -> None:
    """Any row of a batch, beside clips of other lengths, and with a text."""
    spec = TINY_SPECS[name]
    model = CosmosModel(tiny_network(spec))
    if spec.insert_cross_attn:
        model = model.with_context(
            torch.randn(1, 7, spec.context_dim, generator=torch.Generator().manual_seed(0))
        )
    contexts = [torch.arange(length) * 7 % 96 for length in (5, 13, 8)]
    contexts = [torch.cat([torch.tensor(model.prefix_tokens, dtype=torch.long), one]) for one in contexts]
    together = vidjacobi.decode(model, contexts, 20, "pathwise", 8)
    assert together.stats.guarantee == (BITWISE if model.bitwise else ROUNDED)
    for row, context in enumerate(contexts):
        alone = vidjacobi.decode(model, context[None], 20, "ar", clip_ids=None)
        same = vidjacobi.decode(model, context[None], 20, "pathwise", 8)
        assert torch.equal(together.tokens[row], same.tokens[0])
        assert torch.equal(alone.tokens, same.tokens)


@pytest.mark.slow
def test_ar_does_not_depend_on_how_many_tokens_are_asked_for(exact: CosmosModel) -> None:
    context = torch.arange(630)[None] * 7 % exact.vocab_size
    few, more = (vidjacobi.decode(exact, context, count, "ar").tokens for count in (12, 20))
    assert torch.equal(few, more[:, :12])


# The probe


SIZES = Sizes(((48, 96), (80, 48)), kv_heads=2, group=2, head_size=12)


def test_the_probe_knows_what_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that sum another way for 5 rows, or for more than 640 slots, or always."""
    real = torch.mm

    def by_rows(x: Tensor, y: Tensor) -> Tensor:
        return real(x.flip(1), y.flip(0)) if len(x) % 8 else real(x, y)

    def by_slots(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        order = slice(None) if keys.shape[2] % 512 else torch.arange(keys.shape[2]).flip(0)
        return attend(queries, keys[:, :, order], values[:, :, order], mask[..., order])

    def never(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        mixed, norm = attend(queries, keys, values, mask)
        return mixed + queries.shape[2] * 1e-6, norm

    honest = pass_shape(SIZES, torch.float32, CPU, 1, attend)
    assert honest.invariant
    assert pass_shape(SIZES, torch.float32, CPU, 1, never) == PLAIN
    assert pass_shape(SIZES, torch.float32, CPU, 1, by_slots).slots == 512
    monkeypatch.setattr(torch, "mm", by_rows)
    pass_shape.cache_clear()
    assert pass_shape(SIZES, torch.float32, CPU, 1, attend).rows % 8 == 0
    # as with AMX: one way for few rows, another for more (and where the border is that of the pieces themselves)
    monkeypatch.setattr(torch, "mm", lambda x, y: real(x, y) + (len(x) > 32) * 1e-6)
    pass_shape.cache_clear()
    assert pass_shape(SIZES, torch.float32, CPU, 1, attend).most <= 32
    monkeypatch.setattr(torch, "mm", lambda x, y: real(x, y) + (len(x) >= 32) * 1e-6)
    pass_shape.cache_clear()
    assert pass_shape(SIZES, torch.float32, CPU, 1, attend).most != 32
    monkeypatch.setattr(torch, "mm", lambda x, y: real(x, y) + len(x) % 7 * 1e-6)
    pass_shape.cache_clear()
    # only one size of product is left
    assert pass_shape(SIZES, torch.float32, CPU, 1, attend).most in (16, 64, 128)
    pass_shape.cache_clear()


def test_only_products_that_need_it_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with AMX, where one of nano's five sizes has a border at 32 rows."""
    real = torch.mm
    monkeypatch.setattr(
        torch, "mm", lambda x, y: real(x, y) + (len(x) > 32 and x.shape[1] == SIZES.products[1][0]) * 1e-6
    )
    pass_shape.cache_clear()
    shape = pass_shape(SIZES, torch.float32, CPU, 1, attend)
    pass_shape.cache_clear()
    assert shape.most <= 32
    assert shape.wide == SIZES.products[:1]
    assert [shape.most_of(*size) for size in SIZES.products] == [invariance.MANY, shape.most]
    assert f"at most {shape.most} in a product (256 in 1 of the sizes)" in str(shape)


def test_each_product_has_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are computed as one have that of their joint size."""
    joint = TINY.dim, 2 * TINY.ffn_hidden_size
    found = PassShape(most=32, wide=(joint, (TINY.dim, TINY.vocab_size)), invariant=True)
    monkeypatch.setattr("cosmos_adapter.transformer.network.pass_shape", lambda *given: found)
    network = tiny_network(TINY)
    network.settle(CPU)
    layer: Any = network.layers[0]
    assert layer.feed_forward.joined.most_rows == 256
    assert layer.feed_forward.w1.most_rows == layer.feed_forward.w2.most_rows == 32
    assert network.output.most_rows == 256  # nothing of it is cut in a pass of 200 rows
    calls: list[int] = []
    real = torch.mm
    monkeypatch.setattr(torch, "mm", lambda x, y: calls.append(len(x)) or real(x, y))
    with torch.no_grad():
        layer.feed_forward(torch.zeros(1, 200, TINY.dim))
    assert calls == [200, *6 * [32], 8]


def test_what_auto_asks_is_what_nano_asks() -> None:
    """So that a rollout of nano probes once."""
    network = vidjacobi.load("nano", "cpu", "float32")[0].network
    pass_shape(SMALL, torch.float32, CPU, torch.get_num_threads(), attend)
    before = pass_shape.cache_info().misses
    network.settle(CPU)
    assert pass_shape.cache_info().misses == before


def test_padding() -> None:
    shape = PassShape(rows=4, positions=2, slots=512)
    assert [shape.padding(clips, n) for clips, n in ((1, 1), (2, 1), (3, 3), (4, 5), (8, 64))] == [
        3,
        1,
        1,
        1,
        0,
    ]
    assert [shape.length(slots) for slots in (1, 512, 513)] == [512, 512, 1024]
    assert (PLAIN.padding(3, 5), PLAIN.length(64)) == (0, 64)


def test_silu(monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None]) -> None:
    """By PyTorch's kernel where the probe finds no tail, else in operations of its own."""
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(silu(x, False), silu(x, True))
    threads(1)
    assert not invariance.silu_is_invariant(701, torch.float32, CPU)  # a prime: every row has a tail
    monkeypatch.setattr(invariance.F, "silu", lambda wide: wide + len(wide) * 1e-7)
    assert not invariance.silu_is_invariant(704, torch.float32, CPU)


def test_a_product_in_pieces() -> None:
    x, weight = torch.randn(3, 32, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    torch.testing.assert_close(invariance.product(x, weight, 16), x @ weight.T)


# What is promised


def test_the_guarantee_says_what_the_probe_found() -> None:
    context = torch.arange(13)[None]
    network = tiny_network(TINY)
    model = CosmosModel(network)
    assert isinstance(model, ExactModel)
    promised = vidjacobi.decode(model, context, 5, "pathwise", 8).stats.guarantee
    assert promised == (BITWISE if model.bitwise else ROUNDED)
    guided = Guided(model, model, 2.0)
    assert vidjacobi.decode(guided, context, 5, "ar").stats.guarantee == promised
    network.__class__ = Unpadded
    for one in (model, guided):
        assert vidjacobi.decode(one, context, 5, "pathwise", 8).stats.guarantee == ROUNDED
    assert vidjacobi.decode(model, context, 5, "gs_sjd", 8).stats.guarantee == "lossless"


# Tokens of whole rollouts: short ones hide what is wrong


def decoded(
    model: CosmosModel, contexts: list[Tensor], decoder: str, window: int, seed: int = 0
) -> list[Tensor]:
    sampling = replace(vidjacobi.SamplingParams(), seed=seed)
    count = 3 * model.spec.grid.frame_tokens
    ids = [str(index) for index in range(len(contexts))]
    found = vidjacobi.decode(model, contexts, count, decoder, window, sampling, clip_ids=ids)
    return list(found.tokens)


@pytest.mark.slow
def test_whole_rollouts(exact: CosmosModel, threads: Callable[[int], None]) -> None:
    """Two ragged clips in a batch, against AR one by one in one thread; ``scripts/near_ties.py`` decodes more."""
    whole = flatten(exact, contexts_of("nano", vidjacobi.load("nano", "cpu", "float32"))[:2])
    contexts = [whole[0], whole[1, :597]]
    threads(1)
    wanted = [
        vidjacobi.decode(exact, context[None], 960, "ar", clip_ids=[str(index)]).tokens[0]
        for index, context in enumerate(contexts)
    ]
    for window, many in ((16, 1), (128, 2)):
        threads(many)
        for one, other in zip(decoded(exact, contexts, "pathwise", window), wanted, strict=True):
            assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["fast", "gs_sjd"])
def test_other_decoders_do_not_depend_on_batch_mates(decoder: str, exact: CosmosModel) -> None:
    """Same seed, same tokens, in every dtype, though they are not AR's."""
    whole = flatten(exact, contexts_of("nano", vidjacobi.load("nano", "cpu", "float32"))[:3])
    contexts, ids = [whole[0], whole[1, :597], whole[2, :400]], ["0", "1", "2"]
    together = vidjacobi.decode(exact, contexts, 320, decoder, 32, clip_ids=ids).tokens
    for row, context in enumerate(contexts):
        alone = vidjacobi.decode(exact, context[None], 320, decoder, 32, clip_ids=ids[row : row + 1]).tokens
        assert torch.equal(together[row], alone[0])


@pytest.mark.slow
def test_without_padding_tokens_differ() -> None:
    model = nano("bfloat16", Unpadded)
    context = flatten(model, contexts_of("nano", vidjacobi.load("nano", "cpu", "float32"))[:1])
    tokens = [vidjacobi.decode(model, context, 960, *how).tokens for how in (("ar", 1), ("pathwise", 64))]
    assert not torch.equal(*tokens)
