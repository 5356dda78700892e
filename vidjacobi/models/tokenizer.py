"""What a video tokenizer must offer: pixels to tokens (``encode``) and back (``to_frames``).

"Decode" always means tokens from a model here, never pixels from tokens.
"""

import math
from typing import Protocol, runtime_checkable

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import whole
from vidjacobi.shapes import GridTokens, Pixels

MOST_SAMPLES = 1_000_000  # futures of one clip, far more than any memory holds


@runtime_checkable
class VideoTokenizer(Protocol):
    """A causal discrete video tokenizer: 1 + s*k frames become 1 + k latent frames, where s is ``stride_t``.

    The first frame has a latent frame of its own; each later latent frame stands for s frames.
    """

    frame_size: tuple[int, int]  # (H, W) of the pixels that the world model was trained on
    stride_t: int  # frames that a latent frame stands for, except the first one, which stands for one
    max_frames: int  # most frames of one chunk, context included (Cosmos: 33)

    def encode(self, pixels: Pixels) -> GridTokens:
        """Pixels ``[b 3 T H W]`` in [-1, 1], ``T = 1 + stride_t * k`` and (H, W) of ``frame_size``, to tokens."""
        ...

    def to_frames(self, tokens: GridTokens) -> Pixels:
        """Tokens ``[b 1+k h w]`` to pixels ``[b 3 T H W]`` in [0, 1], ``T = 1 + stride_t * k`` frames."""
        ...


@runtime_checkable
class FrameStream(Protocol):
    """The frames of one clip, made while its latent frames become known."""

    def add(self, tokens: GridTokens) -> Pixels:
        """The next latent frames ``[1 n h w]`` to pixels in [0, 1], the same as from ``to_frames`` of the whole clip.

        The very first latent frame of a clip becomes one frame, every other one ``stride_t`` frames.
        """
        ...

    def fork(self) -> "FrameStream":
        """Another stream that continues from here, so that the futures of one context share its frames."""
        ...


@runtime_checkable
class StreamingTokenizer(VideoTokenizer, Protocol):
    """A tokenizer that can make frames group by group, with a memory that does not grow with the frames made."""

    def frame_stream(self) -> FrameStream:
        """A stream at the start of a clip. Raises InvalidArgument if this particular tokenizer cannot stream."""
        ...


@runtime_checkable
class ContextTokenizer(VideoTokenizer, Protocol):
    """A tokenizer that codes the first frames of a clip at length, and later ones by how they differ from them.

    A model of its tokens goes on from these frames, neither more nor fewer. ``stride_t`` is 1, and a latent frame is
    as large as that of a later frame; each of the first ones has several.

    Attributes:
        context: how many frames that are.
    """

    context: int

    def latents_of(self, frames: int) -> int:
        """Latent frames of a clip of ``frames`` frames, ``context`` at least."""
        ...


def check_lengths(context: int, new_frames: int, samples: int, tokenizer: VideoTokenizer) -> None:
    """Raise InvalidArgument for a context that does not fit or leaves no room to predict, and for counts below 1.

    All counts are frames of one chunk, except ``samples``, the number of futures.
    """
    # For Cosmos (stride 8, at most 33 frames): 1, 9, 17 or 25 frames of context. 33 would leave nothing to predict.
    context, new_frames = whole("the number of context frames", context), whole("frames", new_frames)
    samples, step, most = whole("samples", samples), tokenizer.stride_t, tokenizer.max_frames
    allowed = [1 + step * k for k in range(math.ceil((most - 1) / step))]
    if isinstance(tokenizer, ContextTokenizer):
        allowed = [tokenizer.context]
    if context not in allowed:
        raise InvalidArgument(
            f"a context of {number_of(context, 'frame')} does not fit the video tokenizer: use "
            f"{', '.join(map(str, allowed))}"
        )
    if new_frames < 1:
        raise InvalidArgument(f"frames must be at least 1, not {new_frames}")
    if not 1 <= samples <= MOST_SAMPLES:
        raise InvalidArgument(f"samples must be at least 1 and at most {MOST_SAMPLES:,}, not {samples}")


def latent_frames(frames: int, tokenizer: VideoTokenizer) -> int:
    """The number of latent frames that cover ``frames`` frames."""
    if isinstance(tokenizer, ContextTokenizer):
        return tokenizer.latents_of(frames)
    # With stride 8: 1 frame is 1 latent frame, 2 to 9 frames are 2, 10 to 17 frames are 3.
    return 1 + math.ceil((frames - 1) / tokenizer.stride_t)
