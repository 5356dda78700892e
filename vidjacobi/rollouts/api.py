"""Frames in, frames out: encode the context, decide tokens, turn them into frames, chunk after chunk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, overload

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.decoding.api import choose_decoder
from vidjacobi.decoding.recipe import Progress
from vidjacobi.decoding.trace import Decoded
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer, check_lengths
from vidjacobi.rollouts.chunks import Ask, Key, groups_of
from vidjacobi.rollouts.stream import RolloutStream, Summary, streaming
from vidjacobi.sampling.probs import DEFAULT_SAMPLING, SamplingParams
from vidjacobi.shapes import Frames
from vidjacobi.video.pixels import as_seen, fit


@dataclass(frozen=True)
class Rollout:
    """Predicted futures of one clip.

    Attributes:
        context: the context as the model saw it, resized and cropped.
        predicted: frames behind it, one row per sample.
        tokens: the whole latent grid: the context's and all decided frames of all chunks.
        chunks: tokens, numbers and trace of every chunk; the batch is the samples.
        seconds: wall time of encode, decode and to_frames.
    """

    context: Frames
    predicted: UInt8[Tensor, "k N H W c"]
    tokens: Int[Tensor, "k t h w"]
    chunks: list[Decoded]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        """Everything but the predicted frames."""
        return Summary(self.context, self.predicted.shape[1], self.tokens, self.chunks, self.seconds)

    @property
    def nfe(self) -> list[int]:
        """Passes per sample, prefills included."""
        return self.summary.nfe

    def token_hash(self, sample: int) -> str:
        """``hash_tokens`` of one sample's decided tokens, all chunks."""
        return self.summary.token_hash(sample)


@overload
def rollout(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int = 24,
    samples: int = 1,
    clip_id: str | None = None,
    start: int = 0,
    *,
    decoder: str | DecoderConfig = "pathwise",
    window: int | None = None,
    sampling: SamplingParams = DEFAULT_SAMPLING,
    measure: bool = False,
    observe: Callable[[Progress], None] | None = None,
    stream: Literal[False] = False,
) -> Rollout: ...


@overload
def rollout(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int = 24,
    samples: int = 1,
    clip_id: str | None = None,
    start: int = 0,
    *,
    decoder: str | DecoderConfig = "pathwise",
    window: int | None = None,
    sampling: SamplingParams = DEFAULT_SAMPLING,
    measure: bool = False,
    observe: Callable[[Progress], None] | None = None,
    stream: Literal[True],
) -> RolloutStream: ...


def rollout(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int = 24,
    samples: int = 1,
    clip_id: str | None = None,
    start: int = 0,
    *,
    decoder: str | DecoderConfig = "pathwise",
    window: int | None = None,
    sampling: SamplingParams = DEFAULT_SAMPLING,
    measure: bool = False,
    observe: Callable[[Progress], None] | None = None,
    stream: bool = False,
) -> Rollout | RolloutStream:
    """Predict ``new_frames`` frames behind the context ``frames``.

    Args:
        frames: the context, uint8 RGB ``[T H W 3]`` of any size; T = 1 + stride_t * k with room behind it.
        model, tokenizer: from ``vidjacobi.load``, or your own.
        new_frames: >= 1. Whole latent frames are decided and trimmed; beyond the tokenizer's ``max_frames`` it
            goes on in chunks, each with the last 1 + stride_t frames of the one before as context.
        samples: how many futures, each with noise of its own.
        clip_id, start: key of the noise; by default the sha256 of the context's tokens, and 0.
        decoder, window, sampling, measure, observe: as ``vidjacobi.decode``.
        stream: hand out the frames of each latent frame as soon as it is decided: the same tokens and frames,
            as a ``vidjacobi.rollouts.stream.RolloutStream`` of ``FrameGroup``. The tokenizer must be a
            ``StreamingTokenizer``.

    Raises:
        InvalidArgument: a number is out of range, or the tokenizer cannot stream.
        BadModelOutput: the model returned NaN or infinite values.
    """
    check_lengths(len(frames), new_frames, samples, tokenizer)
    if stream:
        streaming(tokenizer)
    ask = Ask(
        model=model,
        tokenizer=tokenizer,
        context=fit(frames, tokenizer.frame_size),
        new_frames=new_frames,
        samples=samples,
        decoder=choose_decoder(decoder, window, sampling),
        key=Key(clip_id, start),
        measure=measure,
        observe=observe,
        stream=stream,
    )
    return RolloutStream(as_seen(ask.context), groups_of(ask)) if stream else collect(ask)


def collect(ask: Ask) -> Rollout:
    """Take all groups."""
    parts: list[list[Frames]] = [[] for _ in range(ask.samples)]
    groups = groups_of(ask)
    while True:
        try:
            group = next(groups)
        except StopIteration as stop:
            end: Summary = stop.value
            frames = torch.stack([torch.cat(part) for part in parts])
            return Rollout(end.context, frames, end.tokens, end.chunks, end.seconds)
        parts[group.sample].append(group.frames)
