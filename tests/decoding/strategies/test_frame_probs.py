"""The memory of laws: places are positions modulo the frame."""

import pytest
import torch
from law_checks import nuclei
from torch import Tensor

from vidjacobi.decoding.strategies.drafts import FrameProbsCache
from vidjacobi.sampling.probs import one_hot
from vidjacobi.sampling.truncated_probs import TruncatedProbs

FRAME, VOCAB = 6, 40


def context(length: int, clips: int = 1) -> Tensor:
    """The token at position i is i."""
    return torch.arange(length).repeat(clips, 1)


def laws_naming(positions: Tensor) -> TruncatedProbs:
    """Probabilities that give 0.9 to the token equal to their position."""
    return nuclei(0.9 * one_hot(positions, VOCAB, torch.float32) + 0.1 / VOCAB)


def recalled(memory: FrameProbsCache, positions: list[int], clip: int = 0) -> list[int]:
    laws = memory.recall(torch.tensor([positions]).repeat(len(memory.ids), 1))
    return laws.dense(VOCAB)[clip].argmax(-1).tolist()


@pytest.mark.parametrize("length", [6, 7, 11, 12, 17])
def test_it_begins_with_the_last_frame_of_the_context(length: int) -> None:
    memory = FrameProbsCache.of_context(context(length), FRAME, 3, torch.float32)
    assert memory.frame_tokens == FRAME
    assert recalled(memory, list(range(length, length + FRAME))) == list(range(length - FRAME, length))
    dense = memory.recall(torch.arange(length, length + FRAME)[None]).dense(VOCAB)
    assert torch.equal(dense.sum(-1), torch.ones(1, FRAME))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_context_shorter_than_a_frame_stands_in_with_its_first_token(length: int) -> None:
    memory = FrameProbsCache.of_context(context(length), FRAME, 3, torch.float32)
    places = range(length, length + FRAME)
    assert recalled(memory, list(places)) == [max(0, place - FRAME) for place in places]


def test_the_newest_law_of_a_place_is_recalled() -> None:
    memory = FrameProbsCache.of_context(context(12, clips=2), FRAME, 5, torch.float32)
    window = torch.tensor([[12, 13, 14], [13, 14, 15]])  # each clip has its own frontier
    memory = memory.remember(window, laws_naming(window), torch.ones(2, 3, dtype=torch.bool))
    assert recalled(memory, list(range(18, 24)), clip=0) == [12, 13, 14, 9, 10, 11]
    assert recalled(memory, list(range(18, 24)), clip=1) == [6, 13, 14, 15, 10, 11]


def test_a_window_longer_than_a_frame_leaves_its_newest_frame() -> None:
    memory = FrameProbsCache.of_context(context(12), FRAME, 5, torch.float32)
    window = torch.arange(12, 28)[None]
    memory = memory.remember(window, laws_naming(window), torch.ones(1, 16, dtype=torch.bool))
    assert recalled(memory, list(range(28, 34))) == list(range(22, 28))


def test_positions_behind_the_clip_are_not_remembered() -> None:
    memory = FrameProbsCache.of_context(context(12), FRAME, 5, torch.float32)
    window = torch.arange(12, 16)[None]
    memory = memory.remember(window, laws_naming(window), torch.tensor([[True, True, False, False]]))
    assert recalled(memory, list(range(18, 24))) == [12, 13, 8, 9, 10, 11]


def test_only_the_likeliest_are_kept() -> None:
    memory = FrameProbsCache.of_context(context(6), FRAME, 2, torch.float32)
    law = torch.zeros(1, 1, VOCAB)
    law[0, 0, [3, 8, 20]] = torch.tensor([0.5, 0.3, 0.2])
    memory = memory.remember(torch.tensor([[6]]), nuclei(law), torch.ones(1, 1, dtype=torch.bool))
    dense = memory.recall(torch.tensor([[12]])).dense(VOCAB)[0, 0]
    assert dense.nonzero().flatten().tolist() == [3, 8]
    assert dense[[3, 8]].tolist() == pytest.approx([0.625, 0.375])


def test_clips_of_other_lengths() -> None:
    """Each begins with what its own memory would hold alone; the padding is never recalled."""
    rows = torch.full((4, 17), 39)
    lengths = torch.tensor([17, 9, 6, 2])
    for row, length in enumerate(lengths.tolist()):
        rows[row, :length] = torch.arange(length) + row
    memory = FrameProbsCache.of_context(rows, FRAME, 3, torch.float32, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = FrameProbsCache.of_context(rows[row, None, :length], FRAME, 3, torch.float32)
        assert torch.equal(memory.ids[row], alone.ids[0])
        assert torch.equal(memory.probs[row], alone.probs[0])


def test_of_two_positions_of_one_place_the_later_stays() -> None:
    """As in a pass with lanes in two frames; what is not valid never counts, not even behind a valid one."""
    memory = FrameProbsCache.of_context(context(12, clips=3), FRAME, 5, torch.float32)
    window = torch.tensor([[12, 13, 18, 20]]).repeat(3, 1)
    valid = torch.tensor([[True, True, True, True], [True, True, False, True], [False, True, True, False]])
    memory = memory.remember(window, laws_naming(window), valid)
    places = list(range(24, 30))
    assert recalled(memory, places, clip=0) == [18, 13, 20, 9, 10, 11]
    assert recalled(memory, places, clip=1) == [12, 13, 20, 9, 10, 11]
    assert recalled(memory, places, clip=2) == [18, 13, 8, 9, 10, 11]


def test_a_place_keeps_its_law_until_a_newer_pass() -> None:
    """A later pass over an earlier position of the place replaces it: newest means last evaluated."""
    memory = FrameProbsCache.of_context(context(12), FRAME, 5, torch.float32)
    for window in ([18, 19], [13, 14]):
        positions = torch.tensor([window])
        memory = memory.remember(positions, laws_naming(positions), torch.ones(1, 2, dtype=torch.bool))
    assert recalled(memory, list(range(24, 30))) == [18, 13, 14, 9, 10, 11]
