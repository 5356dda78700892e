"""Frames to compare: the ground truth of a clip, the prediction of a decoder, and references without a decoder."""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from vidjacobi.models.codec import as_seen, fit, frames_to_tokens, tokens_to_frames
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.shapes import Frames

SourceFrames = UInt8[Tensor, "S H W 3"]  # as they were read

# name -> its meaning in tables; both are made from the ground truth alone
REFERENCES = {
    "frozen": "the last context frame, repeated",
    "tokenizer": "the ground truth, encoded and turned into frames again: what the video tokenizer alone loses",
}


def as_the_model_sees(source: SourceFrames, tokenizer: VideoTokenizer) -> Frames:
    """Source frames at the size of the model: resized and cropped to the centre, without a video codec."""
    return as_seen(fit(source, tokenizer.frame_size))


@torch.inference_mode()
def encode(source: SourceFrames, tokenizer: VideoTokenizer) -> Int[Tensor, "t h w"]:
    """The latent grid of source frames, whose last frame is repeated until it fills a latent frame."""
    # 30 frames with stride 8: 1 + 29, and 29 lacks 3 frames to be a multiple of 8.
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
    """``count`` frames after a context of ``first`` frames, from the decided ``tokens`` in raster order."""
    new = tokens.to(context.device, context.dtype).unflatten(0, (-1, *context.shape[1:]))
    return tokens_to_frames(torch.cat([context, new]), tokenizer, first, count)


@torch.inference_mode()
def reference(name: str, source: SourceFrames, first: int, tokenizer: VideoTokenizer) -> Frames:
    """The frames of the reference ``name`` of REFERENCES; ``source`` are the frames of context and ground truth."""
    count = len(source) - first
    if name == "frozen":  # what a model would give that predicts no motion at all
        last = as_the_model_sees(source[first - 1 : first], tokenizer)
        return last.expand(count, -1, -1, -1).contiguous()
    return tokens_to_frames(encode(source, tokenizer), tokenizer, first, count)
