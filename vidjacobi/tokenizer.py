"""What a video tokenizer must offer: pixels to tokens and back. "Decode" never means pixels here."""

from typing import Protocol, runtime_checkable

from vidjacobi.shapes import GridTokens, Pixels


@runtime_checkable
class VideoTokenizer(Protocol):
    """A causal discrete video tokenizer: 1 + s*k frames become 1 + k latent frames, s = ``stride_t``."""

    frame_size: tuple[int, int]  # (H, W) of the pixels that the world model was trained on
    stride_t: int  # frames a latent frame stands for, the first one excepted
    max_frames: int  # frames of one chunk, context included (Cosmos: 33)

    def encode(self, pixels: Pixels) -> GridTokens:
        """Pixels in [-1, 1], ``T = 1 + stride_t * k`` frames of ``frame_size``, to ``[b 1+k h w]`` tokens."""
        ...

    def to_frames(self, tokens: GridTokens) -> Pixels:
        """Tokens ``[b 1+k h w]`` to ``1 + stride_t * k`` frames of pixels in [0, 1]."""
        ...
