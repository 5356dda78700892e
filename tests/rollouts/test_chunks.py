"""The plan of a rollout that is longer than the tokenizer takes at once."""

from itertools import pairwise

import pytest
import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.models.tokenizer import latent_frames
from vidjacobi.rollouts.chunks import Chunk, next_context, plan_chunks


class Measures:
    """A video tokenizer as far as a plan needs one."""

    frame_size = (8, 8)

    def __init__(self, stride_t: int = 8, max_frames: int = 33) -> None:
        self.stride_t, self.max_frames = stride_t, max_frames

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def to_frames(self, tokens: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


def test_cosmos() -> None:
    assert plan_chunks(9, 24, Measures()) == [Chunk(0, 9, 0, 24, 3)]
    assert plan_chunks(9, 40, Measures()) == [Chunk(0, 9, 0, 24, 3), Chunk(1, 9, 24, 16, 2)]
    assert plan_chunks(25, 10, Measures()) == [Chunk(0, 25, 0, 8, 1), Chunk(1, 9, 8, 2, 1)]


@pytest.mark.parametrize(("stride", "most"), [(1, 5), (4, 17), (4, 18), (8, 33)])
def test_any_length(stride: int, most: int) -> None:
    video = Measures(stride, most)
    for context in range(1, most, stride):
        for frames in range(1, 3 * most):
            chunks = plan_chunks(context, frames, video)
            assert sum(chunk.count for chunk in chunks) == frames
            assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
            for chunk in chunks:
                whole = chunk.context + chunk.count
                assert whole <= most
                assert chunk.latents == latent_frames(whole, video) - latent_frames(chunk.context, video)
            for before, after in pairwise(chunks):
                assert after.first == before.first + before.count
                assert before.context + before.count == most  # only the last one is shorter
                assert after.context == 1 + stride


def test_a_tokenizer_without_room_for_a_second_chunk() -> None:
    assert len(plan_chunks(1, 8, Measures(8, 9))) == 1
    with pytest.raises(InvalidArgument, match="takes 9 at once: after 8 of them a context of 9"):
        plan_chunks(1, 9, Measures(8, 9))


def test_the_next_context_is_the_last_two_latent_frames() -> None:
    frames = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 2, 2, 3)
    assert next_context(frames, Measures())[:, 0, 0, 0].tolist() == list(range(11, 20))
