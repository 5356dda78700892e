"""Frames to compare: the ground truth of a clip, what a decoder predicted, and references that decode nothing."""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.shapes import Frames
from vidjacobi.video.pixels import as_seen, fit, to_uint8

SourceFrames = UInt8[Tensor, "S H W 3"]  # as read

# name -> what it stands for in a table; both are made of the ground truth alone
REFERENCES = {
    "frozen": "the last context frame, repeated",
    "tokenizer": "the ground truth, encoded and turned into frames again: the best that any decoder can do",
}


def as_the_model_sees(source: SourceFrames, tokenizer: VideoTokenizer) -> Frames:
    """SourceFrames frames at the model's size: resized, centre cropped, no video codec."""
    return as_seen(fit(source, tokenizer.frame_size))


@torch.inference_mode()
def encode(source: SourceFrames, tokenizer: VideoTokenizer) -> Int[Tensor, "t h w"]:
    """Latent grid of source frames; the last one is repeated to fill a latent frame."""
    missing = -(len(source) - 1) % tokenizer.stride_t
    whole = torch.cat([source, source[-1:].expand(missing, -1, -1, -1)])
    return tokenizer.encode(fit(whole, tokenizer.frame_size)[None])[0]


@torch.inference_mode()
def to_frames(grid: Int[Tensor, "t h w"], first: int, count: int, tokenizer: VideoTokenizer) -> Frames:
    """``count`` frames of a latent grid, from frame ``first`` on."""
    pixels = next(iter(tokenizer.to_frames(grid[None])))
    return to_uint8(pixels)[first : first + count].cpu()


def predicted(
    context: Int[Tensor, "t h w"],
    tokens: Int[Tensor, " n"],
    first: int,
    count: int,
    tokenizer: VideoTokenizer,
) -> Frames:
    """``count`` frames of the decided ``tokens`` (raster order) behind a context of ``first`` frames."""
    new = tokens.to(context.device, context.dtype).unflatten(0, (-1, *context.shape[1:]))
    return to_frames(torch.cat([context, new]), first, count, tokenizer)


def reference(name: str, source: SourceFrames, first: int, tokenizer: VideoTokenizer) -> Frames:
    """What stands for a prediction under a ``name`` of REFERENCES; ``source`` is context and ground truth."""
    count = len(source) - first
    if name == "frozen":
        last = as_the_model_sees(source[first - 1 : first], tokenizer)
        return last.expand(count, -1, -1, -1).contiguous()
    return to_frames(encode(source, tokenizer), first, count, tokenizer)
