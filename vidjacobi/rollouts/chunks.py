"""The loop of a rollout: chunk after chunk, and in each the frames of latent frames as soon as they are decided.

A tokenizer takes at most ``max_frames`` frames at once. A longer rollout is decoded in chunks, each with the last
1 + stride_t frames of the one before as its context. ``vidjacobi.batch`` follows the same plan.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.decoding.api import Decoder, choose_decoder, context_ids, decode_steps
from vidjacobi.decoding.recipe import Hooks, Progress
from vidjacobi.decoding.trace import Decoded, PartialDecode, Steps
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.models.codec import Detokenizer, as_seen, frames_to_tokens
from vidjacobi.models.protocol import VideoModel, conditions_of, flatten
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.rollouts.stream import FrameGroup, Groups, RolloutSummary
from vidjacobi.sampling.probs import DEFAULT_SAMPLING, SamplingParams
from vidjacobi.shapes import Frames, GridTokens


@dataclass(frozen=True)
class Chunk:
    """One decode of a rollout.

    Attributes:
        number: 0, 1, ...; a part of the key of its noise.
        context: frames given.
        first: index of its first frame among all predicted ones.
        count: frames predicted.
        latents: latent frames decided for them; the last one may stand for more frames than are wanted.
    """

    number: int
    context: int
    first: int
    count: int
    latents: int


Conditions = Sequence[Any] | Callable[[Chunk], Sequence[Any]]  # one for each sample


def plan_chunks(context: int, new_frames: int, tokenizer: VideoTokenizer) -> list[Chunk]:
    """The chunks of ``new_frames`` frames after ``context`` given ones.

    Cosmos (33 frames at once, 8 a latent frame) with 9 frames given and 40 wanted: 24 frames (3 latent frames), then
    after the last 9 of these 16 more (2 latent frames). Raises InvalidArgument where a chunk has no room for any.
    """
    chunks: list[Chunk] = []
    first = 0
    while first < new_frames:
        count = min(new_frames - first, tokenizer.max_frames - context)
        if count < 1:
            raise InvalidArgument(
                f"{number_of(new_frames, 'frame')} do not fit the video tokenizer, which takes "
                f"{tokenizer.max_frames} at once: "
                f"after {first} of them a context of {context} leaves no room"
            )
        chunks.append(Chunk(len(chunks), context, first, count, math.ceil(count / tokenizer.stride_t)))
        first += count
        context = 1 + tokenizer.stride_t  # two latent frames, whatever the first context was
    return chunks


def next_context(frames: Frames, tokenizer: VideoTokenizer) -> UInt8[Tensor, "n H W c"]:
    """The context of the chunk that follows ``frames``, given and predicted ones: the last two latent frames'."""
    return frames[-(1 + tokenizer.stride_t) :]


@dataclass(frozen=True, eq=False)
class RolloutRequest:
    """What a rollout is asked for; see ``vidjacobi.rollout``.

    Attributes:
        context: pixels of the given frames, from ``vidjacobi.models.codec.fit``.
    """

    context: Float[Tensor, "c T H W"]
    model: VideoModel
    tokenizer: VideoTokenizer
    new_frames: int
    samples: int
    clip_id: str | None = None
    start: int = 0
    decoder: str | DecoderConfig = "pathwise"
    window: int | None = None
    sampling: SamplingParams = DEFAULT_SAMPLING
    measure: bool = False
    observe: Callable[[Progress], None] | None = None
    conditions: Conditions | None = None

    def __post_init__(self) -> None:
        _ = self.chosen  # refuses a decoder that does not exist before anything is decoded

    @cached_property
    def chosen(self) -> Decoder:
        """The decoder at its window, with its sampling parameters. Raises InvalidArgument."""
        return choose_decoder(self.decoder, self.window, self.sampling)

    def conditions_of(self, chunk: Chunk) -> Sequence[Any] | None:
        """Those of a chunk, one for each sample."""
        return self.conditions(chunk) if callable(self.conditions) else self.conditions

    def names(self, chunk: Chunk, contexts: GridTokens) -> list[str]:
        """What keys the noise of each sample, from the first chunk. Raises InvalidArgument for other conditions."""
        if self.clip_id:
            return [self.clip_id] * self.samples
        tokens = flatten(self.model, contexts).expand(self.samples, -1)
        length = tokens.shape[1] + chunk.latents * contexts[0, 0].numel()
        found = conditions_of(self.model, self.conditions_of(chunk), [length] * self.samples)
        return context_ids(tokens, found and found[1])

    def steps(self, chunk: Chunk, contexts: GridTokens, names: Sequence[str]) -> Steps:
        """The passes of one chunk, of all samples together.

        Args:
            contexts: a grid for each sample, or one for all.
            names: of the clip, for each sample; they key the noise.
        """
        # the key of each sample's noise; with the token's position it fixes every draw
        ids = [(name, self.start, sample, chunk.number) for sample, name in enumerate(names)]
        tokens = flatten(self.model, contexts).expand(self.samples, -1)
        new_tokens = chunk.latents * contexts[0, 0].numel()
        hooks = Hooks(self.measure, self.observe)
        conditions = self.conditions_of(chunk)
        return decode_steps(self.model, tokens, new_tokens, self.chosen, ids, hooks, conditions)


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
        """Seconds of all phases."""
        return sum(self.seconds.values())


class ChunkedRollout:
    """A rollout under way: the frames of all samples and chunks, in the order in which they are decided.

    Args:
        request: what is asked for.
        detokenizer_of: makes the detokenizer of a chunk from the grids of its context: one for all samples in the
            first chunk, one for each in later ones.
    """

    def __init__(
        self, request: RolloutRequest, detokenizer_of: Callable[[GridTokens, Chunk], Detokenizer]
    ) -> None:
        self._request, self._detokenizer_of = request, detokenizer_of
        self._timer, self.seen = Timer(), as_seen(request.context)
        self._chunks = plan_chunks(len(self.seen), request.new_frames, request.tokenizer)
        if len(self._chunks) > 1 and not (request.conditions is None or callable(request.conditions)):
            raise InvalidArgument(
                f"conditions of a rollout in {number_of(len(self._chunks), 'chunk')}: give a function of the chunk "
                "that returns those of each sample, since a chunk begins where the last one ended"
            )
        # of each sample the last frames so far, which are the next chunk's context
        self._tails = [next_context(self.seen, request.tokenizer)] * request.samples

    def groups(self) -> Groups:
        """Make passes and frames as groups are asked for; the summary comes at the end."""
        request, timer = self._request, self._timer
        grids: list[GridTokens] = []  # [k t h w]: the first context, then what each chunk decided
        results: list[Decoded] = []
        for chunk in self._chunks:
            with timer("encode"):
                contexts = self._encode(chunk)
            if chunk.number == 0:
                names = request.names(chunk, contexts)
                grids.append(contexts.expand(request.samples, -1, -1, -1).cpu())
            decoded = yield from self._decode(chunk, contexts, names)
            grids.append(decoded.tokens.cpu().unflatten(1, (-1, *contexts.shape[2:])))
            results.append(decoded)
        return RolloutSummary(self.seen, request.new_frames, torch.cat(grids, 1), results, timer.seconds)

    def _encode(self, chunk: Chunk) -> GridTokens:
        """The context of a chunk: one grid where all samples still share it, else one each."""
        request = self._request
        if chunk.number == 0:
            return request.tokenizer.encode(request.context[None])  # of the pixels: ``seen`` is rounded
        return frames_to_tokens(self._tails, request.tokenizer)

    def _decode(
        self, chunk: Chunk, contexts: GridTokens, names: Sequence[str]
    ) -> Generator[FrameGroup, None, Decoded]:
        """Make the passes of a chunk, and its frames between them or after them."""
        request, timer = self._request, self._timer
        with timer("to_frames"):
            detokenizer = self._detokenizer_of(contexts, chunk)
        frames = ChunkFrames(chunk, contexts, detokenizer, request.tokenizer.stride_t)
        with closing(request.steps(chunk, contexts, names)) as steps:
            while True:
                try:
                    with timer("decode"):
                        partial = next(steps)
                except StopIteration as stop:
                    decoded: Decoded = stop.value
                    break
                # a pass in flight is not waited for: what it decides is handed out after the next one
                if detokenizer.while_decoding:
                    yield from self._hand_out(frames, partial)
                del partial  # it holds the decode's cache, which must be gone when whole clips are made
        # what is left of the chunk; for a detokenizer of whole chunks that is all of it
        reach = [decoded.tokens.shape[1]] * request.samples
        yield from self._hand_out(frames, PartialDecode(reach, decoded.tokens.__getitem__))
        return decoded

    def _hand_out(self, frames: "ChunkFrames", decode: PartialDecode) -> Iterator[FrameGroup]:
        """The groups that can be made now and could not before."""
        request, chunk = self._request, frames.chunk
        for sample, reach in enumerate(decode.reach):
            while frames.is_ready(sample, reach):
                with self._timer("to_frames"):
                    offset, made = frames.make_next(sample, decode.tokens(sample))
                whole = torch.cat([self._tails[sample], made])
                self._tails[sample] = next_context(whole, request.tokenizer)
                yield FrameGroup(sample, chunk.first + offset, made, chunk.number, self._timer.total)


class ChunkFrames:
    """Makes the frames of one chunk, each once and in order.

    Attributes:
        chunk, detokenizer: which one, and what makes its frames.
    """

    def __init__(self, chunk: Chunk, contexts: GridTokens, detokenizer: Detokenizer, stride: int) -> None:
        self.chunk, self.detokenizer = chunk, detokenizer
        self._stride, self._shape = stride, contexts.shape[2:]  # frames, and (h, w), of a latent frame
        self._made: Counter[int] = Counter()  # latent frames of each sample

    def is_ready(self, sample: int, reach: int) -> bool:
        """Whether the next frames of a sample can be made when its first ``reach`` new tokens are decided.

        With 24 tokens a latent frame and a step of 1, a reach of 60 makes two of them.
        """
        return self._made[sample] + self.detokenizer.step <= reach // self._shape.numel()

    def make_next(self, sample: int, tokens: Int[Tensor, " n"]) -> tuple[int, Frames]:
        """The next frames of a sample from its new tokens, and the place of the first of them in the chunk."""
        latent, step, size = self._made[sample], self.detokenizer.step, self._shape.numel()
        new = tokens[size * latent : size * (latent + step)].view(1, step, *self._shape)
        self._made[sample] = latent + step
        offset = self._stride * latent
        # the last latent frame of a chunk may stand for more frames than are wanted
        return offset, self.detokenizer.frames(sample, new)[: self.chunk.count - offset]
