"""Attention heeds the prefix that is in use and nothing after it, in place and without repeating heads."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_cosmos import TINY, TINY_SPECS, tiny_network
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vidjacobi
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.decoding.recipe import BUCKET

LONG = replace(TINY, video_latent_shape=(5, 6, 8))  # 240 positions: four buckets


class Poisoned(CosmosModel):
    """During a pass every slot after those that it may read is far from zero, until the pass writes there."""

    hidden = 0  # most slots that were

    def forward(
        self, tokens: Tensor, positions: Tensor, slots: Tensor, visible: Tensor, cache: Any
    ) -> Tensor:
        length = visible.shape[-1]
        tails = [part[:, :, length:] for layer in cache for part in layer]
        before = [tail.clone() for tail in tails]
        for tail in tails:
            tail.fill_(1e6)
        logits = super().forward(tokens, positions, slots, visible, cache)
        for tail, was in zip(tails, before, strict=True):
            tail.copy_(was)
        self.hidden = max(self.hidden, tails[0].shape[2])
        return logits


@pytest.mark.unchecked
@pytest.mark.parametrize("decoder", ["pathwise", "fast", "temporal", "ar"])
def test_nothing_after_the_prefix_counts(decoder: str) -> None:
    """Whole blocks of slots are read, those after the prefix with a weight of exactly zero."""
    context = torch.randint(0, 96, (2, 60), generator=torch.Generator().manual_seed(0))
    network = tiny_network(LONG, torch.float64)
    poisoned = Poisoned(network)
    found, expected = (
        vidjacobi.decode(model, context, 120, decoder, 1 if decoder == "ar" else 16)
        for model in (poisoned, CosmosModel(network))
    )
    assert torch.equal(found.tokens, expected.tokens)
    assert found.stats.nfe == expected.stats.nfe
    if decoder != "ar":
        assert poisoned.hidden >= BUCKET


class Copies(TorchDispatchMode):
    """Counts the numbers in the largest tensor that a pass makes, and in all of them together."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.made = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        storages = {
            x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)
        }
        for result in tree_leaves(results):
            if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in storages:
                self.largest, self.made = max(self.largest, result.numel()), self.made + result.numel()
        return results


@pytest.mark.parametrize("name", TINY_SPECS)
def test_keys_and_values_are_read_in_place(name: str) -> None:
    """Only the mask grows with the prefix: keys and values are copied neither once nor for each head."""
    spec: ModelSpec = TINY_SPECS[name]
    model = CosmosModel(tiny_network(spec))
    if spec.insert_cross_attn:
        model = model.with_context(torch.randn(1, 5, spec.context_dim))
    cache = model.make_cache(1, 4096)
    positions = torch.tensor([[3]])

    def made(length: int) -> int:
        visible = torch.arange(length) <= positions[..., None]
        with torch.inference_mode(), Copies() as copies:
            model.forward(positions % spec.vocab_size, positions, positions, visible, cache)
        return copies.made

    made(64)  # the first pass also makes the position tables
    # the mask of all rows that a pass is padded to, and its rows for each query head of a group
    masks = (1 + model.network.shape.padding(1, 1)) * (spec.query_group + 1) * 4096
    heads = spec.n_kv_heads * spec.head_size * (4096 - 64)  # one copy of the keys of one layer
    assert 0 < made(4096) - made(64) <= masks < heads
