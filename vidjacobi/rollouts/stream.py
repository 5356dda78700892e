"""A rollout whose frames are handed out group by group, while the rest is being decided."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.trace import Decoded, hash_tokens
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.tokenizer import StreamingTokenizer, VideoTokenizer
from vidjacobi.shapes import Frames


@dataclass(frozen=True, eq=False)
class FrameGroup:
    """Frames of one latent frame, made as soon as it and everything before it is decided.

    Attributes:
        sample: which future: 0, 1, ...
        first: index of the group's first frame among the predicted ones: 0 is the first after the context.
        frames: as many as the tokenizer makes of a latent frame (Cosmos: 8); the last group is trimmed.
        chunk: number of the decode that they are from; a rollout longer than ``max_frames`` has several.
        seconds: wall time spent on the rollout so far, without what the caller did between two groups.
    """

    sample: int
    first: int
    frames: Frames
    chunk: int
    seconds: float


@dataclass(frozen=True, eq=False)
class RolloutSummary:
    """A finished rollout without its frames.

    Attributes:
        context: the given frames as the model saw them, resized and cropped.
        predicted_frames: number of predicted frames of each sample.
        tokens: the whole latent grid of each sample: the context's, then all decided latent frames of all chunks.
        chunks: tokens, numbers and trace of every chunk; the rows are the samples.
        seconds: wall time of the phases encode, decode and to_frames.
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


Groups = Generator[FrameGroup, None, RolloutSummary]


class RolloutStream:
    """The groups of a rollout, in the order in which they are decided; those of one sample are in order.

    Passes and pixels are made when the next group is asked for. Nothing runs in the background, so a stream that is
    closed or dropped costs nothing more. The memory of a sample does not grow with its length, because frames that
    were handed out are not kept. Use it in ``with`` and ``for``.
    """

    def __init__(self, context: Frames, groups: Groups) -> None:
        self.context = context
        self._groups = groups
        self._summary: RolloutSummary | None = None

    def __iter__(self) -> Iterator[FrameGroup]:
        return self

    def __next__(self) -> FrameGroup:
        try:
            return next(self._groups)
        except StopIteration as stop:  # a generator's return value; a second one has none
            self._summary = stop.value or self._summary
            raise

    @property
    def summary(self) -> RolloutSummary:
        """Tokens and numbers of all samples. Raises InvalidArgument before the last group has been taken."""
        if self._summary is None:
            raise InvalidArgument("the rollout is not finished: its summary comes after its last group")
        return self._summary

    def close(self) -> None:
        """Stop decoding and free its memory."""
        self._groups.close()  # raises GeneratorExit at the pass where it waits, which closes the decode

    def __enter__(self) -> "RolloutStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def streaming(tokenizer: VideoTokenizer) -> StreamingTokenizer:
    """The tokenizer, if it can make frames latent frame by latent frame. Raises InvalidArgument."""
    if not isinstance(tokenizer, StreamingTokenizer):
        raise InvalidArgument(
            f"{type(tokenizer).__name__} makes frames of whole clips only: a stream needs a tokenizer with "
            "frame_stream (vidjacobi.models.tokenizer.StreamingTokenizer)"
        )
    tokenizer.frame_stream()  # it may have its own reasons why not
    return tokenizer
