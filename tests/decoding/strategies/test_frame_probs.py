"""The probs of every place in the frame: places are positions modulo the frame."""

import pytest
import torch
from sample_checks import truncated
from torch import Tensor

from vidjacobi.decoding.strategies.drafts import FrameProbsCache, places_of
from vidjacobi.sampling.probs import one_hot
from vidjacobi.sampling.truncated_probs import TruncatedProbs

FRAME, VOCAB = 6, 40


def context(length: int, clips: int = 1) -> Tensor:
    """The token at position i is i."""
    return torch.arange(length).repeat(clips, 1)


def probs_naming(positions: Tensor) -> TruncatedProbs:
    """Probabilities that give 0.9 to the token equal to their position."""
    return truncated(0.9 * one_hot(positions, VOCAB, torch.float32) + 0.1 / VOCAB)


def remember(cache: FrameProbsCache, at: Tensor, probs: TruncatedProbs, valid: Tensor) -> FrameProbsCache:
    return cache.remember(torch.from_numpy(places_of(at.numpy(), valid.numpy(), FRAME)), probs)


def recalled(cache: FrameProbsCache, positions: list[int], clip: int = 0) -> list[int]:
    probs = cache.recall(torch.tensor([positions]).repeat(len(cache.ids), 1))
    return probs.dense(VOCAB)[clip].argmax(-1).tolist()


@pytest.mark.parametrize("length", [6, 7, 11, 12, 17])
def test_it_begins_with_the_last_frame_of_the_context(length: int) -> None:
    cache = FrameProbsCache.of_context(context(length), FRAME, 3, torch.float32)
    assert cache.frame_tokens == FRAME
    assert recalled(cache, list(range(length, length + FRAME))) == list(range(length - FRAME, length))
    dense = cache.recall(torch.arange(length, length + FRAME)[None]).dense(VOCAB)
    assert torch.equal(dense.sum(-1), torch.ones(1, FRAME))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_context_shorter_than_a_frame_stands_in_with_its_first_token(length: int) -> None:
    cache = FrameProbsCache.of_context(context(length), FRAME, 3, torch.float32)
    places = range(length, length + FRAME)
    assert recalled(cache, list(places)) == [max(0, place - FRAME) for place in places]


def test_the_newest_probs_of_a_place_are_recalled() -> None:
    cache = FrameProbsCache.of_context(context(12, clips=2), FRAME, 5, torch.float32)
    window = torch.tensor([[12, 13, 14], [13, 14, 15]])  # each clip has its own frontier
    cache = remember(cache, window, probs_naming(window), torch.ones(2, 3, dtype=torch.bool))
    assert recalled(cache, list(range(18, 24)), clip=0) == [12, 13, 14, 9, 10, 11]
    assert recalled(cache, list(range(18, 24)), clip=1) == [6, 13, 14, 15, 10, 11]


def test_a_window_longer_than_a_frame_leaves_its_newest_frame() -> None:
    cache = FrameProbsCache.of_context(context(12), FRAME, 5, torch.float32)
    window = torch.arange(12, 28)[None]
    cache = remember(cache, window, probs_naming(window), torch.ones(1, 16, dtype=torch.bool))
    assert recalled(cache, list(range(28, 34))) == list(range(22, 28))


def test_positions_after_the_clip_are_not_remembered() -> None:
    cache = FrameProbsCache.of_context(context(12), FRAME, 5, torch.float32)
    window = torch.arange(12, 16)[None]
    cache = remember(cache, window, probs_naming(window), torch.tensor([[True, True, False, False]]))
    assert recalled(cache, list(range(18, 24))) == [12, 13, 8, 9, 10, 11]


def test_only_the_likeliest_are_kept() -> None:
    cache = FrameProbsCache.of_context(context(6), FRAME, 2, torch.float32)
    probs = torch.zeros(1, 1, VOCAB)
    probs[0, 0, [3, 8, 20]] = torch.tensor([0.5, 0.3, 0.2])
    cache = remember(cache, torch.tensor([[6]]), truncated(probs), torch.ones(1, 1, dtype=torch.bool))
    dense = cache.recall(torch.tensor([[12]])).dense(VOCAB)[0, 0]
    assert dense.nonzero().flatten().tolist() == [3, 8]
    assert dense[[3, 8]].tolist() == pytest.approx([0.625, 0.375])


def test_clips_of_other_lengths() -> None:
    """Each begins with what it would hold alone; the padding is never recalled."""
    rows = torch.full((4, 17), 39)
    lengths = torch.tensor([17, 9, 6, 2])
    for row, length in enumerate(lengths.tolist()):
        rows[row, :length] = torch.arange(length) + row
    cache = FrameProbsCache.of_context(rows, FRAME, 3, torch.float32, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = FrameProbsCache.of_context(rows[row, None, :length], FRAME, 3, torch.float32)
        assert torch.equal(cache.ids[row], alone.ids[0])
        assert torch.equal(cache.probs[row], alone.probs[0])


def test_of_two_positions_of_one_place_the_later_stays() -> None:
    """As in a pass with lanes in two frames; what is not valid never counts, not even after a valid one."""
    cache = FrameProbsCache.of_context(context(12, clips=3), FRAME, 5, torch.float32)
    window = torch.tensor([[12, 13, 18, 20]]).repeat(3, 1)
    valid = torch.tensor([[True, True, True, True], [True, True, False, True], [False, True, True, False]])
    cache = remember(cache, window, probs_naming(window), valid)
    places = list(range(24, 30))
    assert recalled(cache, places, clip=0) == [18, 13, 20, 9, 10, 11]
    assert recalled(cache, places, clip=1) == [12, 13, 20, 9, 10, 11]
    assert recalled(cache, places, clip=2) == [18, 13, 8, 9, 10, 11]


def test_a_place_keeps_its_probs_until_a_newer_pass() -> None:
    """A later pass over an earlier position of the place replaces it: newest means last evaluated."""
    cache = FrameProbsCache.of_context(context(12), FRAME, 5, torch.float32)
    for window in ([18, 19], [13, 14]):
        positions = torch.tensor([window])
        cache = remember(cache, positions, probs_naming(positions), torch.ones(1, 2, dtype=torch.bool))
    assert recalled(cache, list(range(24, 30))) == [18, 13, 14, 9, 10, 11]
