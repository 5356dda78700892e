"""Sessions whose latent frames follow actions, one by one: tokens are those of one decode that knew all of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import vidjacobi
from tests.families.test_pusht import GRID, actions, network
from tests.families.tiny_riders import tiny_trunk
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.layout import Condition
from vidjacobi.families.mineworld import MineWorld
from vidjacobi.families.pusht import PushTModel
from vidjacobi.models.protocol import VideoModel
from vidjacobi.session import Session
from vidjacobi.testing import TinyVideoModel

SAMPLING = vidjacobi.SamplingParams(temperature=1.0, top_p=0.9, seed=3)


class PaintedCodes:
    """A pixel for each cell, whose red is its code."""

    frame_size, stride_t = (2, 3), 1

    def __init__(self, codes: int, max_frames: int) -> None:
        self.codes, self.max_frames = codes, max_frames

    def encode(self, pixels: Tensor) -> Tensor:
        return ((pixels[:, 0] + 1) * 127.5).round().long() % self.codes

    def to_frames(self, tokens: Tensor) -> Tensor:
        return ((tokens + 0.5) / 255)[:, None].expand(-1, 3, -1, -1, -1)


def frames(clips: int, count: int = 1, codes: int = 11) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    cells = torch.randint(0, codes, (clips, count, 2, 3, 1), generator=generator, dtype=torch.uint8)
    return list(cells.expand(-1, -1, -1, -1, 3))


def whole(model: VideoModel, given: Sequence[Tensor], conditions: Sequence[object]) -> Tensor:
    """Tokens ``[b f 2 3]`` of one decode to the end of the grid."""
    tokens = torch.stack([clip[..., 0].long().flatten() for clip in given])
    left = model.max_positions - tokens.shape[1]
    names = [f"clip {row}" for row in range(len(given))]
    ids = [(name, 0, 0, 0) for name in names]
    new = vidjacobi.decode(model, tokens, left, "ar", None, SAMPLING, ids, conditions=conditions).tokens
    return torch.cat([tokens, new], 1).unflatten(1, (-1, 2, 3))


def session_of(model: VideoModel, given: Sequence[Tensor], condition: object, **options: object) -> Session:
    tokenizer = PaintedCodes(model.vocab_size, GRID.t)
    names = [f"clip {row}" for row in range(len(given))]
    return Session(
        model, tokenizer, given, sampling=SAMPLING, window=5, names=names, condition=condition, **options
    )


@pytest.mark.parametrize("decoder", ["pathwise", "ar", "fast"])
def test_push_t(decoder: str) -> None:
    model, acts = PushTModel(network()), actions(2)
    session = session_of(model, frames(2), torch.stack, decoder=decoder)
    for frame in range(GRID.t - 1):
        session.step(list(acts[:, frame]), pixels=False)
    if decoder != "fast":
        assert torch.equal(torch.stack(session.tokens), whole(model, frames(2), list(acts)))
    assert session.latents == [3, 3]


@pytest.mark.parametrize("forgets", [True, False], ids=["", "control: nothing is forgotten"])
def test_other_actions_after_a_rewind(forgets: bool) -> None:
    """What was fed with the actions that were taken back is fed anew; equal ones keep their entries."""
    family = MineWorld(tiny_trunk().layers, nn.Linear(32, 60, bias=False).double(), (2, 3), 40)
    model = family.world([], GRID.t)
    first, second = torch.randint(40, 60, (2, GRID.t - 1, 11), generator=torch.Generator().manual_seed(2))

    def condition(so_far: Sequence[Tensor]) -> Condition:
        return family.world([torch.stack(list(so_far))]).conditions[0]

    given = frames(1, 2, 40)
    session = session_of(model, given, condition, context_actions=[[first[0]]])
    session.step([first[1]], pixels=False)
    if not forgets:
        session._kept.forget = lambda clips: None  # type: ignore[method-assign]
    # the same context, after another action
    clip = session.snapshot().clips[0]
    chunk = replace(clip.chunk, decided=clip.chunk.decided[:0], actions=(second[0],))
    session.restore(replace(session.snapshot(), clips=(replace(clip, chunks=(chunk,)),)))
    for action in second[1:]:
        session.step([action], pixels=False)
    wanted = whole(model, given, [condition(list(second))])
    assert torch.equal(session.tokens[0], wanted[0]) == forgets


def test_the_same_dice_for_every_candidate() -> None:
    """Forks with equal actions are equal, and with other actions differ by the actions alone."""
    model, acts = PushTModel(network()), actions(3, 7)
    session = session_of(model, frames(1), torch.stack)
    session.step([acts[0, 0]], pixels=False)
    three = session.fork(3)
    for frame in (1, 2):
        three.step([acts[0, frame], acts[0, frame], acts[1, frame]], pixels=False)
    assert torch.equal(three.tokens[0], three.tokens[1])
    assert not torch.equal(three.tokens[0], three.tokens[2])
    alone = whole(model, frames(1), [torch.cat([acts[0, :1], acts[1, 1:]])])
    assert torch.equal(three.tokens[2], alone[0])


def test_a_model_with_riders() -> None:
    """MineWorld's actions ride on the last cell of the frame before; a context of two frames has one in it."""
    family = MineWorld(tiny_trunk().layers, nn.Linear(32, 60, bias=False).double(), (2, 3), 40)
    model = family.world([], GRID.t)
    acts = torch.randint(40, 60, (2, GRID.t - 1, 11), generator=torch.Generator().manual_seed(2))

    def condition(so_far: Sequence[Tensor]) -> Condition:
        return family.world([torch.stack(list(so_far))]).conditions[0]

    given = frames(2, 2, 40)
    session = session_of(model, given, condition, context_actions=[[act[0]] for act in acts])
    session.step(list(acts[:, 1]), pixels=False)
    forked = session.fork(1)
    session.step(list(acts[:, 2]), pixels=False)
    wanted = whole(model, given, [condition(list(act)) for act in acts])
    assert torch.equal(torch.stack(session.tokens), wanted)
    forked.step(list(acts[:, 2]), pixels=False)
    assert torch.equal(torch.stack(forked.tokens), wanted)


def test_it_slides_with_its_actions() -> None:
    model, acts = PushTModel(network()), actions(2)[:, :, :].flatten(0, 1)
    session = session_of(model, frames(1), torch.stack)
    for action in acts:
        step = session.step([action])
    assert session.latents == [6]
    assert step.frames[0].shape == (1, 2, 3, 3)
    chunk = session.snapshot().clips[0].chunk
    assert len(chunk.grid) == len(chunk.actions) + 1
    again = session_of(
        model, [torch.cat([chunk.before])[:2]], torch.stack, context_actions=[[chunk.actions[0]]]
    )
    assert torch.equal(again.snapshot().clips[0].chunk.grid, chunk.context)


def test_refusals() -> None:
    model, acts = PushTModel(network()), actions(1)
    free = PushTModel(network(), [torch.zeros(0, 4)])
    session = session_of(model, frames(1), torch.stack)
    for call, words in (
        (session.step, "follows actions"),
        (lambda: session.step([acts[0, 0], acts[0, 1]]), "one for each of 1 clip"),
        (lambda: session.step([[acts[0, 0]]], latents=2), "1 action for 2 latent frames"),
        (lambda: session.step([acts[0, 0] * 1e6]), "point of the world"),
        (lambda: session_of(model, frames(1, 2), torch.stack), "must have 1 of this clip"),
        (lambda: session_of(free, frames(1), None).step([acts[0, 0]]), "without a condition"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            call()
    assert session.latents == [0]
    session.step([acts[0, 0]])


def test_a_caller_may_write_into_the_arrays_it_gave() -> None:
    acts = actions(1)[0]
    session, other = (
        session_of(PushTModel(network()), frames(1, 2), torch.stack, context_actions=[[acts[0].clone()]])
        for _ in range(2)
    )
    own = torch.zeros_like(acts[0])
    for action in acts[1:3]:
        own.copy_(action)  # one buffer for all steps, as a control loop has it
        assert torch.equal(session.step([own]).tokens, other.step([action]).tokens)
    kept = session.snapshot().clips[0].chunk.actions
    assert all(map(torch.equal, kept, acts[:3]))
    assert not torch.equal(acts[1], acts[2])


def test_what_was_decided_may_be_fed_again() -> None:
    # A cache that a decode has made is written to by ``prefill`` too.
    acts = actions(1)[0]
    session, other = (
        session_of(PushTModel(network()), frames(1), torch.stack, context_actions=[[]]) for _ in range(2)
    )
    for action in acts:
        session.prefill([acts[0]])
        assert torch.equal(session.step([action]).tokens, other.step([action]).tokens)


@pytest.mark.unchecked
def test_a_condition_is_asked_for_and_looked_at() -> None:
    model, acts = PushTModel(network()), actions(1)[0]
    free = session_of(PushTModel(network(), [torch.zeros(0, 4)]), frames(1), None)
    session = session_of(model, frames(1, 2), model.condition, context_actions=[[acts[0].tolist()]])
    mark = session.snapshot()
    far = [9999.0] * 4
    for call, words in (
        (lambda: session_of(model, frames(1), None), "needs a condition: give condition="),
        (lambda: session_of(model, frames(1), 5), "must be a function"),
        (lambda: session_of(TinyVideoModel(vocab_size=11), frames(1), list), "follows no actions"),
        (lambda: session_of(model, frames(1, 2), model.condition, context_actions=[[far]]), "0 to 512"),
        (lambda: session_of(model, frames(1, 2), model.condition, context_actions=[None]), "list of actions"),
        (lambda: session.begin(0, frames(1, 2)[0], context_actions=[far]), "0 to 512"),
        (lambda: session.step([[1.0, 2.0]]), "must be 4 numbers, not 2 numbers"),
        (lambda: session.step([[1.0, 2.0, 3.0, float("nan")]]), "not finite"),
        (lambda: session.step([5], latents=2), "must be a list of actions, not 5"),
        (lambda: free.restore(mark), "the snapshot is of another session: .* there, and .* here"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            call()
    assert session.latents == [0]  # and goes on
    other = session_of(model, frames(1, 2), model.condition, context_actions=[[acts[0].tolist()]])
    assert torch.equal(session.step([acts[1].tolist()]).tokens, other.step([acts[1].tolist()]).tokens)
    seeded = Session(
        model,
        PaintedCodes(model.vocab_size, GRID.t),
        frames(1, 2),
        seed=8,
        condition=model.condition,
        context_actions=[[acts[0].tolist()]],
    )
    with pytest.raises(InvalidArgument, match="seed 3 there, and 8 here"):
        seeded.restore(mark)
