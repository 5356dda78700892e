"""Pathwise decoding returns AR's own tokens, whatever the window, the drafts and the batch."""

import random
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from plain_model import Plain
from torch import Tensor

from vidjacobi import decode
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import METHODS, strategies_of
from vidjacobi.decoding.recipe import Clips, Recipe, Strategies
from vidjacobi.decoding.strategies.couplings import COUPLINGS
from vidjacobi.decoding.strategies.drafts import DRAFTS
from vidjacobi.decoding.trace import Decoded, finish
from vidjacobi.kinds import Grid
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked

GRID = Grid(4, 6, 8)
CONTEXT, NEW = GRID.frame_tokens, 3 * GRID.frame_tokens
CLIPS = 6
VOCAB = 16
MODEL = TinyVideoModel(VOCAB, GRID, surprise=0.3, dtype=torch.float64)  # about 2.4 tokens per pass
SAMPLED, GREEDY = SamplingParams(1.0, 0.8), SamplingParams(0.0)
KEY_WINDOWS = (2, 7, 48, 64, NEW + 5)  # frames are 48 tokens, rows 8
RULES = list(DRAFTS)
OTHERS = [rule for rule in RULES if rule != "previous_frame_probs"]


PLAIN: Any = Plain(MODEL)
CONTEXTS = torch.randint(0, VOCAB, (CLIPS, CONTEXT), generator=torch.Generator().manual_seed(7))


def decoded(
    clips: list[int],
    seed: int,
    window: int,
    sampling: SamplingParams,
    strategies: Strategies | None,
    model: Any = MODEL,
) -> Decoded:
    """The clips of these numbers, each with its own context and noise key; by AR where there are no strategies."""
    recipe = Recipe(model, sampling, window, CONTEXT + NEW, strategies)
    keys = [100 + clip for clip in clips]
    chosen = Clips.of(list(CONTEXTS[clips]), [NEW] * len(clips), seed, keys, MODEL.device)
    return finish(METHODS["jacobi" if strategies else "autoregressive"](recipe, chosen))


@cache
def ar_tokens(seed: int, sampling: SamplingParams) -> Tensor:
    return decoded(list(range(CLIPS)), seed, 1, sampling, None).tokens


def assert_ar(
    clips: list[int],
    seed: int,
    window: int,
    strategies: Strategies,
    sampling: SamplingParams = SAMPLED,
    model: Any = MODEL,
) -> None:
    tokens = decoded(clips, seed, window, sampling, strategies, model).tokens
    wrong = (tokens != ar_tokens(seed, sampling)[clips]).nonzero().tolist()
    assert not wrong, f"window {window}, clips {clips}, {strategies}: differs from AR at {wrong[:3]}"


def pathwise(draft: str, coupling: str = "gumbel", **more: dict[str, Any]) -> Strategies:
    options = {"alpha": 0.5} if coupling == "mixture" else {}
    strategies = Strategies.named(
        {"name": draft}, {"name": coupling, **options}, {"name": "pathwise"}, **more
    )
    assert strategies.guarantee == "identical"
    return strategies


def slow(value: Any) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


def some_clips(*key: object) -> list[int]:
    """A batch of 1 to 6 clips in any order."""
    order = random.Random(str(key))
    return order.sample(range(CLIPS), order.randint(1, CLIPS))


@pytest.mark.parametrize("draft", RULES)
@pytest.mark.slow
def test_key_windows(draft: str) -> None:
    for window in KEY_WINDOWS:
        assert_ar(some_clips(draft, window), seed=window % 3, window=window, strategies=pathwise(draft))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 129, 16))
def test_every_window(first: int) -> None:
    """1..128, each with the default rule and with one of the others in turn."""
    for window in range(first, first + 16):
        for draft in ("previous_frame_probs", OTHERS[window % len(OTHERS)]):
            assert_ar(some_clips(window, draft), seed=window % 4, window=window, strategies=pathwise(draft))


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_verifier_alone_makes_it_pathwise(coupling: str) -> None:
    """Other couplings only cost passes."""
    for draft in ("previous_frame_probs", "above"):
        assert_ar(some_clips(coupling, draft), seed=1, window=9, strategies=pathwise(draft, coupling))


@pytest.mark.parametrize(
    "size", [(3, 4), *(slow(size) for size in ((1, 2), (1, 6), (2, 3), (5, 2), (2, 30)))], ids=str
)
@pytest.mark.slow
def test_siblings_change_no_token(size: tuple[int, int]) -> None:
    """Of several sizes, also more than the vocabulary has, and with a model that cannot move cache entries."""
    tree = {"depth": size[0], "width": size[1]}
    for window in (2, 16, 45):
        rule = RULES[window % len(RULES)]
        assert_ar(some_clips(size, window), window % 3, window, pathwise(rule, draft_tree=tree))
        assert_ar(
            some_clips(window, size),
            1,
            window,
            pathwise("previous_frame_probs", draft_tree=tree),
            model=PLAIN,
        )


def test_siblings_save_passes() -> None:
    """At a window that has room for them."""

    def passes(**more: dict[str, Any]) -> float:
        strategies = pathwise("previous_frame_probs", **more)
        return sum(decoded(list(range(CLIPS)), 0, 40, SAMPLED, strategies).stats.nfe)

    assert passes(draft_tree={"depth": 2, "width": 4}) < 0.95 * passes()


@pytest.mark.parametrize("width", [3, *map(slow, (1, 8, 20))])
def test_rows_that_wait_are_exact(width: int) -> None:
    """A lane that waits for whole rows and frames is raster decoding cut at the ends of rows."""
    for window in (1, 5, 64):
        rule = RULES[(window + width) % len(RULES)]
        lanes = {"name": "rows", "context": None, "width": width, "refresh": 0}
        assert_ar(some_clips(width, window), window % 3, window, pathwise(rule, lanes=lanes))


def test_frames_that_wait_are_exact() -> None:
    """The same for a lane per frame."""
    for window, width in ((1, None), (9, None), (64, 5)):
        lanes = {"name": "frames", "width": width, "reach": None}
        assert_ar(
            some_clips("frames", window), window % 3, window, pathwise("previous_frame_probs", lanes=lanes)
        )


def test_an_adaptive_window_changes_no_token() -> None:
    """However it jumps."""
    numbers = {"sizes": [2, 9, 33], "seconds": [1.0, 1.1, 1.3], "tokens": [1.5, 2.2, 2.4]}
    lanes = {"name": "adaptive", "curve": "made up", "block": 2, "trust": 1.0, **numbers}
    for window, tree in ((50, None), (9, None), (40, {"depth": 2, "width": 3})):
        assert_ar(
            some_clips(window), 2, window, pathwise("previous_frame_probs", lanes=lanes, draft_tree=tree)
        )


@pytest.mark.slow
def test_windows_beyond_the_end() -> None:
    for window in (256, 512, 1000):
        for more in ({}, {"draft_tree": {"depth": 3, "width": 4}}):
            assert_ar(some_clips(window), 0, window, pathwise("previous_frame_probs", **more))


# (context, new tokens): a whole frame, mid-row, shorter than a frame and a row, one token; mid-row and whole ends
RAGGED = [(48, 96), (53, 60), (29, 7), (5, 131), (1, 50), (100, 1), (96, 48), (140, 52)]


@cache
def ragged() -> tuple[list[Tensor], list[int], list[str], list[Tensor]]:
    """(contexts, numbers of new tokens, names, AR's tokens of each clip alone)."""
    generator = torch.Generator().manual_seed(5)
    contexts = [torch.randint(0, VOCAB, (length,), generator=generator) for length, _ in RAGGED]
    counts, names = [count for _, count in RAGGED], [f"clip {index}" for index in range(len(RAGGED))]
    alone = [
        decode(MODEL, context[None], count, "ar", clip_ids=[name]).tokens[0]
        for context, count, name in zip(contexts, counts, names, strict=True)
    ]
    return contexts, counts, names, alone


def assert_each(decoder: Any, window: int | None, rows: list[int], expected: list[Tensor]) -> Decoded:
    contexts, counts, names, _ = ragged()
    found = decode(
        MODEL,
        [contexts[row] for row in rows],
        [counts[row] for row in rows],
        decoder,
        window,
        clip_ids=[names[row] for row in rows],
    )
    longest = max(counts[row] for row in rows)
    assert found.tokens.shape == (len(rows), longest)
    for index, row in enumerate(rows):
        assert torch.equal(found.tokens[index, : counts[row]], expected[row]), (
            f"{decoder}, {window}: {RAGGED[row]}"
        )
        assert (found.tokens[index, counts[row] :] == -1).all()
    assert found.stats.new_tokens == [counts[row] for row in rows]
    return found


PATHWISE = load_decoder("pathwise")
ORDERS = [list(range(len(RAGGED))), [4, 0], [5, 3, 1], [7, 6, 2, 4]]


@pytest.mark.parametrize("rows", [ORDERS[0], *map(slow, ORDERS[1:])], ids=str)
def test_clips_of_other_lengths_and_ends_equal_ar_alone(rows: list[int]) -> None:
    """Whatever stands beside them: AR in a batch, and every pathwise decoder."""
    alone = ragged()[3]
    assert assert_each("ar", None, rows, alone).stats.nfe == [RAGGED[row][1] for row in rows]
    for rule, window in (
        ("previous_frame_probs", 16),
        ("above", 5),
        ("previous_frame", 64),
        ("uniform", 300),
    ):
        assert_each(replace(PATHWISE, draft={"name": rule}), window, rows, alone)
    assert_each(replace(PATHWISE, draft_tree={"depth": 2, "width": 3}), 12, rows, alone)
    assert_each(replace(PATHWISE, lanes={"name": "rows", "width": 5}, draft_tree=None), 40, rows, alone)


LOSSY_TOO = [name for name in config_names("decoder") if load_decoder(name).method == "jacobi"]


@pytest.mark.parametrize("window", [40, slow(13)])
@pytest.mark.parametrize(
    "name", [name if name in ("fast", "pjd_temporal") else slow(name) for name in LOSSY_TOO]
)
@pytest.mark.slow
def test_clips_of_other_lengths_and_ends_equal_themselves_alone(name: str, window: int) -> None:
    """Every shipped decoder, tokens and passes (this model's forward is exact, whatever the batch)."""
    contexts, counts, names, _ = ragged()
    alone = [
        decode(MODEL, context[None], count, name, window, clip_ids=[clip])
        for context, count, clip in zip(contexts, counts, names, strict=True)
    ]
    for rows in ORDERS[::2]:
        together = assert_each(name, window, rows, [one.tokens[0] for one in alone])
        assert together.stats.nfe == [alone[row].stats.nfe[0] for row in rows]
        assert together.stats.positions == pytest.approx([alone[row].stats.positions[0] for row in rows])
        for index, row in enumerate(rows):
            marks = together.trace.decided_in[index, : counts[row]]
            assert torch.equal(marks, alone[row].trace.decided_in[0])


@pytest.mark.parametrize("name", [name for name in config_names("decoder") if load_decoder(name).draft])
def test_at_temperature_zero_every_decoder_is_greedy(name: str) -> None:
    config = load_decoder(name)
    if config.guarantee == "lossy":
        pytest.skip("a lossy decoder need not be AR's argmax")
    strategies = strategies_of(config)
    assert strategies
    for window in (1, 64):
        assert_ar(some_clips(name, window), seed=5, window=window, strategies=strategies, sampling=GREEDY)


def test_greedy_decoding_is_the_argmax_of_the_model() -> None:
    """Without any of our probs, noise or caches: feed the greedy clip whole and look at every argmax."""
    context = CONTEXTS[:2]
    tokens = decode(MODEL, context, NEW, decoder="jacobi", window=16).tokens
    clip = torch.cat([context, tokens], 1)
    logits = torch.cat(list(MODEL.prefill(clip[:, :-1], MODEL.make_cache(2, GRID.tokens), NEW)), 1)
    assert torch.equal(logits.argmax(-1), tokens)


def test_the_setting_is_neither_trivial_nor_hopeless() -> None:
    """Drafts are sometimes right and often wrong, and another seed gives other tokens."""
    some = decoded([0, 1, 2], 0, 16, SAMPLED, pathwise("previous_frame_probs"))
    assert all(1.5 < tokens < 8 for tokens in some.stats.tokens_per_pass)
    assert (ar_tokens(0, SAMPLED) != ar_tokens(1, SAMPLED)).float().mean() > 0.3
