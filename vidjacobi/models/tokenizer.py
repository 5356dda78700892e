"""What a video tokenizer must offer: pixels to tokens and back. "Decode" never means pixels here."""

import math
from typing import Protocol, runtime_checkable

from vidjacobi.errors import InvalidArgument
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


@runtime_checkable
class FrameStream(Protocol):
    """Frames of one clip, made as its latent frames become known."""

    def add(self, tokens: GridTokens) -> Pixels:
        """The next latent frames ``[1 n h w]`` to pixels in [0, 1]: one frame for a clip's very first latent frame,
        ``stride_t`` for every other one. The same pixels as ``to_frames`` of the whole clip."""
        ...

    def fork(self) -> "FrameStream":
        """Another stream that goes on from here: futures of one context share its frames."""
        ...


@runtime_checkable
class StreamingTokenizer(VideoTokenizer, Protocol):
    """A tokenizer whose causality can be used: what a stream remembers does not grow with what it has made."""

    def frame_stream(self) -> FrameStream:
        """A stream at the start of a clip. Raises InvalidArgument if this very tokenizer cannot."""
        ...


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
