"""Special tokens are given, never drafted: a clip may begin with nothing but a begin-of-video token."""

import pytest
import torch

import vidjacobi
from vidjacobi import Grid, SamplingParams
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.strategies.drafts import FrameProbsCache
from vidjacobi.errors import InvalidArgument
from vidjacobi.testing import TinyVideoModel

VOCAB, GRID, GREEDY = 4, Grid(3, 2, 3), SamplingParams(temperature=0.0)


class WithSpecials(TinyVideoModel):
    """Begins with special tokens, whose ids lie after the vocabulary."""

    def __init__(self, specials: int = 1) -> None:
        super().__init__(VOCAB, GRID)
        self.prefix_tokens = tuple(range(VOCAB, VOCAB + specials))
        self.max_positions = specials + GRID.tokens
        self._weights = torch.randint(
            1, 1 << 30, (self.max_positions, VOCAB + specials), generator=torch.Generator().manual_seed(9)
        )


@pytest.mark.parametrize("decoder", [name for name in config_names("decoder") if name != "ar"])
def test_a_clip_begins_with_its_special_token_alone(decoder: str) -> None:
    model, context = WithSpecials(), torch.tensor([[VOCAB], [VOCAB]])
    window = None if decoder == "adaptive" else 5
    found = vidjacobi.decode(model, context, 9, decoder, window, GREEDY).tokens
    assert found.max() < VOCAB
    if load_decoder(decoder).guarantee != "lossy":
        assert torch.equal(found, vidjacobi.decode(model, context, 9, "ar", sampling=GREEDY).tokens)


@pytest.mark.parametrize("decoder", ["fast", "pathwise", "pjd"])
def test_rows_begin_before_and_after_their_first_cell(decoder: str) -> None:
    """Contexts of one to four tokens in one batch, and a window wider than the clip."""
    model = WithSpecials(2)
    contexts = [torch.tensor([4, 5, 1, 2][:length]) for length in (2, 3, 4)]
    found = vidjacobi.decode(model, contexts, 12, decoder, 64, GREEDY).tokens
    assert found.max() < VOCAB
    if decoder != "pjd":
        assert torch.equal(found, vidjacobi.decode(model, contexts, 12, "ar", sampling=GREEDY).tokens)


def test_places_before_the_first_cell_hold_no_special_token() -> None:
    contexts, lengths = torch.tensor([[9, 0, 0], [9, 7, 0], [9, 7, 8]]), torch.tensor([1, 2, 3])
    cache = FrameProbsCache.of_context(contexts, 4, 1, torch.float32, lengths, special=1)
    assert cache.ids[:, :4, 0].tolist() == [[0, 0, 0, 0], [7, 7, 7, 7], [7, 7, 8, 7]]


def test_a_context_holds_all_special_tokens() -> None:
    with pytest.raises(InvalidArgument, match=r"special tokens \[4, 5\]: give them all"):
        vidjacobi.decode(WithSpecials(2), torch.tensor([[4]]), 3)
