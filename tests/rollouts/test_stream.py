"""A streamed rollout: the whole one's tokens and frames, group by group, as early as they are decided."""

import weakref
from collections.abc import Callable
from inspect import isgeneratorfunction, unwrap
from pathlib import Path
from typing import Any

import pytest
import torch

import vidjacobi
from vidjacobi.config.decoder import load_decoder
from vidjacobi.decoding.api import choose_decoder, context_ids, decode_steps
from vidjacobi.decoding.methods import METHODS
from vidjacobi.decoding.recipe import NO_HOOKS
from vidjacobi.decoding.trace import finish
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.loading import Pair
from vidjacobi.rollouts.stream import FrameGroup, RolloutStream
from vidjacobi.sampling.probs import SamplingParams

pytestmark = pytest.mark.unchecked

# one lane, the plain oracle, and lanes that decide latent frames out of their order
DECODERS = [
    "pathwise",
    "diagonal",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("ar", "fast", "pjd", "zipar", "temporal")),
]


@pytest.fixture(scope="module")
def pair(tiny_pair: Path) -> Pair:
    """24 tokens a latent frame, at most 33 frames at once."""
    return vidjacobi.load(tiny_pair, "cpu", "float64")


@pytest.fixture(scope="module")
def context() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (1, 40, 70, 3), generator=generator, dtype=torch.uint8)
    return torch.cat([picture.roll(i, 2) for i in range(9)])


def joined(groups: list[FrameGroup], samples: int) -> torch.Tensor:
    """All frames ``[k N H W 3]``; each sample's groups must be in order."""
    found = []
    for sample in range(samples):
        own = [group for group in groups if group.sample == sample]
        ends = [group.first + len(group.frames) for group in own]
        assert [group.first for group in own] == [0, *ends[:-1]]
        found.append(torch.cat([group.frames for group in own]))
    return torch.stack(found)


@pytest.mark.parametrize("decoder", DECODERS)
def test_same_tokens_and_frames(pair: Pair, context: torch.Tensor, decoder: str) -> None:
    ask: dict[str, Any] = {
        "new_frames": 21,
        "samples": 2,
        "decoder": decoder,
        "sampling": SamplingParams(seed=3),
    }
    whole = vidjacobi.rollout(context, *pair, **ask)
    stream = vidjacobi.rollout(context, *pair, **ask, stream=True)
    groups = list(stream)
    assert torch.equal(joined(groups, 2), whole.predicted)
    assert sorted(len(group.frames) for group in groups) == [5, 5, 8, 8, 8, 8]
    assert torch.equal(stream.context, whole.context)
    assert torch.equal(stream.summary.tokens, whole.tokens)
    assert stream.summary.nfe == whole.nfe
    assert stream.summary.token_hash(1) == whole.token_hash(1)
    assert stream.summary.predicted_frames == 21


@pytest.mark.parametrize("length", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_all_chunks(pair: Pair, context: torch.Tensor, length: int) -> None:
    frames = context.repeat(3, 1, 1, 1)[:length]
    whole = vidjacobi.rollout(frames, *pair, 45, 2)
    name = context_ids(whole.tokens[:1, : 1 + length // 8].flatten(1))[0]
    assert torch.equal(vidjacobi.rollout(frames, *pair, 45, 2, clip_id=name).tokens, whole.tokens)
    stream = vidjacobi.rollout(frames, *pair, 45, 2, stream=True)
    groups = list(stream)
    assert torch.equal(joined(groups, 2), whole.predicted)
    assert torch.equal(stream.summary.tokens, whole.tokens)
    assert [len(chunk.tokens[0]) for chunk in stream.summary.chunks] == [
        len(chunk.tokens[0]) for chunk in whole.chunks
    ]
    assert {group.chunk for group in groups} == set(range(len(whole.chunks)))
    seconds = [group.seconds for group in groups]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= sum(stream.summary.seconds.values())


@pytest.mark.parametrize("decoder", DECODERS)
def test_groups_come_as_soon_as_they_are_decided(pair: Pair, context: torch.Tensor, decoder: str) -> None:
    passes: list[int] = []
    stream = vidjacobi.rollout(
        context, *pair, decoder=decoder, stream=True, observe=lambda progress: passes.append(progress.passes)
    )
    seen = []
    for _ in stream:
        seen.append(passes[-1])
    marks = stream.summary.chunks[0].trace.decided_in[0].view(3, 24)
    decided = (
        marks.cummax(0).values.amax(1).tolist()
    )  # the pass that decided a frame and everything before it
    assert [late - made for late, made in zip(seen, decided, strict=True)] == [0, 0, 0]
    assert seen[0] < seen[-1]


def counting(pair: Pair, breaks_at: int | None = None) -> tuple[Pair, Callable[[], int]]:
    """The pair with a model that counts its passes, and returns NaN from one of them on."""
    model, tokenizer = pair

    class Counted:
        made = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def forward(self, *inputs: Any) -> torch.Tensor:
            self.made += 1
            logits = model.forward(*inputs)
            return logits * float("nan") if self.made == breaks_at else logits

    counted = Counted()
    return (counted, tokenizer), lambda: counted.made  # type: ignore[return-value]


def test_nothing_runs_ahead_and_close_stops(pair: Pair, context: torch.Tensor) -> None:
    (model, tokenizer), made = counting(pair)
    stream = vidjacobi.rollout(context, model, tokenizer, decoder="ar", stream=True)
    assert made() == 0
    next(stream)
    assert made() == 23  # the prefill decides the first of 24
    stream.close()
    assert list(stream) == []
    assert made() == 23
    with pytest.raises(InvalidArgument, match="not finished"):
        _ = stream.summary
    with vidjacobi.rollout(context, model, tokenizer, decoder="pathwise", stream=True) as other:
        next(other)
        before = made()
    assert list(other) == []
    assert made() == before


def test_errors_come_through_after_what_was_finished(pair: Pair, context: torch.Tensor) -> None:
    (model, tokenizer), _ = counting(pair, breaks_at=30)
    stream = vidjacobi.rollout(context, model, tokenizer, decoder="ar", stream=True)
    assert next(stream).first == 0
    with pytest.raises(BadModelOutput):
        next(stream)
    assert list(stream) == []


def test_frames_that_were_handed_out_are_not_kept(pair: Pair, context: torch.Tensor) -> None:
    stream = vidjacobi.rollout(context, *pair, 30, decoder="zipar", stream=True)
    alive = [weakref.ref(group.frames) for group in stream]
    assert [ref() for ref in alive[:-1]] == [None] * (len(alive) - 1)


def test_refused_at_once(pair: Pair, context: torch.Tensor) -> None:
    model, tokenizer = pair

    class WholeOnly:
        frame_size, stride_t, max_frames = tokenizer.frame_size, tokenizer.stride_t, tokenizer.max_frames
        encode, to_frames = tokenizer.encode, tokenizer.to_frames

    assert vidjacobi.rollout(context, model, WholeOnly(), 1).predicted.shape[1] == 1
    with pytest.raises(InvalidArgument, match="WholeOnly makes frames of whole clips only"):
        vidjacobi.rollout(context, model, WholeOnly(), 1, stream=True)
    with pytest.raises(InvalidArgument, match="frames must be at least 1"):
        vidjacobi.rollout(context, *pair, 0, stream=True)
    with pytest.raises(InvalidArgument, match="window must be at least 1"):
        vidjacobi.rollout(context, *pair, window=0, stream=True)


def test_it_is_an_iterator(pair: Pair, context: torch.Tensor) -> None:
    stream = vidjacobi.rollout(context, *pair, 1, stream=True)
    assert isinstance(stream, RolloutStream)
    assert iter(stream) is stream
    (only,) = stream
    assert only.frames.shape == (1, 32, 48, 3)


def test_every_method_gives_steps() -> None:
    """And each is one of the decoders that are tried here."""
    tried = {load_decoder(name).method for name in ("pathwise", "ar")}
    assert METHODS.keys() == tried
    assert all(isgeneratorfunction(unwrap(steps)) for steps in METHODS.values())


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_in_reach_stays(pair: Pair, decoder: str) -> None:
    """Clips of different lengths; two share a prefill, so that rows of finished clips are given to others."""
    model, _ = pair
    generator = torch.Generator().manual_seed(5)
    contexts = [torch.randint(0, 64, (count,), generator=generator) for count in (48, 24)]
    contexts.append(contexts[0])
    chosen = choose_decoder(decoder, None, SamplingParams())
    steps, again = (
        decode_steps(model, contexts, [30, 70, 5], chosen, ["a", "b", "c"], NO_HOOKS) for _ in range(2)
    )
    known = [torch.zeros(0, dtype=torch.long)] * 3
    reaches = []
    while True:
        try:
            standing = next(steps)
        except StopIteration as stop:
            decoded = stop.value
            break
        reaches.append(standing.reach)
        for clip, reach in enumerate(standing.reach):
            tokens = standing.tokens(clip)[:reach]
            assert torch.equal(tokens[: len(known[clip])], known[clip])
            known[clip] = tokens.clone()
    assert reaches[-1] == [30, 70, 5]
    assert (torch.tensor(reaches).diff(dim=0) >= 0).all()
    for clip, tokens in enumerate(known):
        assert torch.equal(decoded.tokens[clip, : len(tokens)], tokens)
    assert torch.equal(decoded.tokens, finish(again).tokens)


def test_whole_clips_are_made_when_the_cache_is_gone(pair: Pair, context: torch.Tensor) -> None:
    model, tokenizer = pair
    caches: list[weakref.ref[torch.Tensor]] = []

    class Watched:
        frame_size, stride_t, max_frames = tokenizer.frame_size, tokenizer.stride_t, tokenizer.max_frames
        encode = tokenizer.encode

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def make_cache(self, batch: int, slots: int) -> Any:
            cache = model.make_cache(batch, slots)
            caches.append(weakref.ref(cache[0][0]))
            return cache

        def to_frames(self, tokens: torch.Tensor) -> torch.Tensor:
            assert [cache() for cache in caches] == [None] * len(caches)
            return tokenizer.to_frames(tokens)

    for decoder in ("pathwise", "ar"):
        watched: Any = Watched()
        vidjacobi.rollout(context, watched, watched, 2, 2, decoder=decoder)
    assert len(caches) >= 2
