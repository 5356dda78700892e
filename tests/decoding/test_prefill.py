"""The context's laws are computed only where the draft rule wants them."""

from typing import Any

import pytest
import torch

import vidjacobi


@pytest.mark.parametrize(
    ("decoder", "wanted"),
    [("ar", 1), ("gs_sjd", 1), ("jacobi", 1), ("pathwise", "frame"), ("fast", "frame")],
)
def test_laws_of_the_context(decoder: str, wanted: Any, tiny_pair: Any, monkeypatch: Any) -> None:
    model, _ = vidjacobi.load(tiny_pair, "cpu", "float32")
    frame, asked, made = model.grid_for(1).frame_tokens, [], []
    prefill, head = model.prefill, model.network.head

    def watched(tokens: Any, cache: Any, keep: int) -> Any:
        asked.append(keep)
        for chunk in prefill(tokens, cache, keep):
            made.append(chunk.shape[1])
            yield chunk

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        heads.append(hidden.shape[1])
        return head(hidden)

    heads: list[int] = []
    monkeypatch.setattr(model, "prefill", watched)
    monkeypatch.setattr(model.network, "head", counted)
    vidjacobi.decode(model, torch.arange(2 * frame)[None] % 64, 1, decoder)
    keep = frame if wanted == "frame" else wanted
    assert asked == [keep]
    assert sum(made) == sum(heads) == keep < 2 * frame
