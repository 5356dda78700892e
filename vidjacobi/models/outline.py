"""A model without its weights: everything that decides how much memory it takes and how much work a pass is."""

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
        matrix_parameters: weights that every pass reads and multiplies with (the embedding is only looked up).
        matrix_bytes: of these weights.
        kv_bytes: of the cache, for each slot of a clip.
        attention_flops: for each pair of a query and a slot that it reads, all layers and heads.
        score_rows: attention scores of one query and one slot: heads times layers.
        text_bytes: keys and values of a text context, which every pass reads; 0 without one.
    """

    matrix_parameters: int
    matrix_bytes: int
    kv_bytes: int
    attention_flops: int
    score_rows: int
    text_bytes: int = 0


@dataclass(frozen=True, eq=False)  # a key by identity
class Outline:
    """A transformer and its video tokenizer on torch's meta device: shapes and code, no numbers.

    Attributes:
        name: as the user named it.
        model: computes shapes of logits only.
        to_tokens, to_pixels: the tokenizer's networks, for one clip at a time.
        stream_bytes: counts what a stream of frames keeps of one clip between two latent frames.
        resident: bytes that stay on the device as long as the transformer does, by what they are.
        tokenizer_bytes: the tokenizer's weights.
        arithmetic: of one pass.
        frame_size: (height, width) in pixels.
        stride_t: frames per latent frame.
        max_frames: most frames of one chunk.
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
