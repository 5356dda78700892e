"""The loop of a rollout: chunk after chunk, and in each the frames of latent frames as they are decided."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.decoding.api import Decoder, context_ids, decode_steps
from vidjacobi.decoding.recipe import Hooks, Progress
from vidjacobi.decoding.trace import Decoded, PartialDecode, Steps
from vidjacobi.models.protocol import VideoModel, flatten
from vidjacobi.models.tokenizer import VideoTokenizer, latent_frames
from vidjacobi.rollouts.stream import FrameGroup, Groups, PaintEach, Painter, PaintWhole, Summary, streaming
from vidjacobi.shapes import Frames, GridTokens
from vidjacobi.video.pixels import as_seen, fit, to_uint8


@dataclass(frozen=True)
class Key:
    """Of the noise. ``clip`` None: the sha256 of the context's tokens."""

    clip: str | None
    start: int


@dataclass(frozen=True)
class Ask:
    """What a rollout is asked for, checked."""

    model: VideoModel
    tokenizer: VideoTokenizer
    context: Float[Tensor, "c T H W"]
    new_frames: int
    samples: int
    decoder: Decoder
    key: Key
    measure: bool
    observe: Callable[[Progress], None] | None
    stream: bool

    def steps(self, given: GridTokens, new_tokens: int, chunk: int) -> Steps:
        """The decode behind the latent frames ``given``."""
        key = self.key
        assert key.clip is not None
        ids = [(key.clip, key.start, sample, chunk) for sample in range(self.samples)]
        grid = flatten(self.model, given).expand(self.samples, -1)
        hooks = Hooks(self.measure, self.observe)
        return decode_steps(self.model, grid, new_tokens, self.decoder, ids, hooks)

    def named(self, given: GridTokens) -> "Ask":
        """The same with a clip id: by default that of the first chunk's context, whose tokens are ``given``."""
        if self.key.clip:
            return self
        return replace(self, key=replace(self.key, clip=context_ids(flatten(self.model, given[:1]))[0]))

    def painter(self, given: GridTokens, latents: int) -> Painter:
        """For a chunk with ``latents`` new latent frames."""
        if self.stream:
            return PaintEach(streaming(self.tokenizer), given, self.samples)
        return PaintWhole(self.tokenizer, given.expand(self.samples, -1, -1, -1), latents)


class Timer:
    """Wall seconds by phase; a phase may be entered many times."""

    def __init__(self) -> None:
        self.seconds = {"encode": 0.0, "decode": 0.0, "to_frames": 0.0}
        self._phase: str = ""
        self._began = 0.0

    def __call__(self, phase: str) -> "Timer":
        self._phase = phase
        return self

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._phase] += time.perf_counter() - self._began

    @property
    def total(self) -> float:
        """Of all phases."""
        return sum(self.seconds.values())


def groups_of(ask: Ask) -> Groups:
    """The groups of all samples and chunks. Without ``ask.stream`` all frames of a chunk and sample are one group."""
    timer, context, made = Timer(), ask.context[None], 0
    tails = [as_seen(ask.context)[-1 - ask.tokenizer.stride_t :]] * ask.samples  # the next chunk's context
    grids: list[GridTokens] = []
    chunks: list[Decoded] = []
    while made < ask.new_frames:
        length = context.shape[2]
        count = min(ask.new_frames - made, ask.tokenizer.max_frames - length)
        with timer("encode"):
            given = ask.tokenizer.encode(context)
        ask = ask.named(given)
        decoded = yield from _of_chunk(ask, given, Place(len(chunks), made, count), timer, tails)
        if not grids:
            grids.append(given.expand(ask.samples, -1, -1, -1).cpu())
        grids.append(decoded.tokens.cpu().unflatten(1, (-1, *given.shape[2:])))
        chunks.append(decoded)
        made += count
        context = torch.stack([fit(tail, ask.tokenizer.frame_size) for tail in tails])
    return Summary(as_seen(ask.context), made, torch.cat(grids, 1), chunks, timer.seconds)


@dataclass(frozen=True)
class Place:
    """A chunk: its number, its first predicted frame and how many it has."""

    chunk: int
    first: int
    count: int


def _of_chunk(
    ask: Ask, given: GridTokens, place: Place, timer: Timer, tails: list[Frames]
) -> Generator[FrameGroup, None, Decoded]:
    """The groups of one chunk; the last frames of each sample go to ``tails``."""
    making = Making(ask, given, place, timer, tails)
    with closing(ask.steps(given, making.new_tokens, place.chunk)) as steps:
        while True:
            try:
                with timer("decode"):
                    standing = next(steps)
            except StopIteration as stop:
                decoded: Decoded = stop.value
                break
            if ask.stream:
                yield from making.groups(standing)
            del standing  # it holds the decode's cache, which is to be gone when whole clips are made
    yield from making.groups(PartialDecode([making.new_tokens] * ask.samples, decoded.tokens.__getitem__))
    return decoded


class Making:
    """Makes the frames of one chunk out of what is decided of it."""

    def __init__(self, ask: Ask, given: GridTokens, place: Place, timer: Timer, tails: list[Frames]) -> None:
        self._place, self._timer, self._tails = place, timer, tails
        self._size, self._stride = given.shape[2:], ask.tokenizer.stride_t
        latents = latent_frames(1 + place.count, ask.tokenizer) - 1
        self._frame = given[0, 0].numel()  # tokens of a latent frame
        self.new_tokens = latents * self._frame
        self._done = [0] * ask.samples
        with timer("to_frames"):
            self._painter = ask.painter(given, latents)

    def groups(self, standing: PartialDecode) -> Iterator[FrameGroup]:
        """What can be made now and was not before."""
        step, place = self._painter.step, self._place
        for sample, reach in enumerate(standing.reach):
            for latent in range(self._done[sample], reach // self._frame - step + 1, step):
                shown, self._done[sample] = self._stride * latent, latent + step
                with self._timer("to_frames"):
                    new = standing.tokens(sample)[self._frame * latent : self._frame * (latent + step)]
                    pixels = self._painter.paint(sample, new.view(1, step, *self._size))[0]
                    frames = to_uint8(pixels)[: place.count - shown].cpu()
                self._tails[sample] = torch.cat([self._tails[sample], frames])[-1 - self._stride :]
                yield FrameGroup(sample, place.first + shown, frames, place.chunk, self._timer.total)
