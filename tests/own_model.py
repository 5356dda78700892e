"""A world model as a user would bring it: a module with a function that loads it."""

import torch
from torch import Tensor

from vidjacobi import Grid
from vidjacobi.estimate.measured_outline import outline_of
from vidjacobi.models.outline import Outline
from vidjacobi.runtime import Runtime
from vidjacobi.testing import TinyVideoModel

GRID, VOCAB, SIDE = Grid(5, 2, 3), 16, 8


class BlockTokenizer:
    """Blocks of 8x8 pixels as grey levels, frame by frame."""

    frame_size = (GRID.h * SIDE, GRID.w * SIDE)
    stride_t = 1
    max_frames = GRID.t

    def encode(self, pixels: Tensor) -> Tensor:
        """[b 3 T H W] in [-1, 1] to tokens [b t h w]."""
        grey = torch.nn.functional.avg_pool2d(pixels.mean(1), SIDE)
        return ((grey + 1) * VOCAB / 2).long().clamp(0, VOCAB - 1)

    def to_frames(self, tokens: Tensor) -> Tensor:
        """Tokens [b t h w] to [b 3 T H W] in [0, 1]."""
        grey = ((tokens + 0.5) / VOCAB).repeat_interleave(SIDE, -1).repeat_interleave(SIDE, -2)
        return grey[:, None].expand(-1, 3, -1, -1, -1)


def load(runtime: Runtime) -> tuple[TinyVideoModel, BlockTokenizer]:
    """What most users write."""
    return TinyVideoModel(VOCAB, GRID, surprise=0.5, dtype=runtime.dtype), BlockTokenizer()


def load_without_tokenizer(runtime: Runtime) -> tuple[TinyVideoModel, None]:
    """For tokens only."""
    return load(runtime)[0], None


def load_with_outline(runtime: Runtime) -> tuple[TinyVideoModel, BlockTokenizer]:
    """Its outline is known before it is loaded."""
    return load(runtime)


def outline(dtype: torch.dtype) -> Outline:
    """Told apart from a measured one by its name."""
    return outline_of("from its own function", *load(Runtime(torch.device("cpu"), dtype, "")))


load_with_outline.outline = outline  # type: ignore[attr-defined]


def load_half(runtime: Runtime) -> TinyVideoModel:
    """No pair."""
    return load(runtime)[0]


def load_strange(runtime: Runtime) -> tuple[str, str]:
    """A pair of other things."""
    return "model", "tokenizer"


def load_that_fails(runtime: Runtime) -> None:
    """As user code does."""
    raise FileNotFoundError("weights.pt")


not_a_function = 3
