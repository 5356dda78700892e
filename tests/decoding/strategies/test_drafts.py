"""Every draft rule on examples made by hand, and its stated probs against the tokens it draws."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from sample_checks import chi_square, truncated
from torch import Tensor

from vidjacobi.decoding.strategies.drafts import (
    DRAFTS,
    Above,
    DraftContext,
    DraftRule,
    FrameProbsCache,
    Left,
    PreviousFrame,
    PreviousFrameProbs,
    Uniform,
    nearest_left,
)
from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.registry import build
from vidjacobi.sampling.noise import Noise, Purpose, noise_roots

GRID = Grid(3, 2, 3)  # rows of 3, frames of 6
VOCAB = 50


def context_of(
    tokens: list[int],
    window: Iterable[int],
    known: Iterable[int] | None = None,
    frame_probs: FrameProbsCache | None = None,
    clips: int = 1,
    purpose: Purpose = Purpose.FRESH,
) -> DraftContext:
    """Tokens by position; what is not ``known`` (all of them by default) is rubbish."""
    mask = torch.zeros(clips, 40, dtype=torch.bool)
    mask[:, torch.tensor(list(range(len(tokens)) if known is None else known))] = True
    rows = torch.full((clips, 40), 49)
    rows[:, : len(tokens)] = torch.tensor(tokens)
    positions = torch.tensor(list(window)).repeat(clips, 1)
    noise = Noise(noise_roots(0, torch.arange(clips)), positions, torch.full((clips,), 2), torch.float64)
    return DraftContext(rows, mask, positions, noise, purpose, GRID, frame_probs, VOCAB)


def drawn(rule: DraftRule, context: DraftContext) -> list[int]:
    return rule(context).tokens[0].tolist()


def test_left_repeats_the_last_token() -> None:
    assert drawn(Left(), context_of([5, 6, 7], range(3, 8))) == [7] * 5


def test_above_copies_the_row_and_goes_on_copying() -> None:
    assert drawn(Above(), context_of([1, 2, 3, 4], range(4, 9))) == [2, 3, 4, 2, 3]


def test_previous_frame_copies_the_frame_and_goes_on_copying() -> None:
    tokens = list(range(10, 18))  # 8 known: the last frame of them is 12..17
    assert drawn(PreviousFrame(), context_of(tokens, range(8, 8 + 14))) == [12, 13, 14, 15, 16, 17] * 2 + [
        12,
        13,
    ]


@pytest.mark.parametrize("rule", [Above(), PreviousFrame()])
def test_a_short_context_leaves_the_last_token(rule: DraftRule) -> None:
    assert drawn(rule, context_of([7, 8], range(2, 4)))[0] in (7, 8)
    assert drawn(PreviousFrame(), context_of([7, 8], range(2, 9))) == [8, 8, 8, 8, 7, 8, 8]


@pytest.mark.parametrize("rule", [Left(), Above(), PreviousFrame()])
def test_a_rule_looks_at_nothing_after_what_is_known(rule: DraftRule) -> None:
    """The window may begin before the fresh positions, and rubbish may lie after them."""
    tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    whole = drawn(rule, context_of(tokens, range(7, 14), known=range(10)))
    other = drawn(rule, context_of([*tokens, 17, 23], range(7, 14), known=range(10)))
    assert whole[3:] == other[3:]
    assert set(whole[3:]) <= set(tokens)


def test_known_is_a_mask() -> None:
    """Holes are passed over: the nearest known token a multiple of the distance to the left is copied."""
    tokens = list(range(10, 24))
    holes = [0, 1, 2, 3, 5, 6, 7, 9, 12]
    assert drawn(Left(), context_of(tokens, [4, 8, 10, 11, 13], known=holes)) == [13, 17, 19, 19, 22]
    # 8 - 3 = 5; 10 - 3 = 7; 11 - 6 = 5 (8 is not known); 13 - 6 = 7 (10 is not known)
    assert drawn(Above(), context_of(tokens, [8, 10, 11, 13], known=holes)) == [15, 17, 15, 17]
    # 10 - 6 = 4 is not known: the nearest of all, 9; 13 - 6 = 7; 17 - 12 = 5 (11 is not known); 18 - 6 = 12
    assert drawn(PreviousFrame(), context_of(tokens, [10, 13, 17, 18], known=holes)) == [19, 17, 15, 22]


def test_nothing_known_at_the_left() -> None:
    """The first token of all stands in rather than an error."""
    for rule in (Left(), Above(), PreviousFrame()):
        assert drawn(rule, context_of([7, 8], [0, 1], known=[0]))[1] == 7


def test_nearest_left() -> None:
    known = torch.tensor([[True, False, True, False, False, True, False], [False] * 7])
    assert nearest_left(known, 1)[0].tolist() == [-1, 0, 0, 2, 2, 2, 5]
    assert nearest_left(known, 2)[0].tolist() == [-1, -1, 0, -1, 2, -1, 2]
    assert nearest_left(known, 3)[0].tolist() == [-1, -1, -1, 0, -1, 2, 0]
    assert nearest_left(known, 9)[0].tolist() == [-1] * 7
    assert nearest_left(known, 1)[1].tolist() == [-1] * 7
    brute = torch.rand(4, 50, generator=torch.Generator().manual_seed(0)) < 0.3
    for distance in (1, 3, 7, 48, 60):
        expected = [
            [max((i for i in range(at - distance, -1, -distance) if row[i]), default=-1) for at in range(50)]
            for row in brute.tolist()
        ]
        assert nearest_left(brute, distance).tolist() == expected


@pytest.mark.parametrize("rule", [Left(), Above(), PreviousFrame()])
def test_copies_are_certain(rule: DraftRule) -> None:
    fresh = rule(context_of([3, 1, 4, 1, 5], range(5, 9)))
    probs = fresh.probs.dense(VOCAB)
    assert torch.equal(
        probs.gather(-1, fresh.tokens[..., None])[..., 0], torch.ones(1, 4, dtype=torch.float64)
    )
    assert torch.equal(probs.sum(-1), torch.ones(1, 4, dtype=torch.float64))


def remembered(clips: int, length: int = 12) -> tuple[FrameProbsCache, Tensor]:
    """A cache that knows the probs [6, VOCAB] of the positions 6..11, and these."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(1, 6, VOCAB, generator=generator, dtype=torch.float64) ** 8
    probs[probs < 0.05] = 0
    probs = probs / probs.sum(-1, keepdim=True)
    cache = FrameProbsCache.of_context(
        torch.arange(length).repeat(clips, 1), GRID.frame_tokens, VOCAB, torch.float64
    )
    places = torch.arange(6).repeat(clips, 1)
    return cache.remember(places, truncated(probs.repeat(clips, 1, 1))), probs[0]


def test_previous_frame_probs_draws_from_the_place_one_frame_back() -> None:
    cache, probs = remembered(1)
    fresh = PreviousFrameProbs()(context_of(list(range(12)), range(12, 22), frame_probs=cache))
    expected = probs[
        [i % 6 for i in range(12, 22)]
    ]  # longer than a frame: the newest probs of the place again
    assert torch.allclose(fresh.probs.dense(VOCAB)[0], expected)
    assert (expected.gather(-1, fresh.tokens[0][:, None]) > 0).all()


def test_previous_frame_probs_uses_the_noise_the_coupling_asks_for() -> None:
    cache, probs = remembered(1)
    for purpose in (Purpose.FRESH, Purpose.GUMBEL):
        before = context_of(list(range(12)), range(12, 18), frame_probs=cache, purpose=purpose)
        gumbel_max = (probs / before.noise.exponential(purpose, VOCAB)[0]).argmax(-1)
        assert PreviousFrameProbs()(before).tokens[0].tolist() == gumbel_max.tolist()


CACHES: dict[str, Callable[[int], FrameProbsCache | None]] = {
    "previous_frame_probs": lambda clips: remembered(clips)[0]
}


@pytest.mark.parametrize("name", DRAFTS)
@pytest.mark.parametrize("purpose", [Purpose.FRESH, Purpose.GUMBEL])
def test_tokens_follow_their_stated_probs(name: str, purpose: Purpose) -> None:
    clips = 20_000
    cache = CACHES.get(name, lambda _: None)(clips)
    draft = DRAFTS[name]()(
        context_of(list(range(12)), range(12, 16), frame_probs=cache, clips=clips, purpose=purpose)
    )
    for slot in range(4):
        probs = draft.probs.dense(VOCAB)[0, slot]
        counts = draft.tokens[:, slot].bincount(minlength=VOCAB)
        assert float(probs.sum()) == pytest.approx(1)
        assert chi_square(counts, probs) > 1e-3 / (8 * len(DRAFTS))


def test_uniform_drafts_of_neighbours_differ() -> None:
    tokens = Uniform()(context_of([0], range(1, 30), clips=200)).tokens
    assert (tokens[:, 1:] == tokens[:, :-1]).double().mean() < 0.05


def test_which_rules_keep_probs() -> None:
    assert PreviousFrameProbs(keep=5).keeps_probs == 5
    assert {name for name, rule in DRAFTS.items() if rule().keeps_probs} == {"previous_frame_probs"}


@pytest.mark.parametrize("keep", [0, -1, 2.5, "all"])
def test_a_bad_keep_is_refused(keep: Any) -> None:
    with pytest.raises(InvalidArgument, match="keep"):
        build("draft rule", {"name": "previous_frame_probs", "keep": keep}, DRAFTS)
