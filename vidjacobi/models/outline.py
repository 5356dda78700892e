"""A model without its weights: everything that decides its memory and the work of a pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.models.protocol import VideoModel
from vidjacobi.shapes import GridTokens


@dataclass(frozen=True)
class Arithmetic:
    """What one pass of the transformer reads and multiplies.

    Attributes:
        matrix_parameters: number of weights that every pass multiplies with; the embedding, which is only looked up,
            does not count.
        matrix_bytes: bytes of these weights.
        kv_bytes: bytes of the cache for each slot of a clip.
        attention_flops: floating-point operations for each pair of an input and a slot that it reads, in all layers
            and heads.
        score_rows: attention scores of one input and one slot: heads times layers; 0 where it is not known.
        text_bytes: bytes of the keys and values of a text context, which every pass reads; 0 without one.
    """

    matrix_parameters: int
    matrix_bytes: int
    kv_bytes: int
    attention_flops: int
    score_rows: int = 0
    text_bytes: int = 0


@dataclass(frozen=True, eq=False)  # so that it is a key of dicts and caches by identity
class Outline:
    """A transformer and its video tokenizer on torch's meta device, where tensors have shapes and no numbers.

    Attributes:
        name: the model as the user named it.
        model: the transformer; its passes yield the shapes of logits only.
        to_tokens, to_pixels: the networks of the tokenizer, for one clip at a time.
        stream_bytes: counts the bytes that a stream of frames keeps of one clip between two latent frames.
        resident: bytes that stay on the device as long as the transformer does, by what they are for.
        tokenizer_bytes: bytes of the tokenizer's weights.
        arithmetic: the reads and multiplications of one pass.
        frame_size: (height, width) of frames in pixels.
        stride_t: frames for each latent frame, except the first, which stands for one frame.
        max_frames: most frames of one chunk, context included.
    """

    name: str
    model: VideoModel
    to_tokens: Callable[[Float[Tensor, "1 rgb T H W"]], Int[Tensor, "1 t h w"]]
    to_pixels: Callable[[GridTokens], Float[Tensor, "1 rgb T H W"]]
    stream_bytes: Callable[[], int]
    resident: Mapping[str, int]
    tokenizer_bytes: int
    arithmetic: Arithmetic
    frame_size: tuple[int, int]
    stride_t: int
    max_frames: int
