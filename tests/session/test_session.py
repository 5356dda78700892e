"""Sessions: stepped frames are those of one rollout, forks are replays, and clips do not depend on each other."""

from copy import deepcopy
from functools import cache

import pytest
import torch

import vidjacobi
from cosmos_adapter.transformer.model import CosmosModel
from tests.tiny_pair import write_pair
from vidjacobi.errors import InvalidArgument
from vidjacobi.loading import Pair
from vidjacobi.models.tokenizer import StreamingTokenizer, VideoTokenizer
from vidjacobi.session import Session, Snapshot


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return vidjacobi.load(write_pair(tmp_path_factory.mktemp("session") / "tiny"), "cpu", "float32")


@cache
def clip(seed: int = 0, frames: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 32, 48, 3), dtype=torch.uint8, generator=generator)


def stepped(session: Session, latents: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(grid, frames) after so many steps of one latent frame."""
    frames = [torch.stack(session.step().frames) for _ in range(latents)]
    return torch.stack(session.tokens), torch.cat(frames, 1)


def decided(session: Session, latents: int) -> torch.Tensor:
    """The grid after so many steps of one latent frame, without pixels."""
    for _ in range(latents):
        session.step(pixels=False)
    return torch.stack(session.tokens)


@pytest.mark.parametrize(
    ("decoder", "window"), [("pathwise", 16), pytest.param("ar", 1, marks=pytest.mark.slow)]
)
def test_steps_are_one_rollout(pair: Pair, decoder: str, window: int) -> None:
    """Over the end of the grid, too: 40 frames slide once."""
    wanted = vidjacobi.rollout(clip(), *pair, 40, 2, decoder=decoder, window=window, clip_id="a")
    session = Session(*pair, clip(), samples=2, decoder=decoder, window=window, names=["a"])
    tokens, frames = stepped(session, 5)
    assert torch.equal(tokens, wanted.tokens)
    assert torch.equal(frames, wanted.predicted)


def test_a_decoder_that_reads_the_last_frame(pair: Pair) -> None:
    """Drafts from the last frame's probs: a frame is fed again, and greedy tokens stay AR's."""
    greedy = vidjacobi.SamplingParams(temperature=0.0)
    wanted = decided(Session(*pair, clip(), decoder="ar", sampling=greedy), 3)
    assert torch.equal(decided(Session(*pair, clip(), decoder="fast", sampling=greedy), 3), wanted)


class WholeClips:
    """The tokenizer without its streams."""

    def __init__(self, inner: VideoTokenizer) -> None:
        self.encode, self.to_frames = inner.encode, inner.to_frames
        self.frame_size, self.stride_t, self.max_frames = inner.frame_size, inner.stride_t, inner.max_frames


def test_a_tokenizer_of_whole_clips(pair: Pair) -> None:
    model, tokenizer = pair
    whole = WholeClips(tokenizer)
    assert not isinstance(whole, StreamingTokenizer)
    _, frames = stepped(Session(model, whole, clip()), 4)
    assert torch.equal(frames, stepped(Session(model, tokenizer, clip()), 4)[1])


def test_clips_do_not_depend_on_each_other(pair: Pair) -> None:
    together = decided(Session(*pair, [clip(1), clip(2), clip(1)], names=["x", "y", "z"]), 4)
    for row, (seed, name) in enumerate([(1, "x"), (2, "y"), (1, "z")]):
        assert torch.equal(decided(Session(*pair, clip(seed), names=[name]), 4)[0], together[row])
    assert not torch.equal(together[0], together[2])  # named apart: other noise


@pytest.mark.slow
def test_clips_of_different_lengths_and_a_row_that_begins_again(pair: Pair) -> None:
    """One clip slides while the other does not, and a row is given to another clip; each is as if it were alone."""
    session = Session(*pair, [clip(1, 17), clip(2, 1)])
    decided_alone = [decided(Session(*pair, one), 5)[0] for one in (clip(1, 17), clip(2, 1), clip(3, 9))]
    for _ in range(3):
        session.step(pixels=False)
    assert torch.equal(session.tokens[0], decided_alone[0][:6])
    session.begin(0, clip(3, 9))
    for _ in range(2):
        session.step(pixels=False)
    assert torch.equal(session.tokens[0], decided_alone[2][:4])
    assert torch.equal(session.tokens[1], decided_alone[1])
    assert session.latents == [2, 5]


@pytest.mark.slow
def test_forks_are_replays(pair: Pair) -> None:
    session = Session(*pair, [clip(1), clip(2)])
    session.step()
    same, fresh = session.fork(2), session.fork(2, crn=False)
    tokens, frames = stepped(same, 1)
    original, others = (decided(one, 4) for one in (session, fresh))
    whole = decided(same, 3)
    assert torch.equal(whole, original.repeat_interleave(2, 0))
    assert torch.equal(frames[0], frames[1])
    assert torch.equal(tokens, whole[:, : tokens.shape[1]])
    assert not torch.equal(others[0], others[1])
    assert not torch.equal(others[0], original[0])


def test_a_fork_goes_its_own_way(pair: Pair) -> None:
    """The cache is copied: what one of them feeds, the other does not see."""
    session = Session(*pair, clip())
    decided(session, 1)
    copy = session.fork(1)
    assert torch.equal(decided(copy, 2), decided(session, 2))


@pytest.mark.slow
def test_rewind_and_restore(pair: Pair) -> None:
    session = Session(*pair, clip())
    session.step()
    mark = session.snapshot()
    tokens, frames = stepped(session, 4)  # slides
    session.rewind(4)
    assert session.latents == [1]
    assert torch.equal(decided(session, 4), tokens)
    session.rewind(2)  # to the first latent frame of a chunk
    session.rewind(1)
    session.step(pixels=False)
    assert torch.equal(session.step().frames[0], frames[0, 16:24])
    other = Session(*pair, clip(3))  # of the same kind, in another process
    other.restore(mark)
    assert torch.equal(decided(other, 4), tokens)


def test_several_latent_frames_at_once(pair: Pair) -> None:
    session, one = Session(*pair, clip()), Session(*pair, clip())
    step = session.step(latents=3)
    assert step.frames[0].shape == (24, 32, 48, 3)
    assert step.guarantee == "identical (bitwise)"
    assert torch.equal(session.tokens[0], decided(one, 3)[0])
    assert session.step(latents=2, pixels=False).frames == ()


def test_a_step_feeds_little(pair: Pair) -> None:
    """The cache is kept: AR feeds one token a pass, in the second step too."""
    session = Session(*pair, clip(), decoder="ar")
    decided(session, 1)
    kept, fed = session._kept, []

    def feed(tokens: torch.Tensor, cache: object, begin: int, end: int) -> torch.Tensor:
        fed.append(end - begin)
        return type(kept)._feed(kept, tokens, cache, begin, end)

    kept._feed = feed  # type: ignore[method-assign]
    decided(session, 1)
    assert fed == [1]


def test_weights_that_change_between_steps_are_followed(pair: Pair) -> None:
    """By way of ``.data``, which leaves no trace but the numbers: nothing of the kept cache is used."""
    model = CosmosModel(deepcopy(pair[0].network))  # type: ignore[attr-defined]
    session = Session(model, pair[1], clip())
    decided(session, 1)
    for parameter in model.network.parameters():
        parameter.data.mul_(1.5)
    other = Session(model, pair[1], clip())
    other.restore(session.snapshot())
    copies = session.fork(2)
    wanted = decided(other, 1)
    assert torch.equal(decided(session, 1), wanted)
    assert torch.equal(decided(copies, 1), wanted.expand(2, -1, -1, -1))


def test_refusals(pair: Pair) -> None:
    session = Session(*pair, clip())
    with pytest.raises(InvalidArgument, match="room for 3 before"):
        session.step(latents=4)
    session.step(latents=2)
    with pytest.raises(InvalidArgument, match="room for 1"):
        session.step(latents=2)
    for call, words in (
        (lambda: session.step(latents=0), "at least 1"),
        (lambda: session.rewind(3), "2 were decided"),
        (lambda: session.fork(0), "at least 1"),
        (lambda: session.restore(Session(*pair, [clip(), clip()]).snapshot()), "clips 2 there, and 1 here"),
        (lambda: session.begin(1, clip()), "no clip 1"),
        (lambda: session.begin(0, clip(0, 8)), "context of 8 frames"),
        (lambda: Session(*pair, []), "at least one clip"),
        (lambda: Session(*pair, clip(0, 8)), "context of 8 frames"),
        (lambda: Session(*pair, clip(), names=["a", "b"]), "2 names for 1 context"),
        (lambda: Session(*pair, clip(), names="a"), "must be strings"),
        (lambda: Session(vidjacobi.compiled(pair[0]), pair[1], clip()), "without compile"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            call()
    assert isinstance(session.snapshot(), Snapshot)
    assert session.latents == [2]
