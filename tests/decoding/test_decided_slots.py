"""Where only the probs of decided positions are remembered, drafts are what they were with those of all rows."""

from typing import Any

import pytest
import torch

import vidjacobi
from vidjacobi import SamplingParams
from vidjacobi.decoding import step
from vidjacobi.decoding.step import decided_slots

MODEL = vidjacobi.load("micro", "cpu", "float32")[0]
FRAME = MODEL.grid_for(1).frame_tokens


def decoded(decoder: str, window: int, clips: int) -> Any:
    context = torch.randint(0, MODEL.vocab_size, (clips, FRAME), generator=torch.Generator().manual_seed(2))
    sampling = SamplingParams(1.0, 0.8, seed=5)
    return vidjacobi.decode(MODEL, context, FRAME + 40, decoder, window, sampling=sampling)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "window", "clips", "fewer"),
    [
        *(("pathwise", 24, 2, True), ("fast", 24, 1, True), ("fast", 96, 2, True)),
        *(("pathwise", FRAME + 16, 1, False), ("temporal", 24, 1, False), ("adaptive", 24, 2, False)),
    ],
)
def test_drafts_are_those_of_all_rows(
    decoder: str, window: int, clips: int, fewer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def watched(*given: Any) -> Any:
        asked.append(decided_slots(*given))
        return asked[-1]

    monkeypatch.setattr(step, "decided_slots", watched)
    found = decoded(decoder, window, clips)
    assert all((one is not None) == fewer for one in asked)
    monkeypatch.setattr(step, "decided_slots", lambda *_: None)
    every = decoded(decoder, window, clips)
    assert torch.equal(found.tokens, every.tokens)
    assert found.stats.nfe == every.stats.nfe
    assert torch.equal(found.trace.redrafted, every.trace.redrafted)


@pytest.mark.slow
def test_the_probs_of_no_slot_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: where those of the decided positions are left out, drafts are others."""
    wanted = decoded("fast", 24, 1)

    def none(*given: Any) -> Any:
        found = decided_slots(*given)
        return None if found is None else torch.zeros_like(found)

    monkeypatch.setattr(step, "decided_slots", none)
    assert decoded("fast", 24, 1).stats.nfe != wanted.stats.nfe
