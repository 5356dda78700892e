"""Likelihoods of decoded tokens, and the probs that decided them."""

import pytest
import torch

from vidjacobi.bench.likelihood import Watched, divergence, score
from vidjacobi.decoding.api import decode
from vidjacobi.kinds import Grid
from vidjacobi.sampling.probs import SamplingParams, logits_to_probs
from vidjacobi.testing import TinyVideoModel

MODEL = TinyVideoModel(5, Grid(6, 3, 4), seed=1)
CONTEXT = torch.arange(36).view(3, 12) % 5
NEW = 60


def scored(decoder: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    watched = Watched()
    decoded = decode(MODEL, CONTEXT, NEW, decoder, 9, SamplingParams(seed=seed), watch=watched)
    found = score(MODEL, torch.cat([CONTEXT, decoded.tokens], 1), NEW, SamplingParams(1.0, 0.8), watched)
    assert found.kl is not None
    return found.nll, found.excess, found.kl


def test_is_what_one_by_one_feeding_gives() -> None:
    clips = torch.cat([CONTEXT, decode(MODEL, CONTEXT, NEW, "ar").tokens], 1)
    cache = MODEL.make_cache(3, 72)
    expected = torch.zeros(3)
    for position in range(12, 72):
        logits = list(MODEL.prefill(clips[:, :position], MODEL.make_cache(3, position), 1))[-1]
        probs = logits_to_probs(logits / 0.7, SamplingParams(1.0, 1.0))[:, 0]
        expected -= probs.gather(1, clips[:, position, None])[:, 0].log() / NEW
    assert cache.shape == (3, 72)
    found = score(MODEL, clips, NEW, SamplingParams(0.7, 0.8))
    assert torch.allclose(found.nll, expected, atol=1e-5)
    assert found.kl is None


@pytest.mark.parametrize("decoder", ["pathwise", "fast", "sjd_pac"])
def test_lossless_decoders_decide_by_the_models_own_probs(decoder: str) -> None:
    _, _, kl = scored(decoder)
    assert kl.abs().max() < 1e-5


def test_lanes_that_open_early_decide_by_other_probs() -> None:
    _, _, kl = scored("pjd_temporal")
    assert kl.min() > 0.01


@pytest.mark.slow
def test_excess_of_ar_is_zero_on_average_and_of_a_greedy_decoder_is_not() -> None:
    excess = torch.stack([scored("fast", seed)[1] for seed in range(20)])
    error = excess.std() / excess.numel() ** 0.5
    assert excess.mean().abs() < 4 * error
    greedy = decode(MODEL, CONTEXT, NEW, "fast", 9, SamplingParams(0.0))
    found = score(MODEL, torch.cat([CONTEXT, greedy.tokens], 1), NEW, SamplingParams(1.0, 0.8))
    assert found.excess.mean() < -10 * error


def test_divergence_counts_nothing_where_there_is_no_mass() -> None:
    used, own = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.5, 0.5]]])
    assert divergence(used, own).item() == pytest.approx(0.6931, abs=1e-4)
    assert divergence(own, own).item() == 0
