"""Projections of the same input are one product on a CPU, and stay the parameters that they were."""

import pickle
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_cosmos import TINY, tiny_network
from torch import Tensor

from cosmos_adapter.transformer import linear
from cosmos_adapter.transformer.linear import Linear, Packed, SideBySide, side_by_side
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import ModelSpec

CPU = torch.device("cpu")


# products of fewer numbers are not oneDNN's
WIDE = replace(TINY, dim=128, n_heads=4, n_kv_heads=2, ffn_hidden_size=384)


def settled(dtype: torch.dtype, spec: ModelSpec = TINY, seed: int = 0) -> CosmosTransformer:
    network = tiny_network(spec, seed=seed).to(dtype)
    network.settle(CPU)
    return network


def logits_of(network: CosmosTransformer) -> Tensor:
    """By a cache, whose passes use joined projections; ``CosmosModel.make_cache`` settles first."""
    network.settle(CPU)
    tokens = torch.arange(24)[None] * 5 % 96
    with torch.no_grad():
        return network.head(network.prefill(tokens, network.make_cache(1, 24)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_one_product_has_the_numbers_of_three(dtype: torch.dtype) -> None:
    parts = [Linear(16, outputs).to(dtype) for outputs in (24, 8, 8)]
    x = torch.randn(2, 5, 16).to(dtype)
    with torch.no_grad():
        wanted = [part(x) for part in parts]
        joined = side_by_side(parts, None)
        assert joined
        made = joined.product(x)
        assert made is not None
        for one, found in zip(wanted, made.split([24, 8, 8], -1), strict=True):
            torch.testing.assert_close(one, found)
    assert side_by_side(parts, joined) is joined
    # nothing is stored twice
    storages = {part.weight.untyped_storage().data_ptr() for part in parts}
    assert storages == {joined.whole.untyped_storage().data_ptr()}


def test_a_network_is_joined_and_says_the_same() -> None:
    network = settled(torch.float64)
    assert all(layer.attention.joined and layer.feed_forward.joined for layer in network._typed_layers())
    alone = tiny_network(TINY).double()
    found, wanted = logits_of(network), alone(torch.arange(24)[None] * 5 % 96)
    torch.testing.assert_close(found, wanted)


def test_weights_that_change_are_followed() -> None:
    """In place (an optimiser, a checkpoint) and by another tensor (a cast, a copy)."""
    network, other = settled(torch.float64), tiny_network(TINY, seed=5).double()
    wanted = other(torch.arange(24)[None] * 5 % 96)
    network.load_state_dict(other.state_dict())
    torch.testing.assert_close(logits_of(network), wanted)
    network = settled(torch.float64)
    copied = deepcopy(network)
    for name, parameter in copied.named_parameters():
        parameter.data = other.get_parameter(name).data.clone()
    assert copied._typed_layers()[0].attention.joined is None  # addresses of another network
    torch.testing.assert_close(logits_of(copied), wanted)
    layers: Any = copied._typed_layers()
    layers[0].attention.wk.weight.data = layers[0].attention.wk.weight.data.clone()
    with torch.no_grad():
        assert layers[0].attention.joined.product(torch.randn(1, 3, TINY.dim).double()) is None


def test_it_can_be_trained() -> None:
    network = settled(torch.float32)
    network(torch.arange(24)[None] % 96).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_projections_elsewhere_are_asked_one_by_one() -> None:
    with torch.device("meta"):
        parts = [Linear(16, 8), Linear(16, 8)]
    assert side_by_side(parts, None) is None
    joined = SideBySide([Linear(16, 8), Linear(16, 8)])
    assert joined.product(torch.randn(1, 2, 16)) is None  # gradients are wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_can_be_saved(dtype: torch.dtype, tmp_path: Path) -> None:
    """By ``save_pretrained``, which refuses tensors that share their memory."""
    from cosmos_adapter.transformer.hf import CosmosARForCausalLM

    network = settled(dtype)
    CosmosARForCausalLM.from_network(network).save_pretrained(tmp_path)
    found = CosmosARForCausalLM.from_pretrained(tmp_path).state_dict()
    own = network.state_dict()
    assert len(found) == len(own)
    for name, tensor in found.items():
        assert torch.equal(tensor, own[name.removeprefix("model.")]), name


def packed_parts(network: CosmosTransformer) -> list[Packed | None]:
    """Of its first layer, and of the head."""
    layer = network._typed_layers()[0]
    assert layer.attention.joined
    assert layer.feed_forward.joined
    owners = [layer.attention.joined, layer.feed_forward.joined, layer.attention.wo, network.output]
    return [owner.packed for owner in owners]


@pytest.fixture
def packing() -> None:
    """Skip where bfloat16 products are not packed."""
    if not all(packed_parts(settled(torch.bfloat16, WIDE))):
        pytest.skip("this processor's products of bfloat16 do not take packed weights, or round otherwise")


@pytest.mark.usefixtures("packing")
class TestPacked:
    def test_every_product_has_one_copy_and_the_same_bits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = settled(torch.bfloat16, WIDE)
        found = logits_of(network)
        assert network._typed_layers()[0].attention.wq.packed is None  # it is in the joined one
        assert all(
            part.packed is None for part in settled(torch.float32, WIDE).modules() if isinstance(part, Linear)
        )
        monkeypatch.setattr(linear, "PACKED_BYTES", 0)
        plain = settled(torch.bfloat16, WIDE)
        assert packed_parts(plain) == [None] * 4  # too large
        assert torch.equal(found, logits_of(plain))

    @pytest.mark.parametrize("how", ["in place", "data", "replaced", "loaded", "in another order"])
    def test_weights_that_change_are_followed(self, how: str) -> None:
        network, other = settled(torch.bfloat16, WIDE), settled(torch.bfloat16, WIDE, seed=5)
        wanted = logits_of(other)
        before = packed_parts(network)
        if how == "loaded":
            network.load_state_dict(other.state_dict())
        elif how == "in another order":
            for one, new in ((one, one.data.flip(0)) for one in network.parameters() if one.ndim == 2):
                one.data.copy_(new)
            wanted = logits_of(deepcopy(network))
            other = network
        for name, parameter in network.named_parameters():
            new = other.get_parameter(name).data
            if how == "in place":
                with torch.no_grad():
                    parameter.copy_(new)
            elif how == "data":
                parameter.data.copy_(new)
            elif how == "replaced":
                parameter.data = new.clone()
        assert torch.equal(logits_of(network), wanted)
        assert not set(before) & set(packed_parts(network))

    def test_within_a_pass_too(self) -> None:
        """Without a new cache, which is where weights are packed again."""
        network = settled(torch.bfloat16, WIDE)
        x = torch.randn(1, 3, WIDE.dim).bfloat16()
        with torch.no_grad():
            network.output.weight.mul_(2)
            wanted = x @ network.output.weight.t()
            assert torch.equal(network.output(x), wanted)

    def test_where_nobody_settles(self) -> None:
        """Passes of a training and of ``generate``: a fused optimiser leaves no trace but the numbers."""
        network, tokens = settled(torch.bfloat16, WIDE), torch.arange(24)[None]
        network(tokens).square().mean().backward()
        torch.optim.AdamW(network.parameters(), lr=0.1, fused=True).step()
        fresh = deepcopy(network)
        with torch.no_grad():
            assert torch.equal(network(tokens), fresh(tokens))
            logits_of(network)  # packs
            network.output.weight.data.neg_()
            fresh = deepcopy(network)
            wanted = fresh.head(fresh.hidden(tokens, tokens, None))
            assert torch.equal(network.head(network.hidden(tokens, tokens, None)), wanted)

    def test_weights_of_inference_mode(self) -> None:
        """Nobody counts how often they are written."""
        with torch.inference_mode():
            network = tiny_network(WIDE).bfloat16()
        before = logits_of(network)
        with torch.inference_mode():
            network.output.weight.neg_()
        assert torch.equal(logits_of(network), -before)

    def test_they_are_kept_where_nothing_changed(self) -> None:
        network = settled(torch.bfloat16, WIDE)
        before = packed_parts(network)
        network.settle(CPU)
        assert packed_parts(network) == before

    def test_a_copy_packs_its_own(self) -> None:
        network = settled(torch.bfloat16, WIDE)
        wanted = logits_of(network)
        copied = deepcopy(network)
        assert copied.output.packed is None
        assert torch.equal(logits_of(copied), wanted)
        assert copied.output.packed not in (None, network.output.packed)
        assert pickle.loads(pickle.dumps(network)).output.packed is None

    def test_gradients_pass_by(self) -> None:
        network = settled(torch.bfloat16, WIDE)
        network.output(torch.randn(1, 3, WIDE.dim).bfloat16()).sum().backward()
        assert network.output.weight.grad is not None
