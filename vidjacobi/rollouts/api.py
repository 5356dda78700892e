"""Frames in, frames out: encode the context, decide tokens, turn them into frames, chunk after chunk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict, overload

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from typing_extensions import Unpack

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.decoding.recipe import Progress
from vidjacobi.decoding.trace import Decoded
from vidjacobi.kinds import check_members, of_kind, whole
from vidjacobi.models.codec import (
    Detokenizer,
    IncrementalDetokenizer,
    WholeDetokenizer,
    check_frames,
    fit,
)
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer, check_lengths
from vidjacobi.rollouts.chunks import Chunk, ChunkedRollout, Conditions, RolloutRequest
from vidjacobi.rollouts.stream import RolloutStream, RolloutSummary, streaming
from vidjacobi.sampling.probs import DEFAULT_SAMPLING, SamplingParams
from vidjacobi.shapes import Frames, GridTokens


@dataclass(frozen=True)
class Rollout:
    """Predicted futures of one clip.

    Attributes:
        context: the given frames as the model saw them, resized and cropped.
        predicted: the frames after the context, one row per sample.
        tokens: the whole latent grid of each sample: the context's, then all decided latent frames of all chunks.
        chunks: tokens, numbers and trace of every chunk; the rows are the samples.
        seconds: wall time of the phases encode, decode and to_frames.
    """

    context: Frames
    predicted: UInt8[Tensor, "k N H W c"]
    tokens: Int[Tensor, "k t h w"]
    chunks: list[Decoded]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def summary(self) -> RolloutSummary:
        """Everything but the predicted frames."""
        return RolloutSummary(self.context, self.predicted.shape[1], self.tokens, self.chunks, self.seconds)

    @property
    def nfe(self) -> list[int]:
        """Passes per sample, prefills included."""
        return self.summary.nfe

    def token_hash(self, sample: int) -> str:
        """``hash_tokens`` of one sample's decided tokens, all chunks."""
        return self.summary.token_hash(sample)


class RolloutOptions(TypedDict, total=False):
    """Arguments by name of ``rollout`` and ``stream_rollout``; ``rollout`` says what they mean."""

    decoder: str | DecoderConfig
    window: int | None
    sampling: SamplingParams
    clip_id: str | None
    start: int
    measure: bool
    observe: Callable[[Progress], None] | None
    conditions: Conditions | None


@overload
def rollout(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int = 24,
    samples: int = 1,
    *,
    stream: Literal[False] = False,
    **options: Unpack[RolloutOptions],
) -> Rollout: ...


@overload
def rollout(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int = 24,
    samples: int = 1,
    *,
    stream: Literal[True],
    **options: Unpack[RolloutOptions],
) -> RolloutStream: ...


def rollout(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int = 24,
    samples: int = 1,
    *,
    stream: bool = False,
    **options: Unpack[RolloutOptions],
) -> Rollout | RolloutStream:
    """Predict the ``new_frames`` frames after the context ``frames``.

    Args:
        frames: the context, uint8 RGB ``[T H W 3]`` of any size; T = 1 + stride_t * k, less than ``max_frames``.
        model, tokenizer: from ``vidjacobi.load``, or your own.
        new_frames: >= 1. Whole latent frames are decided and trimmed. What exceeds the tokenizer's ``max_frames``
            follows in chunks, each with the last 1 + stride_t frames of the one before as context.
        samples: how many futures, each with noise of its own.
        stream: the same as calling ``stream_rollout``.
        decoder: a shipped decoder's name, a YAML path or a DecoderConfig ("pathwise").
        window: positions per pass, >= 1 (None: the decoder's own).
        sampling: temperature, top-p, top-k and seed.
        clip_id, start: they key the noise (None: the sha256 of the context's tokens and the condition; 0).
        measure: synchronise a GPU around every pass so that the trace's seconds mean something (False).
        observe: called once per pass with the progress (None).
        conditions: one for each sample, where the model takes them (``vidjacobi.decode``), or a function that returns
            those of a ``vidjacobi.rollouts.chunks.Chunk``, which a rollout in several chunks needs (None: the
            model's own).

    Raises:
        InvalidArgument: a number or name is out of range or of the wrong type, or (with ``stream``) the tokenizer
            cannot stream.
        BadModelOutput: the model returned NaN or infinite values.
    """
    if stream:
        return stream_rollout(frames, model, tokenizer, new_frames, samples, **options)
    request = _request(frames, model, tokenizer, new_frames, samples, options)

    # A whole chunk at once, after its decode: any tokenizer can do that, and the cache is gone by then.
    def detokenizer(contexts: GridTokens, chunk: Chunk) -> Detokenizer:
        return WholeDetokenizer(tokenizer, contexts.expand(samples, -1, -1, -1), chunk.latents)

    groups = _groups(request, detokenizer)
    parts: list[list[Frames]] = [[] for _ in range(samples)]  # one group a sample and chunk
    for group in groups:
        parts[group.sample].append(group.frames)
    end, predicted = groups.summary, torch.stack([torch.cat(part) for part in parts])
    return Rollout(end.context, predicted, end.tokens, end.chunks, end.seconds)


def stream_rollout(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int = 24,
    samples: int = 1,
    **options: Unpack[RolloutOptions],
) -> RolloutStream:
    """``rollout``, but the frames of each latent frame are handed out as soon as it is decided.

    Tokens and frames are the same, and so are arguments and errors. The tokenizer must be a ``StreamingTokenizer``.
    """
    request = _request(frames, model, tokenizer, new_frames, samples, options)
    able = streaming(tokenizer)

    # Latent frame by latent frame; in the first chunk the samples fork one stream that has read the context.
    def detokenizer(contexts: GridTokens, chunk: Chunk) -> Detokenizer:
        return IncrementalDetokenizer(able, contexts, samples)

    return _groups(request, detokenizer)


def _request(
    frames: Frames,
    model: VideoModel,
    tokenizer: VideoTokenizer,
    new_frames: int,
    samples: int,
    options: RolloutOptions,
) -> RolloutRequest:
    check_names(options)
    check_members("the model", model, VideoModel)
    check_members("the tokenizer", tokenizer, VideoTokenizer)
    check_frames(frames)
    check_lengths(len(frames), new_frames, samples, tokenizer)
    if options.get("clip_id") is not None:
        of_kind("clip_id", options["clip_id"], str, "a name")
    whole("start", options.get("start", 0))
    # only the pixels are kept: the caller's frames may be much larger
    pixels = fit(frames, tokenizer.frame_size)
    return RolloutRequest(pixels, model, tokenizer, new_frames, samples, **options)


def check_names(options: Mapping[str, object]) -> None:
    """Raise TypeError, as Python would, for what is no argument of ``rollout``."""
    known = RolloutOptions.__annotations__
    for name in set(options) - set(known):
        near = (
            f"; sampling=vidjacobi.SamplingParams({name}=...) has it"
            if hasattr(DEFAULT_SAMPLING, name)
            else ""
        )
        raise TypeError(
            f"rollout() got an unexpected keyword argument {name!r}{near}; its options are {', '.join(known)}"
        )


def _groups(
    request: RolloutRequest, detokenizer: Callable[[GridTokens, Chunk], Detokenizer]
) -> RolloutStream:
    chunked = ChunkedRollout(request, detokenizer)
    return RolloutStream(chunked.seen, chunked.groups())
