"""Rows of a real transformer's cache: copied, refilled, partly used. In float64 each clip decodes as if alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_cosmos import TINY, TINY_TEXT, tiny_network
from torch import Tensor

from cosmos_adapter.transformer.model import CosmosModel
from vidjacobi import Finished, Request, decode, decode_each, load, rollout
from vidjacobi.decoding.prefill import has_free_rows
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.guidance import Guided
from vidjacobi.models.protocol import RowModel, VideoModel

pytestmark = pytest.mark.unchecked

VOCAB = 96


@pytest.fixture(scope="module")
def model() -> CosmosModel:
    return CosmosModel(tiny_network(TINY, torch.float64, scale=0.1))


def tokens(rows: int, length: int, seed: int = 3) -> Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def filled(model: CosmosModel, context: Tensor, slots: int) -> Any:
    cache = model.make_cache(len(context), slots)
    list(model.prefill(context, cache, 1))
    return cache


def test_copy_rows_copies_the_beginnings_of_rows(model: CosmosModel) -> None:
    """Keys and values are copied in every layer, and nothing else changes."""
    assert isinstance(model, RowModel)
    cache, source = filled(model, tokens(4, 14), 20), filled(model, tokens(2, 13, 4), 13)
    before = [entry.clone() for layer in cache for entry in layer]
    model.copy_rows(cache, torch.tensor([3, 1]), source, torch.tensor([0, 1]))
    model.copy_rows(cache, torch.tensor([0]), cache, torch.tensor([2]))
    others = [entry for layer in source for entry in layer]
    for now, old, other in zip((e for layer in cache for e in layer), before, others, strict=True):
        expected = old.clone()
        size = other.shape[2]  # a cache has whole blocks of slots
        expected[3, :, :size], expected[1, :, :size], expected[0] = other[0], other[1], old[2]
        assert torch.equal(now, expected)


def test_forward_takes_the_first_rows(model: CosmosModel) -> None:
    """The other rows are neither read nor written."""
    cache, fewer = filled(model, tokens(3, 13), 30), filled(model, tokens(3, 13)[:2], 30)
    kept = [entry[2].clone() for layer in cache for entry in layer]
    positions = torch.arange(13, 16).expand(2, -1)
    visible = torch.arange(30) <= positions[..., None]
    inputs = (tokens(2, 3, 9), positions, positions, visible)
    torch.testing.assert_close(model.forward(*inputs, cache), model.forward(*inputs, fewer))
    for layer, other in zip(cache, fewer, strict=True):
        for entries, own in zip(layer, other, strict=True):
            torch.testing.assert_close(entries[:2], own)
    assert all(
        torch.equal(entries[2], old)
        for entries, old in zip((e for layer in cache for e in layer), kept, strict=True)
    )


def requests() -> list[Request]:
    sizes = [(13, 22, 1), (5, 9, 3), (24, 12, 2), (1, 7, 1)]
    return [Request(tokens(1, c, c)[0], new, f"clip {c}", samples) for c, new, samples in sizes]


def queue_of(model: VideoModel, rows: int, decoder: str, window: int) -> Iterator[Finished]:
    for found in decode_each(model, requests(), rows, decoder, window):
        assert isinstance(found, Finished)
        yield found


def assert_as_alone(model: VideoModel, rows: int, decoder: str, window: int) -> None:
    """Every future that comes out of a queue has the tokens and the counts that it has alone."""
    count = 0
    for found in queue_of(model, rows, decoder, window):
        request, name = found.request, (str(found.request.name), 0, found.sample, 0)
        own = decode(model, request.context[None], request.new_tokens, decoder, window, clip_ids=[name])
        assert torch.equal(found.decoded.tokens, own.tokens)
        assert found.decoded.stats.nfe == own.stats.nfe
        assert torch.equal(found.decoded.trace.redrafted, own.trace.redrafted)
        count += 1
    assert count == 7


@pytest.mark.parametrize("decoder", ["fast", "pjd_temporal", "ar"])
def test_a_queue_gives_what_each_clip_gives_alone(model: CosmosModel, decoder: str) -> None:
    for rows in (2, 3):
        assert_as_alone(model, rows, decoder, 1 if decoder == "ar" else 10)


def test_a_guided_model_copies_the_rows_of_both_branches(model: CosmosModel) -> None:
    null = torch.zeros_like
    assert_as_alone(Guided(model, model, 2.0, blank=null), 3, "pathwise", 10)


@pytest.mark.parametrize("decoder", ["pathwise", "ar"])
def test_futures_of_a_clip_share_its_prefill(tiny_pair: Path, decoder: str) -> None:
    """In the second chunk futures share a prefill if their contexts are equal. No future depends on the others."""
    loaded, tokenizer = load(tiny_pair, device="cpu", dtype="float64")
    assert isinstance(loaded, CosmosModel)
    fed: list[int] = []

    class Watched(CosmosModel):
        def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
            fed.append(len(tokens))
            return super().prefill(tokens, cache, keep)

    model = Watched(loaded.network)
    generator = torch.Generator().manual_seed(2)
    frames = torch.randint(0, 256, (9, 32, 48, 3), dtype=torch.uint8, generator=generator)
    options: dict[str, Any] = {"new_frames": 26, "decoder": decoder, "clip_id": "clip"}
    three = rollout(frames, model, tokenizer, samples=3, **options)
    shared = [chunk.stats.prefill_shared_by for chunk in three.chunks]
    assert shared[0] == [3, 3, 3]
    assert fed == [1, round(sum(1 / clips for clips in shared[1]))]
    assert fed[1] > 1
    one = rollout(frames, model, tokenizer, samples=1, **options)
    assert one.token_hash(0) == three.token_hash(0)
    assert one.nfe[0] == three.nfe[0]


def test_one_text_for_all_rows_or_each_its_own() -> None:
    model = CosmosModel(tiny_network(TINY_TEXT, torch.float64, scale=0.1))
    texts = torch.randn(3, 6, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one, each = model.with_context(texts[:1]), model.with_context(texts)
    assert has_free_rows(one)
    assert not has_free_rows(each)
    assert not has_free_rows(Guided(each, one, 2.0))
    assert_as_alone(one, 3, "pathwise", 10)
    with pytest.raises(InvalidArgument, match="condition of its own"):
        decode_each(each, requests())
    same = tokens(1, 13).repeat(3, 1)
    together = decode(each, same, 12, "pathwise", 10)  # equal contexts, but each row has a text of its own
    for row in range(3):
        alone = decode(model.with_context(texts[row : row + 1]), same[:1], 12, "pathwise", 10)
        assert torch.equal(together.tokens[row], alone.tokens[0])


def test_what_is_not_finite_does_not_outlive_its_clip(model: CosmosModel) -> None:
    """Attention multiplies hidden entries by 0, and 0 * NaN is NaN: a row is cleared when another clip gets it."""

    class Sick(CosmosModel):
        """A model in which the entries of one clip become NaN in its second pass."""

        def forward(self, *inputs: Any) -> Tensor:
            logits, cache = super().forward(*inputs), inputs[4]
            sick = (cache[0].keys[: len(logits), :, 0] == code).flatten(1).all(1)
            for layer in cache:
                for entries in layer:
                    entries[: len(logits)][sick] = torch.nan
            return torch.where(sick[:, None, None], torch.nan, logits)

    sick, *well = requests()
    code = filled(model, sick.context[None], 13)[0].keys[0, :, 0]
    wanted = [well[-1], sick, *well]  # first and second get rows 0 and 1, so the sick clip is in the last row
    found = list(decode_each(Sick(model.network), wanted, 2, "pathwise", 10, keep_going=True))
    names = [one.request.name for one in found if not isinstance(one, Finished)]
    assert names == ["clip 13"]
    for one in found:
        if isinstance(one, Finished):
            name = (str(one.request.name), 0, one.sample, 0)
            own = decode(
                model,
                one.request.context[None],
                one.request.new_tokens,
                window=10,
                clip_ids=[name],
            )
            assert torch.equal(one.decoded.tokens, own.tokens)
    assert len(found) == 8
