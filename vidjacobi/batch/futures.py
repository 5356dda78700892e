"""A future on its way: what is asked of the decoder, and from its tokens to frames, next chunk and finished item."""

import time
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.batch.contexts import Context
from vidjacobi.batch.future_files import StepOutput
from vidjacobi.batch.manifest import Row
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.decoding.clip_queue import Finished, Request
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.loading import Pair
from vidjacobi.models.protocol import flatten
from vidjacobi.models.tokenizer import latent_frames
from vidjacobi.shapes import Frames
from vidjacobi.video.pixels import fit, to_uint8


@dataclass(eq=False)
class Future:
    """One sample of a context: the numbers and tokens of the chunks that are decided so far.

    ``grids``: of each chunk, without what the one before had too. ``predicted``: frames that they stand for.
    """

    context: Context
    sample: int
    predicted: int = 0
    decided: list[Int[Tensor, " n"]] = field(default_factory=list)
    grids: list[Int[Tensor, "t h w"]] = field(default_factory=list)
    frames: list[Frames] = field(default_factory=list)
    nfe: int = 0
    seconds: float = 0.0
    seconds_frames: float = 0.0

    def made(self, config: BatchConfig) -> StepOutput:
        """For the files."""
        frames = torch.cat([self.context.seen, *self.frames]) if config.output != "tokens" else None
        return StepOutput(torch.cat(self.grids), len(self.context.grid), frames, self.context.fps)

    def row(self) -> Row:
        """For the manifest, without paths."""
        tokens = sum(map(len, self.decided))
        return replace(
            self.context.row(self.sample),
            tokens_sha256=hash_tokens(self.decided),
            nfe=self.nfe,
            new_tokens=tokens,
            tokens_per_pass=tokens / self.nfe,
            seconds=self.seconds,
            seconds_frames=self.seconds_frames,
        )


def most_positions(config: BatchConfig, pair: Pair) -> int:
    """Positions of the longest chunk, special tokens included."""
    longest = min(config.clip_frames, pair[1].max_frames)
    frame = pair[0].grid_for(1).frame_tokens
    return len(pair[0].prefix_tokens) + latent_frames(longest, pair[1]) * frame


def first_chunk(context: Context, config: BatchConfig, pair: Pair) -> Request:
    """What is to be decoded behind a context: as ``vidjacobi.rollout`` does with the episode's id and start."""
    task = context.task
    new_tokens = _new_tokens(config.context, config.frames, context, pair)
    return Request(
        flatten(pair[0], context.grid[None])[0],
        new_tokens,
        task.episode.id,
        list(task.samples),
        task.start,
        note=context,
    )


@torch.inference_mode()
def advance(future: Future, finished: Finished, config: BatchConfig, pair: Pair) -> Request | None:
    """Take in a decoded chunk: turn it into frames where they are wanted; the next chunk, if one is needed.

    The future is left as it was where memory runs out.
    """
    began = time.perf_counter()
    model, tokenizer = pair
    request, decoded = finished.request, finished.decoded
    height, width = future.context.grid.shape[1:]
    given = request.context[len(model.prefix_tokens) :].unflatten(0, (-1, height, width)).to(model.device)
    grid = torch.cat([given, decoded.tokens[0].to(model.device).unflatten(0, (-1, height, width))])
    length = 1 + (len(given) - 1) * tokenizer.stride_t
    count = min(config.frames - future.predicted, tokenizer.max_frames - length)
    missing = config.frames - future.predicted - count
    frames, following = [], None
    if missing or config.output != "tokens":
        frames = [to_uint8(tokenizer.to_frames(grid[None])[0][:, length : length + count]).cpu()]
    if missing:
        tail = torch.cat([future.context.seen, *future.frames, *frames])[-(1 + tokenizer.stride_t) :]
        encoded = tokenizer.encode(fit(tail, tokenizer.frame_size)[None])
        following = replace(
            request,
            context=flatten(model, encoded)[0],
            new_tokens=_new_tokens(len(tail), missing, future.context, pair),
            samples=[future.sample],
            chunk=request.chunk + 1,
            note=future,
        )
    future.predicted += count
    future.frames += frames
    future.decided.append(decoded.tokens[0].cpu())
    future.grids.append((grid if request.chunk == 0 else grid[len(given) :]).cpu())
    future.nfe += decoded.stats.nfe[0]
    future.seconds += finished.share
    future.seconds_frames += time.perf_counter() - began
    return following


def _new_tokens(given: int, missing: int, context: Context, pair: Pair) -> int:
    """Tokens of a chunk behind ``given`` frames, of which ``missing`` are to follow in all."""
    frame, tokenizer = context.grid[0].numel(), pair[1]
    whole = min(given + missing, tokenizer.max_frames)
    return (latent_frames(whole, tokenizer) - latent_frames(given, tokenizer)) * frame
