"""``check_tokenizer``: whether a video tokenizer keeps the promises of ``vidjacobi.models.tokenizer``."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vidjacobi.errors import BadModelOutput
from vidjacobi.kinds import check_members, whole
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import StreamingTokenizer, VideoTokenizer
from vidjacobi.shapes import GridTokens, Pixels

MOST_GROUPS = 2  # latent frames after the first one that are looked at
AGREE = 0.9  # share of tokens that must stay: a last bit of a pixel may turn one
CLOSE = 0.02  # of the range of pixels
RANGE = (-0.1, 1.1)  # pixels of ``to_frames``: 0 to 1, and what an unclamped network adds


@torch.inference_mode()
def check_tokenizer(tokenizer: VideoTokenizer, model: VideoModel | None = None, seed: int = 0) -> None:
    """Encode and decode two made-up clips, and raise for the first promise that a video tokenizer breaks.

    In this order: members; shapes, dtypes and ranges of ``encode`` and ``to_frames`` for every number of latent
    frames; equal calls; later frames do not change earlier ones; clips do not touch each other; a stream gives the
    frames of ``to_frames``, also where it was forked. With a model: tokens and grid are the model's.

    Args:
        tokenizer: anything that should satisfy ``vidjacobi.VideoTokenizer``.
        model: the model that it belongs to, if that is to be compared.
        seed: of the made-up pixels.

    Raises:
        InvalidArgument: a member is missing or of another type.
        BadModelOutput: a promise is broken; the message says which.
    """
    check_members("the tokenizer", tokenizer, VideoTokenizer)
    if model is not None:
        check_members("the model", model, VideoModel)
    for name, numbers in (
        ("frame_size", tuple(tokenizer.frame_size)),
        ("stride_t, max_frames", (tokenizer.stride_t, tokenizer.max_frames)),
    ):
        if len(numbers) != 2 or min(whole(f"the tokenizer's {name}", number) for number in numbers) < 1:
            raise BadModelOutput(f"the tokenizer's {name} must be two numbers of at least 1, not {numbers}")
    trial = TokenizerTrial(tokenizer, model, whole("seed", seed))
    for check in CHECKS:
        check(trial)


class TokenizerTrial:
    """A tokenizer and two clips of as many frames as it takes, at most three latent frames."""

    def __init__(self, tokenizer: VideoTokenizer, model: VideoModel | None, seed: int) -> None:
        self.tokenizer, self.model = tokenizer, model
        groups = min(MOST_GROUPS, (tokenizer.max_frames - 1) // tokenizer.stride_t)
        self.lengths = [1 + tokenizer.stride_t * group for group in range(groups + 1)]
        generator = torch.Generator().manual_seed(seed)
        # broad areas of colour: noise is what no tokenizer was made for
        height, width = tokenizer.frame_size
        small = torch.rand(2, 3, self.lengths[-1], 4, 4, generator=generator) * 2 - 1
        self.pixels: Pixels = torch.nn.functional.interpolate(small, (self.lengths[-1], height, width))
        # and the ends of the range, where ids that are off by one leave the vocabulary
        self.pixels[:, :, :, : height // 2, : width // 2] = 1
        self.pixels[:, :, :, height // 2 :, width // 2 :] = -1

    @cached_property
    def tokens(self) -> GridTokens:
        """Of both clips, whole."""
        return self.encode(self.pixels)

    @cached_property
    def frames(self) -> Pixels:
        """What becomes of them."""
        return self.to_frames(self.tokens)

    def encode(self, pixels: Pixels) -> GridTokens:
        """Tokens of the right shape. Raises BadModelOutput for others."""
        tokens = self.tokenizer.encode(pixels)
        latents = 1 + (pixels.shape[2] - 1) // self.tokenizer.stride_t
        if not isinstance(tokens, Tensor) or tokens.ndim != 4 or tokens.shape[:2] != (len(pixels), latents):
            self.fail(
                f"encode must turn {pixels.shape[2]} frames into tokens [clips, {latents}, h, w], and returned "
                f"{shape_of(tokens)}"
            )
        if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
            self.fail(f"encode must return integer token ids, not {tokens.dtype}")
        return tokens

    def to_frames(self, tokens: GridTokens) -> Pixels:
        """Pixels of the right shape. Raises BadModelOutput for others."""
        pixels = self.tokenizer.to_frames(tokens)
        frames = 1 + self.tokenizer.stride_t * (tokens.shape[1] - 1)
        self.check_pixels("to_frames", pixels, (len(tokens), 3, frames, *self.tokenizer.frame_size))
        return pixels

    def check_pixels(self, where: str, pixels: Any, wanted: tuple[int, ...]) -> None:
        """Shape, dtype and range."""
        if not isinstance(pixels, Tensor) or tuple(pixels.shape) != wanted or not pixels.is_floating_point():
            self.fail(
                f"{where} must return floating-point pixels {list(wanted)}, and returned {shape_of(pixels)}"
            )
        low, high = pixels.amin().item(), pixels.amax().item()
        if not RANGE[0] <= low <= high <= RANGE[1]:
            self.fail(f"{where} must return pixels in [0, 1], and returned {low:.3g} to {high:.3g}")

    def fail(self, words: str) -> None:
        """Raise BadModelOutput."""
        raise BadModelOutput(f"{type(self.tokenizer).__name__}: {words}")


def check_shapes(trial: TokenizerTrial) -> None:
    """For every number of latent frames."""
    for frames in trial.lengths:
        tokens = trial.tokens if frames == trial.lengths[-1] else trial.encode(trial.pixels[:, :, :frames])
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0:
            trial.fail(f"encode returned the token {low}: ids begin with 0")
        if trial.model is not None:
            grid = trial.model.grid_for(frames)
            if tuple(tokens.shape[1:]) != (grid.t, grid.h, grid.w):
                trial.fail(
                    f"encode makes a grid {list(tokens.shape[1:])} of {frames} frames, the model wants {grid}"
                )
            if high >= trial.model.vocab_size:
                trial.fail(
                    f"encode returned the token {high}, and the model has {trial.model.vocab_size} tokens"
                )
        _ = trial.frames if tokens is trial.tokens else trial.to_frames(tokens)


def check_equal_calls(trial: TokenizerTrial) -> None:
    """Nothing is drawn."""
    if not trial.encode(trial.pixels).equal(trial.tokens):
        trial.fail(
            "encode gives other tokens when it is called again: nothing may be drawn (is it in train mode?)"
        )
    if not trial.to_frames(trial.tokens).equal(trial.frames):
        trial.fail(
            "to_frames gives other pixels when it is called again: nothing may be drawn (is it in train mode?)"
        )


def check_causality(trial: TokenizerTrial) -> None:
    """What comes later changes nothing before it."""
    for latents, frames in enumerate(trial.lengths[:-1], 1):
        first = trial.encode(trial.pixels[:, :, :frames])
        if (kept := share(first == trial.tokens[:, :latents])) < AGREE:
            trial.fail(
                f"encode is not causal: {kept:.0%} of the tokens of the first {frames} frames stay when more frames "
                "follow"
            )
        shown = trial.frames[:, :, :frames]
        if distance(trial.to_frames(trial.tokens[:, :latents]), shown) > CLOSE:
            trial.fail(
                f"to_frames is not causal: the first {frames} frames change when more latent frames follow"
            )


def check_rows(trial: TokenizerTrial) -> None:
    """A clip is the same alone and beside another."""
    for clip in range(2):
        rows = slice(clip, clip + 1)
        if share(trial.encode(trial.pixels[rows]) == trial.tokens[rows]) < AGREE:
            trial.fail("encode gives a clip other tokens beside another clip than alone")
        if distance(trial.to_frames(trial.tokens[rows]), trial.frames[rows]) > CLOSE:
            trial.fail("to_frames gives a clip other pixels beside another clip than alone")


def check_stream(trial: TokenizerTrial) -> None:
    """Group by group gives the frames of the whole, also after a fork."""
    tokenizer = trial.tokenizer
    if not isinstance(tokenizer, StreamingTokenizer):
        return
    tokens = trial.tokens[:1]
    wanted, size = trial.frames[:1], tokenizer.frame_size
    stream = tokenizer.frame_stream()
    for number, latent in enumerate(tokens.split(1, 1)):
        fork = stream.fork()
        first = trial.lengths[number - 1] if number else 0
        part = wanted[:, :, first : trial.lengths[number]]
        fork.add(latent.flip(-1))  # another future of the same past
        pixels = stream.add(latent)
        trial.check_pixels("a frame stream", pixels, (1, 3, part.shape[2], *size))
        if distance(pixels, part) > CLOSE:
            trial.fail(
                f"a frame stream gives other frames than to_frames from frame {first} on: does it remember the past, "
                "and does a fork leave it alone?"
            )


def share(equal: Tensor) -> float:
    """Share of what is True."""
    return equal.double().mean().item()


def distance(found: Pixels, wanted: Pixels) -> float:
    """Largest difference of pixels."""
    return (found.double() - wanted.double()).abs().max().item()


def shape_of(value: Any) -> str:
    """A tensor's dtype and shape, the type of anything else."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


CHECKS: tuple[Callable[[TokenizerTrial], None], ...] = (
    *(check_shapes, check_equal_calls, check_causality, check_rows, check_stream),
)
