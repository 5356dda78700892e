"""A rollout whose frames are handed out group by group, while the rest is being decided."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.trace import Decoded, hash_tokens
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.tokenizer import FrameStream, StreamingTokenizer, VideoTokenizer
from vidjacobi.shapes import Frames, GridTokens, Pixels


@dataclass(frozen=True, eq=False)
class FrameGroup:
    """Frames of one latent frame, made as soon as it and everything in front of it is decided.

    Attributes:
        sample: which future, 0, 1, ...
        first: index of the group's first frame among the predicted ones: 0 is the first behind the context.
        frames: as many as the tokenizer makes of a latent frame (Cosmos: 8); the last group is trimmed.
        chunk: of a rollout that is longer than the tokenizer's ``max_frames``.
        seconds: spent on the rollout so far; what the caller did between two groups is not in it.
    """

    sample: int
    first: int
    frames: Frames
    chunk: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Summary:
    """A finished rollout without its frames.

    Attributes:
        context: as the model saw it, resized and cropped.
        predicted_frames: of each sample.
        tokens: the whole latent grid: the context's and all decided frames of all chunks.
        chunks: tokens, numbers and trace of every chunk; the batch is the samples.
        seconds: wall time of encode, decode and to_frames.
    """

    context: Frames
    predicted_frames: int
    tokens: Int[Tensor, "k t h w"]
    chunks: list[Decoded]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def nfe(self) -> list[int]:
        """Passes per sample, prefills included."""
        return [sum(chunk.stats.nfe[k] for chunk in self.chunks) for k in range(len(self.tokens))]

    def token_hash(self, sample: int) -> str:
        """``hash_tokens`` of one sample's decided tokens, all chunks."""
        return hash_tokens([chunk.tokens[sample] for chunk in self.chunks])


Groups = Generator[FrameGroup, None, Summary]


class RolloutStream:
    """The groups of a rollout, in the order in which they are decided; those of one sample are in order.

    Passes are made, and pixels, when the next group is asked for: nothing runs in the background, and a stream
    that is closed or dropped costs nothing more. A sample needs the memory of its stream through the tokenizer,
    whatever its length; frames that were handed out are not kept. For ``with`` and ``for``.
    """

    def __init__(self, context: Frames, groups: Groups) -> None:
        self.context = context
        self._groups = groups
        self._summary: Summary | None = None

    def __iter__(self) -> Iterator[FrameGroup]:
        return self

    def __next__(self) -> FrameGroup:
        try:
            return next(self._groups)
        except StopIteration as stop:
            self._summary = stop.value or self._summary
            raise

    @property
    def summary(self) -> Summary:
        """Tokens and numbers of all samples. Raises InvalidArgument before the last group has been taken."""
        if self._summary is None:
            raise InvalidArgument("the rollout is not finished: its summary comes behind its last group")
        return self._summary

    def close(self) -> None:
        """Stop decoding and give the memory back."""
        self._groups.close()

    def __enter__(self) -> "RolloutStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@runtime_checkable
class Painter(Protocol):
    """What makes the pixels of a chunk's decided latent frames."""

    step: int  # latent frames that it takes at a time

    def paint(self, sample: int, latents: GridTokens) -> Pixels:
        """The next ``step`` decided latent frames ``[1 step h w]`` of a sample to their frames."""
        ...


class PaintWhole:
    """All latent frames of a chunk at once, with any tokenizer."""

    def __init__(self, tokenizer: VideoTokenizer, given: GridTokens, step: int) -> None:
        self.step = step
        self._tokenizer, self._given = tokenizer, given

    def paint(self, sample: int, latents: GridTokens) -> Pixels:
        """See Painter."""
        given = self._given[sample : sample + 1]
        pixels = self._tokenizer.to_frames(torch.cat([given, latents.to(given.device)], 1))
        return pixels[:, :, 1 + self._tokenizer.stride_t * (given.shape[1] - 1) :]


class PaintEach:
    """Latent frame by latent frame. Samples of one context (``given`` has one row) share the work on it."""

    def __init__(self, tokenizer: StreamingTokenizer, given: GridTokens, samples: int) -> None:
        self.step = 1
        begun = [_behind(tokenizer.frame_stream(), context) for context in given.split(1)]
        self._streams = begun if len(begun) == samples else [begun[0].fork() for _ in range(samples)]

    def paint(self, sample: int, latents: GridTokens) -> Pixels:
        """See Painter."""
        return self._streams[sample].add(latents)


def _behind(stream: FrameStream, context: GridTokens) -> FrameStream:
    """The stream behind a context, whose own frames are not wanted."""
    for latent in context.split(1, 1):
        stream.add(latent)
    return stream


def streaming(tokenizer: VideoTokenizer) -> StreamingTokenizer:
    """The tokenizer, if it can go on where it stopped. Raises InvalidArgument."""
    if not isinstance(tokenizer, StreamingTokenizer):
        raise InvalidArgument(
            f"{type(tokenizer).__name__} makes frames of whole clips only: a stream needs a tokenizer with "
            "frame_stream (vidjacobi.models.tokenizer.StreamingTokenizer)"
        )
    tokenizer.frame_stream()  # it may have its own reasons why not
    return tokenizer
