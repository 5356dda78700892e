"""Frames in, frames out: encode the context, decide tokens, turn them into frames, chunk after chunk."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from vidjacobi.config import DecoderConfig
from vidjacobi.decoding import context_ids, decode
from vidjacobi.errors import InvalidArgument
from vidjacobi.frames import as_seen, fit, to_uint8
from vidjacobi.model import VideoModel
from vidjacobi.shapes import Frames, GridTokens
from vidjacobi.state import Progress
from vidjacobi.tokenizer import VideoTokenizer
from vidjacobi.trace import Decoded


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
    def nfe(self) -> list[int]:
        """Passes per sample, prefills included."""
        return [sum(chunk.stats.nfe[k] for chunk in self.chunks) for k in range(len(self.predicted))]

    def token_hash(self, sample: int) -> str:
        """``hash_tokens`` of one sample's decided tokens, all chunks."""
        return hash_tokens([chunk.tokens[sample] for chunk in self.chunks])


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
    seed: int = 0,
    temperature: float | None = None,
    top_p: float = 0.8,
    top_k: int | None = None,
    measure: bool = False,
    observe: Callable[[Progress], None] | None = None,
) -> Rollout:
    """Predict ``new_frames`` frames behind the context ``frames``.

    Args:
        frames: the context, uint8 RGB ``[T H W 3]`` of any size; T = 1 + stride_t * k with room behind it.
        model, tokenizer: from ``vidjacobi.load``, or your own.
        new_frames: >= 1. Whole latent frames are decided and trimmed; beyond the tokenizer's ``max_frames`` it
            goes on in chunks, each with the last 1 + stride_t frames of the one before as context.
        samples: how many futures, each with noise of its own.
        clip_id, start: key of the noise; by default the sha256 of the context's tokens, and 0.
        decoder, window, seed, temperature, top_p, top_k, measure, observe: as ``vidjacobi.decode``.

    Raises:
        InvalidArgument: a number is out of range.
        BadModelOutput: the model returned NaN or infinite values.
    """
    check_lengths(len(frames), new_frames, samples, tokenizer)
    seen = fit(frames, tokenizer.frame_size)
    context = seen[None]
    made: list[UInt8[Tensor, "k N H W c"]] = []
    grids: list[GridTokens] = []
    chunks: list[Decoded] = []
    seconds = {"encode": 0.0, "decode": 0.0, "to_frames": 0.0}
    while (missing := new_frames - sum(part.shape[1] for part in made)) > 0:
        length = context.shape[2]
        count = min(missing, tokenizer.max_frames - length)
        began = time.perf_counter()
        given = tokenizer.encode(context).expand(samples, -1, -1, -1)
        encoded = time.perf_counter()
        clip_id = clip_id or context_ids(flatten(model, given[:1]))[0]
        decoded = decode(
            model,
            flatten(model, given),
            latent_frames(length + count, tokenizer) * given[0, 0].numel() - given[0].numel(),
            decoder,
            window,
            seed,
            temperature,
            top_p,
            top_k,
            [(clip_id, start, sample, len(chunks)) for sample in range(samples)],
            measure=measure,
            observe=observe,
        )
        decided = time.perf_counter()
        grid = torch.cat([given, decoded.tokens.unflatten(1, (-1, *given.shape[2:]))], 1)
        pixels = tokenizer.to_frames(grid)[:, :, length : length + count]
        made.append(torch.stack([to_uint8(video) for video in pixels]).cpu())
        grids.append(grid if not grids else grid[:, given.shape[1] :])
        chunks.append(decoded)
        done = time.perf_counter()
        for phase, spent in zip(seconds, (encoded - began, decided - encoded, done - decided), strict=True):
            seconds[phase] += spent
        shown = torch.cat([as_seen(seen).expand(samples, -1, -1, -1, -1), *made], 1)
        tail = shown[:, -(1 + tokenizer.stride_t) :]
        context = torch.stack([fit(clip, tokenizer.frame_size) for clip in tail])
    return Rollout(as_seen(seen), torch.cat(made, 1), torch.cat(grids, 1).cpu(), chunks, seconds)


def hash_tokens(parts: Sequence[Tensor]) -> str:
    """sha256 of tokens in this order (int32, little-endian, raster order)."""
    joined = torch.cat([part.flatten() for part in parts]).cpu()
    return sha256(joined.to(torch.int32).numpy().astype("<i4").tobytes()).hexdigest()


def check_lengths(context: int, new_frames: int, samples: int, tokenizer: VideoTokenizer) -> None:
    """Refuse a context that the tokenizer cannot take or that leaves no room, and counts below one."""
    step, most = tokenizer.stride_t, tokenizer.max_frames
    allowed = [1 + step * k for k in range(math.ceil((most - 1) / step))]
    if context not in allowed:
        raise InvalidArgument(
            f"a context of {context} frames does not fit the video tokenizer: use {', '.join(map(str, allowed))}"
        )
    if new_frames < 1:
        raise InvalidArgument(f"frames must be at least 1, not {new_frames}")
    if samples < 1:
        raise InvalidArgument(f"samples must be at least 1, not {samples}")


def latent_frames(frames: int, tokenizer: VideoTokenizer) -> int:
    """Latent frames that cover ``frames`` frames."""
    return 1 + math.ceil((frames - 1) / tokenizer.stride_t)


def flatten(model: VideoModel, grid: GridTokens) -> Int[Tensor, "b n"]:
    """Grid tokens in raster order, behind the model's special tokens."""
    prefix = torch.tensor(model.prefix_tokens, dtype=grid.dtype, device=grid.device)
    return torch.cat([prefix.expand(len(grid), -1), grid.flatten(1)], 1)
