"""Cache entries of a real transformer under lanes and siblings: in float64 they are those of a causal prefill."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_cosmos import TINY, tiny_network
from torch import Tensor

from cosmos_adapter.transformer.model import CosmosModel
from vidjacobi import SamplingParams, decode
from vidjacobi.config.decoder import DecoderConfig, load_decoder
from vidjacobi.decoding import jacobi
from vidjacobi.decoding.api import choose_decoder, context_ids, noise_key_of
from vidjacobi.decoding.commit import StepInputs, Verdict, commit
from vidjacobi.decoding.recipe import Clips, Hooks, Recipe
from vidjacobi.decoding.state import DecodeState
from vidjacobi.decoding.step import StepFunctions
from vidjacobi.decoding.trace import PassRecord, finish
from vidjacobi.models.protocol import TreeModel

# A context of one frame of 12 tokens and one token more. The clip ends one token before the model's last position.
CONTEXT, NEW, VOCAB = 13, 22, 96
PATHWISE = replace(load_decoder("pathwise"), draft_tree=None, lanes=None)


class Keeping(CosmosModel):
    """A model that keeps the last cache it made, and counts the entries that were moved."""

    cache: Any = None
    moved = 0

    def make_cache(self, batch: int, slots: int) -> Any:
        self.cache = super().make_cache(batch, slots)
        return self.cache

    def move(self, cache: Any, source: Tensor, target: Tensor) -> None:
        self.moved += int((source != target).sum())
        super().move(cache, source, target)


@pytest.fixture(scope="module")
def model() -> Keeping:
    return Keeping(tiny_network(TINY, torch.float64, scale=0.1))


def contexts() -> Tensor:
    return torch.randint(0, VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(3))


def decoded(model: Keeping, config: DecoderConfig, window: int) -> tuple[Tensor, DecodeState, list[Tensor]]:
    """(clips, last state, entries of every layer)."""
    chosen = choose_decoder(config, window, SamplingParams())
    keys = [noise_key_of(name) for name in context_ids(contexts())]
    clips = Clips.of(list(contexts()), [NEW] * 2, 0, keys, model.device)
    last: list[DecodeState] = []

    def kept(recipe: Recipe, inputs: StepInputs, verdict: Verdict) -> tuple[DecodeState, PassRecord]:
        after, record = commit(recipe, inputs, verdict)
        last.append(after)
        return after, record

    # with ``watch`` a clip stays in its row when it is finished, so its entries can be read afterwards
    watched, using = Hooks(watch=lambda *_: None), StepFunctions(commit=kept)
    tokens = finish(jacobi.steps(chosen.recipe(model, CONTEXT + NEW), clips, watched, using)).tokens
    entries = [entry.clone() for layer in model.cache for entry in layer]
    return torch.cat([contexts(), tokens], 1), last[-1], entries


def causal(model: Keeping, clips: Tensor) -> list[Tensor]:
    list(model.prefill(clips, model.make_cache(*clips.shape), 1))
    return [entry.clone() for layer in model.cache for entry in layer]


def worst(found: list[Tensor], expected: list[Tensor], clip: int, until: int) -> float:
    """Largest distance of the entries of a clip's first positions."""
    pairs = zip(found, expected, strict=True)
    return max(float((a[clip, :, :until] - b[clip, :, :until]).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.parametrize("window", [8, 24])
def test_refreshed_entries_are_those_of_one_by_one_decoding(model: Keeping, frames: int, window: int) -> None:
    lanes = {"name": "rows", "context": 1, "width": 2, "frames": frames, "refresh": 1000}
    config = replace(PATHWISE, guarantee="lossy", lanes=lanes)
    clips, state, entries = decoded(model, config, window)
    expected = causal(model, clips)
    for clip in range(2):
        exact_prefix = int(state.exact_prefix[clip])
        assert exact_prefix > CONTEXT + NEW // 2
        assert worst(entries, expected, clip, exact_prefix) < 1e-10


@pytest.mark.parametrize("frames", [0, 1])
def test_without_refresh_they_are_not(model: Keeping, frames: int) -> None:
    """Only the entries before ``exact_prefix`` are."""
    lanes = {"name": "rows", "context": 1, "width": 2, "frames": frames}
    clips, state, entries = decoded(model, replace(PATHWISE, guarantee="lossy", lanes=lanes), 24)
    expected = causal(model, clips)
    for clip in range(2):
        exact_prefix = int(state.exact_prefix[clip])
        assert exact_prefix < CONTEXT + NEW // 2
        assert worst(entries, expected, clip, exact_prefix) < 1e-10
        assert worst(entries, expected, clip, CONTEXT + NEW // 2) > 1e-6


EXACT = {
    "raster": {},
    "rows that wait": {"lanes": {"name": "rows", "width": 3}},
    "draft_tree": {"draft_tree": {"depth": 2, "width": 4}},
    "many siblings": {"draft_tree": {"depth": 1, "width": 20}},
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_decoders_leave_the_entries_of_one_by_one_decoding(model: Keeping, name: str) -> None:
    """And they give AR's tokens. An accepted sibling's entry is moved, so none is missing before the frontier."""
    ar = decode(model, contexts(), NEW, "ar").tokens
    for window in (3, 10, 24):
        clips, state, entries = decoded(model, replace(PATHWISE, **EXACT[name]), window)
        assert torch.equal(clips[:, CONTEXT:], ar)
        expected = causal(model, clips)
        for clip in range(2):
            exact_prefix = int(state.exact_prefix[clip])
            assert exact_prefix >= CONTEXT + NEW - 8 or window > 8  # all entries but those of the last pass
            assert worst(entries, expected, clip, exact_prefix) < 1e-10


def test_siblings_are_hit(model: Keeping) -> None:
    """Siblings are accepted; otherwise the test above would show nothing."""
    before = model.moved
    decode(model, contexts(), NEW, replace(PATHWISE, draft_tree={"depth": 1, "width": 20}), 24)
    assert model.moved - before >= 2


def test_move_copies_entries(model: Keeping) -> None:
    """Each clip's entries move from its own slots to its own slots in every layer, and nothing else changes."""
    assert isinstance(model, TreeModel)
    list(model.prefill(contexts(), model.make_cache(2, 20), 1))
    before = [entry.clone() for layer in model.cache for entry in layer]
    source, target = torch.tensor([[2, 7], [5, 5]]), torch.tensor([[15, 1], [5, 16]])
    model.move(model.cache, source, target)
    after = [entry for layer in model.cache for entry in layer]
    for old, new in zip(before, after, strict=True):
        for clip in range(2):
            expected = old[clip].clone()
            expected[:, target[clip]] = old[clip][:, source[clip]]
            assert torch.equal(new[clip], expected)
