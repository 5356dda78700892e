"""Frames to compare: the ground truth of a clip, what a decoder predicted, and references that decode nothing."""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from vidjacobi.models.codec import as_seen, fit, frames_to_tokens, tokens_to_frames
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.shapes import Frames

Source = UInt8[Tensor, "S H W 3"]  # as read

# name -> what it stands for in a table; both are made of the ground truth alone
REFERENCES = {
    "frozen": "the last context frame, repeated",
    "tokenizer": "the ground truth, encoded and turned into frames again: the best that any decoder can do",
}


def as_the_model_sees(source: Source, tokenizer: VideoTokenizer) -> Frames:
    """Source frames at the model's size: resized, centre cropped, no video codec."""
    return as_seen(fit(source, tokenizer.frame_size))


@torch.inference_mode()
def encode(source: Source, tokenizer: VideoTokenizer) -> Int[Tensor, "t h w"]:
    """Latent grid of source frames; the last one is repeated to fill a latent frame."""
    missing = -(len(source) - 1) % tokenizer.stride_t
    whole = torch.cat([source, source[-1:].expand(missing, -1, -1, -1)])
    return frames_to_tokens([whole], tokenizer)[0]


@torch.inference_mode()
def predicted(
    context: Int[Tensor, "t h w"],
    tokens: Int[Tensor, " n"],
    first: int,
    count: int,
    tokenizer: VideoTokenizer,
) -> Frames:
    """``count`` frames of the decided ``tokens`` (raster order) after a context of ``first`` frames."""
    new = tokens.to(context.device, context.dtype).unflatten(0, (-1, *context.shape[1:]))
    return tokens_to_frames(torch.cat([context, new]), tokenizer, first, count)


@torch.inference_mode()
def reference(name: str, source: Source, first: int, tokenizer: VideoTokenizer) -> Frames:
    """What stands for a prediction under a ``name`` of REFERENCES; ``source`` is context and ground truth."""
    count = len(source) - first
    if name == "frozen":
        last = as_the_model_sees(source[first - 1 : first], tokenizer)
        return last.expand(count, -1, -1, -1).contiguous()
    return tokens_to_frames(encode(source, tokenizer), tokenizer, first, count)
