"""Layers that are recorded as TorchScript say what ``Layer.forward`` says, bit for bit, and nothing else ever."""

import gc
import operator
import pickle
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_cosmos import TINY, tiny_network
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cosmos_adapter.transformer import traced
from cosmos_adapter.transformer.linear import FeedForward, Linear
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer, Layer
from cosmos_adapter.transformer.spec import ModelSpec

WIDTHS = (1, 1, 5, 16, 5, 33, 64, 1, 16, 70)  # some twice: the second pass of a shape is the record's alone
ROOM = 80


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are recorded in the first pass, and no record is there before."""
    monkeypatch.setattr(traced, "SEEN", 0)
    monkeypatch.setattr(traced, "MADE", {})


def passes(
    network: CosmosTransformer, clips: int = 1, spec: ModelSpec = TINY, records: bool = True
) -> list[Tensor]:
    """Logits of windows one after the other, each over all before it."""
    model = CosmosModel(network)
    cache = model.make_cache(clips, 700)
    if not records:
        network._records = None
    found, begin = [], 0
    with torch.inference_mode():
        for width in WIDTHS:
            begin = begin if begin + width < ROOM else 0
            places = torch.arange(begin, begin + width).expand(clips, -1)
            tokens = (places * 5 + torch.arange(clips)[:, None]) % spec.vocab_size
            visible = torch.arange(600 if width == 16 else 128) <= places.unsqueeze(-1)
            positions = places % spec.positions
            found.append(model.forward(tokens, positions, places, visible, cache))
            begin += width
    return found


def records_of(network: CosmosTransformer) -> list[Any]:
    """The different ones for each shape of a pass."""
    assert network._records
    seal = network._records._seal
    return [record for records in seal.records.values() for record in set(records)] if seal else []


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_records_have_the_bits_of_forward(dtype: torch.dtype, clips: int) -> None:
    network = tiny_network(TINY).to(dtype)
    plain = passes(deepcopy(network), clips, records=False)
    assert same(passes(network, clips), plain)
    made = records_of(network)
    assert len(made) == len({(width, width == 16) for width in WIDTHS})
    assert all(made), "a shape without a record"
    assert same(passes(network, clips), plain)


def test_packed_weights_in_pieces_have_a_record_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of products so wide that oneDNN packs their weights, where the processor has it, and of passes that are cut."""
    spec = replace(TINY, dim=128, n_heads=4, n_kv_heads=2, ffn_hidden_size=384)
    network = tiny_network(spec).to(torch.bfloat16)
    CosmosModel(network).make_cache(1, 8)
    for layer in network._typed_layers():
        assert layer.attention.joined
        layer.attention.joined.most_rows, layer.attention.most_queries = 16, 32
    monkeypatch.setattr(network, "settle", lambda *_: network.shape)
    found = passes(network, spec=spec)
    assert len({pieces for *_, pieces in traced.MADE}) > 2
    assert all(records_of(network))
    assert same(found, passes(network, spec=spec, records=False))


def doubled(weight: nn.Parameter) -> None:
    weight.data.mul_(2)


def replaced(weight: nn.Parameter) -> None:
    weight.data = weight.data.clone() * 2


@pytest.mark.parametrize("change", [doubled, replaced])
@pytest.mark.parametrize(
    "name", ["attention.wk", "attention.wo", "attention.q_norm", "feed_forward.w2", "ffn_norm"]
)
def test_a_weight_that_is_written_later_holds(name: str, change: Callable[[nn.Parameter], None]) -> None:
    network = tiny_network(TINY)
    before = passes(network)
    change(network.layers[1].get_submodule(name).weight)
    fresh = deepcopy(network)
    after = passes(network)
    assert not same(before, after)
    assert same(after, passes(fresh, records=False))


class Louder(nn.Module):
    """A projection that somebody wrapped, as an adapter of a fine-tuning does."""

    def __init__(self, inside: Any) -> None:
        super().__init__()
        self.inside, self.weight, self.most_rows = inside, inside.weight, 0

    @property
    def factor(self) -> Any:
        return self.inside.factor

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.inside(x)


class Bent(Linear):
    def __init__(self, inside: Any) -> None:
        super().__init__(inside.in_features, inside.out_features)
        self.weight, self.bend = inside.weight, torch.linspace(0.1, 2, inside.out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.bend * super().forward(x)


def wrapped(layer: Any) -> None:
    layer.attention._modules["wo"] = Louder(layer.attention.wo)


def hooked(layer: Any) -> None:
    layer.ffn_norm.register_forward_hook(lambda module, inputs, output: 2 * output)


def hooked_before(layer: Any) -> None:
    layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0], *inputs[1:]))


def overridden(layer: Any) -> None:
    forward = layer.feed_forward.forward
    layer.feed_forward.forward = lambda x: 2 * forward(x)


def replaced_projection(layer: Any) -> None:
    """As of an adapter of a fine-tuning that shares the weight: what is computed as one does without it."""
    layer.attention.wk = Bent(layer.attention.wk)


def hooked_projection(layer: Any) -> None:
    layer.feed_forward.w3.register_forward_hook(lambda module, inputs, output: 2 * output)


def parametrised(layer: Any) -> None:
    nn.utils.parametrizations.weight_norm(layer.attention.wv)
    layer.attention.wv.parametrizations.weight.original0.data.mul_(2)


def of_another_class(layer: Any) -> None:
    class Halved(type(layer)):  # type: ignore[misc]
        def forward(self, *given: Any) -> Tensor:
            found: Tensor = super().forward(*given)
            return found / self.divisor

    layer.__class__, layer.divisor = Halved, 2


def other_eps(layer: Any) -> None:
    layer.ffn_norm.eps = 0.5


def eps_of_both(layer: Any) -> None:
    layer.attention.q_norm.eps = layer.attention.k_norm.eps = 0.5


def eps_of_keys(layer: Any) -> None:
    layer.attention.k_norm.eps = 0.5


def hooked_queries(layer: Any) -> None:
    layer.attention.q_norm.register_forward_hook(lambda module, inputs, output: 2 * output)


@pytest.mark.parametrize(
    "change",
    [
        *(wrapped, hooked, hooked_before, overridden),
        *(replaced_projection, hooked_projection, parametrised, of_another_class),
        *(other_eps, eps_of_both, eps_of_keys, hooked_queries),
    ],
)
def test_a_layer_that_is_not_as_it_was_built_runs_itself(change: Callable[[Any], None]) -> None:
    network = tiny_network(TINY)
    before = passes(network)
    change(network.layers[1])
    after = passes(network)
    assert not same(before, after)
    assert same(after, passes(network, records=False))
    for layer in network._typed_layers():  # and without products that are computed as one
        layer.attention.settle = layer.feed_forward.settle = lambda *_: None  # type: ignore[method-assign]
        layer.attention.joined = layer.feed_forward.joined = None
    for one, other in zip(after, passes(network, records=False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def other_weight(layer: Any) -> None:
    layer.ffn_norm._parameters["weight"] = nn.Parameter(2 * layer.ffn_norm.weight.data)


def elsewhere(layer: Any) -> None:
    layer.attention.wv.weight.data = layer.attention.wv.weight.data.clone()


def other_limits(layer: Any) -> None:
    layer.attention.joined.most_rows = 32


def other_queries(layer: Any) -> None:
    layer.attention.most_queries = 32


def other_silu(layer: Any) -> None:
    layer.feed_forward.plain_silu = not layer.feed_forward.plain_silu


def unpacked(layer: Any) -> None:
    layer.attention.wo.packed = None


def written(layer: Any) -> None:
    with torch.no_grad():
        layer.feed_forward.w2.weight.mul_(2)


CHANGES = [
    *(wrapped, hooked, hooked_before, overridden, replaced_projection, hooked_projection, parametrised),
    *(of_another_class, other_eps, eps_of_both, eps_of_keys, hooked_queries, other_weight, elsewhere),
    *(other_limits, other_queries, other_silu, unpacked, written),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_seal_breaks_where_a_layer_is_given_something_else(change: Callable[[Any], None]) -> None:
    spec = replace(TINY, dim=128, n_heads=4, n_kv_heads=2, ffn_hidden_size=384)
    network = tiny_network(spec).to(torch.bfloat16)
    CosmosModel(network).make_cache(1, 8)
    layers = network._typed_layers()
    with torch.inference_mode():
        seal = traced.Seal(layers, Layer)
        assert seal.holds(layers)
        assert all(seal.given)
        assert not seal.holds(layers[:1])
    change(layers[1])
    with torch.inference_mode():
        now = traced.given_to(layers[1]) if type(layers[1]) is Layer else None
        before = seal.given[1]
        differs = now is None or now[1:] != before[1:] or any(map(operator.is_not, now[0], before[0]))
        assert differs or change in (written, unpacked)  # which matter where weights are packed
        assert not (differs and seal.holds(layers))


def test_a_hook_breaks_a_seal_once_and_its_removal_too() -> None:
    network = tiny_network(TINY)
    CosmosModel(network).make_cache(1, 8)
    layers = network._typed_layers()
    with torch.inference_mode():
        before = traced.Seal(layers, Layer)
        handle = layers[1].ffn_norm.register_forward_hook(lambda module, inputs, output: 2 * output)
        assert not before.holds(layers)
        hooked = traced.Seal(layers, Layer)
        assert hooked.given[1] is None
        assert hooked.given[0]
        assert hooked.holds(layers), "asked anew in every pass"
        handle.remove()
        assert not hooked.holds(layers)
        layers[0].ffn_norm._forward_hooks = {0: lambda module, inputs, output: 2 * output}
        assert not before.holds(layers), "a dictionary of hooks that was replaced"


def test_records_have_no_leftovers_of_tracing() -> None:
    """Sizes that become tensors and numbers again; and no size of the first pass."""
    network = tiny_network(TINY)
    passes(network)
    for record in records_of(network):
        graph = str(record.graph)
        assert "aten::mm" in graph
        assert "NumToTensor" not in graph
        assert "aten::size" in graph


class Doubling(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, given: Any = (), options: Any = None) -> Any:
        found = function(*given, **(options or {}))
        return found.mul_(2) if function is Tensor.rsqrt_ else found


@contextmanager
def hooks_of_all() -> Iterator[None]:
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: 2 * output if isinstance(module, FeedForward) else None
    )
    yield
    handle.remove()


@contextmanager
def another_forward() -> Iterator[None]:
    forward = FeedForward.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeedForward, "forward", lambda self, x: 2 * forward(self, x))
        yield


@pytest.mark.parametrize("around", [Doubling, hooks_of_all, another_forward])
def test_what_is_put_around_all_layers_holds(around: Callable[[], Any]) -> None:
    network = tiny_network(TINY)
    before = passes(network)
    with around():
        after, plain = passes(network), passes(deepcopy(network), records=False)
    assert not same(before, after)
    assert same(after, plain)


def test_networks_of_one_kind_share_records_and_are_not_kept_by_them() -> None:
    """TorchScript keeps every function for as long as the process lives: 2 MB of each network."""
    first = tiny_network(TINY)
    passes(first)
    made, gone = len(traced.MADE), weakref.ref(first.layers[0])
    other = tiny_network(TINY, seed=1)
    assert same(passes(other), passes(deepcopy(other), records=False))
    assert len(traced.MADE) == made
    assert all(records_of(other))
    del first
    gc.collect()
    assert gone() is None


def test_a_record_with_other_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = traced.traced

    def wrong(*given: Any) -> Any:
        record = real(*given)
        return lambda *inputs: record(*inputs) * (1 + 1e-6)

    monkeypatch.setattr(traced, "traced", wrong)
    network = tiny_network(TINY)
    assert same(passes(network), passes(deepcopy(network), records=False))
    assert records_of(network)
    assert not any(records_of(network))


def test_without_torchscript_layers_run_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*given: Any, **options: Any) -> None:
        raise AttributeError("torch.jit.trace is no more")

    monkeypatch.setattr(torch.jit, "trace", gone)
    network = tiny_network(TINY)
    assert same(passes(network), passes(deepcopy(network), records=False))


def test_a_network_with_records_is_copied_pickled_trained_and_moved() -> None:
    network = tiny_network(TINY)
    before = passes(network)
    for other in (deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert same(passes(other), before)
    network.requires_grad_(True)
    loss = network(torch.arange(12)[None] % TINY.vocab_size).square().mean()
    loss.backward()
    assert all(p.grad is not None for p in network.layers.parameters())
    assert same(passes(network), before)
    wide = deepcopy(network).to(torch.float64)
    assert same(passes(network.to(torch.float64)), passes(wide, records=False))


def test_few_passes_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "SEEN", len(WIDTHS))
    network = tiny_network(TINY)
    passes(network)
    assert not records_of(network)


def test_shapes_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "SHAPES", 2)
    network = tiny_network(TINY)
    assert same(passes(network), passes(deepcopy(network), records=False))
    assert 0 < len(records_of(network)) <= 2
