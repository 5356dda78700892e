"""Pathwise decoding returns AR's own tokens, whatever the window, the drafts and the batch."""

import random
from functools import cache

import pytest
import torch
from torch import Tensor

from vidjacobi import decode
from vidjacobi.config import DecoderConfig, config_names, load_decoder
from vidjacobi.couplings import COUPLINGS
from vidjacobi.decoders import METHODS
from vidjacobi.distributions import Warp
from vidjacobi.drafts import DRAFTS
from vidjacobi.geometry import Grid
from vidjacobi.state import Parts, Problem
from vidjacobi.testing import TinyVideoModel

GRID = Grid(4, 6, 8)
CONTEXT, NEW = GRID.frame_tokens, 3 * GRID.frame_tokens
CLIPS = 6
VOCAB = 16
MODEL = TinyVideoModel(VOCAB, GRID, surprise=0.3, dtype=torch.float64)  # about 2.4 tokens per pass
SAMPLED, GREEDY = Warp(1.0, 0.8), Warp(0.0)
KEY_WINDOWS = (2, 7, 48, 64, NEW + 5)  # frames are 48 tokens, rows 8
RULES = list(DRAFTS)
OTHERS = [rule for rule in RULES if rule != "previous_law"]


def problem(clips: list[int], seed: int, window: int, warp: Warp, parts: Parts | None) -> Problem:
    """The clips of these numbers, each with its own context and noise stream."""
    contexts = torch.randint(0, VOCAB, (CLIPS, CONTEXT), generator=torch.Generator().manual_seed(7))
    streams = torch.arange(100, 100 + CLIPS)
    return Problem(MODEL, contexts[clips], NEW, warp, window, seed, streams[clips], parts)


@cache
def ar_tokens(seed: int, warp: Warp) -> Tensor:
    return METHODS["autoregressive"](problem(list(range(CLIPS)), seed, 1, warp, None)).tokens


def assert_ar(clips: list[int], seed: int, window: int, parts: Parts, warp: Warp = SAMPLED) -> None:
    tokens = METHODS["jacobi"](problem(clips, seed, window, warp, parts)).tokens
    wrong = (tokens != ar_tokens(seed, warp)[clips]).nonzero().tolist()
    assert not wrong, f"window {window}, clips {clips}, {parts}: differs from AR at {wrong[:3]}"


def pathwise(draft: str, coupling: str = "gumbel") -> Parts:
    options = {"alpha": 0.5} if coupling == "mixture" else {}
    return Parts.named({"name": draft}, {"name": coupling, **options}, {"name": "pathwise"})


def some_clips(*key: object) -> list[int]:
    """A batch of 1 to 6 clips in any order."""
    order = random.Random(str(key))
    return order.sample(range(CLIPS), order.randint(1, CLIPS))


@pytest.mark.parametrize("draft", RULES)
def test_key_windows(draft: str) -> None:
    for window in KEY_WINDOWS:
        assert_ar(some_clips(draft, window), seed=window % 3, window=window, parts=pathwise(draft))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 129, 16))
def test_every_window(first: int) -> None:
    """1..128, each with the default rule and with one of the others in turn."""
    for window in range(first, first + 16):
        for draft in ("previous_law", OTHERS[window % len(OTHERS)]):
            assert_ar(some_clips(window, draft), seed=window % 4, window=window, parts=pathwise(draft))


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_verifier_alone_makes_it_pathwise(coupling: str) -> None:
    """Other couplings only cost passes."""
    for draft in ("previous_law", "above"):
        assert_ar(some_clips(coupling, draft), seed=1, window=9, parts=pathwise(draft, coupling))


@pytest.mark.parametrize("name", [name for name in config_names("decoder") if load_decoder(name).draft])
def test_at_temperature_zero_every_decoder_is_greedy(name: str) -> None:
    config: DecoderConfig = load_decoder(name)
    assert config.draft
    assert config.coupling
    assert config.verifier
    if config.law == "lossy":
        pytest.skip("a lossy decoder need not be AR's argmax")
    parts = Parts.named(config.draft, config.coupling, config.verifier)
    for window in (1, 64):
        assert_ar(some_clips(name, window), seed=5, window=window, parts=parts, warp=GREEDY)


def test_greedy_decoding_is_the_argmax_of_the_model() -> None:
    """Without any of our laws, noise or caches: feed the greedy clip whole and look at every argmax."""
    context = problem([0, 1], 0, 1, GREEDY, None).context
    tokens = decode(MODEL, context, NEW, decoder="jacobi", window=16).tokens
    clip = torch.cat([context, tokens], 1)
    logits = torch.cat(list(MODEL.prefill(clip[:, :-1], MODEL.make_cache(2, GRID.tokens), NEW)), 1)
    assert torch.equal(logits.argmax(-1), tokens)


def test_the_setting_is_neither_trivial_nor_hopeless() -> None:
    """Drafts are sometimes right and often wrong, and another seed gives other tokens."""
    decoded = METHODS["jacobi"](problem([0, 1, 2], 0, 16, SAMPLED, pathwise("previous_law")))
    assert all(1.5 < tokens < 8 for tokens in decoded.stats.tokens_per_pass)
    assert (ar_tokens(0, SAMPLED) != ar_tokens(1, SAMPLED)).float().mean() > 0.3
