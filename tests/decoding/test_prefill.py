"""The context's probs are computed only where the draft rule wants them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import vidjacobi
from cosmos_adapter.transformer.model import CosmosModel


class Watched(CosmosModel):
    """Notes how many rows of logits a prefill is asked for, and how many it gives."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[int] = []
        self.made: list[int] = []

    def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
        self.asked.append(keep)
        for chunk in super().prefill(tokens, cache, keep):
            self.made.append(chunk.shape[1])
            yield chunk


@pytest.mark.parametrize(
    ("decoder", "wanted"),
    [("ar", 1), ("gs_sjd", 1), ("jacobi", 1), ("pathwise", "frame"), ("fast", "frame")],
)
def test_probs_of_the_context(decoder: str, wanted: Any, tiny_pair: Any) -> None:
    loaded, _ = vidjacobi.load(tiny_pair, "cpu", "float32")
    assert isinstance(loaded, CosmosModel)
    model, heads = Watched(loaded.network), []
    model.network.output.register_forward_hook(lambda layer, inputs, logits: heads.append(logits.shape[1]))
    frame = model.grid_for(1).frame_tokens
    vidjacobi.decode(model, torch.arange(2 * frame)[None] % 64, 1, decoder)
    keep = frame if wanted == "frame" else wanted
    assert model.asked == [keep]
    padded = keep + model.network.shape.padding(1, keep)  # rows of the last product
    assert sum(model.made) == keep
    assert sum(heads) == padded < 2 * frame
