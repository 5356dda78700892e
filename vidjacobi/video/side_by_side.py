"""Videos for people to watch: large enough, what was predicted beside what really happened, every frame captioned.

Each frame becomes one picture of equal panels, the truth on the left where there is any, with a strip of text above:

    given | given          frames of the context
    truth | predicted      frames after it
    no truth | predicted   frames after the end of the clip
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup
from vidjacobi.shapes import Frames

Picture = UInt8[np.ndarray, "H W 3"]
Panel = UInt8[np.ndarray, "h w 3"]  # enlarged, with its caption

RESAMPLING = {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}
WIDE_ENOUGH = 320  # pixels of a panel, unless a factor is given
_STRIP, _GAP = 22, 8  # pixels: height of the caption above a panel, and between two panels
_PAPER, _INK, _NOTHING = (250, 250, 250), (30, 30, 30), (128, 128, 128)
_GIVEN, _TRUTH, _PREDICTED = (190, 100, 0), (20, 110, 60), (30, 30, 30)


@dataclass(frozen=True)
class View:
    """How frames are shown.

    Attributes:
        scale: whole factor by which a panel is enlarged, 1 to 16; None for the smallest that makes it 320 wide.
        resampling: "lanczos" (smooth) or "nearest" (every pixel a square).

    Raises InvalidArgument.
    """

    scale: int | None = None
    resampling: str = "lanczos"

    def __post_init__(self) -> None:
        lookup("resampling", self.resampling, RESAMPLING)
        if self.scale is not None and not 1 <= self.scale <= 16:
            raise InvalidArgument(f"scale must be a whole number from 1 to 16, not {self.scale}")

    def factor(self, width: int) -> int:
        """The factor for frames of a width in pixels."""
        return self.scale or max(1, -(-WIDE_ENOUGH // width))


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Makes the pictures of one rollout, as its frames come.

    Attributes:
        context: number of frames that are given; the first ones.
        truth: frames that really followed them, as many as the clip has: [n H W 3], of the same size; none at all
            (n = 0) leaves their panel out.
        view: how large, and how enlarged.
    """

    context: int
    truth: Frames
    view: View = field(default_factory=View)

    def show(self, frames: Frames, first: int = 0) -> UInt8[Tensor, "T h w 3"]:
        """The pictures of ``frames`` [T H W 3], which are those from number ``first`` on (0: of the context)."""
        shown = [self._picture(frame.cpu().numpy(), number) for number, frame in enumerate(frames, first)]
        return torch.from_numpy(np.stack(shown))

    def _picture(self, frame: Picture, number: int) -> Panel:
        panels = list(self._panels(frame, number))
        height = panels[0].shape[0]
        gap = np.full((height, _GAP, 3), _PAPER, np.uint8)
        between = [part for left, _ in pairwise(panels) for part in (left, gap)]
        return np.concatenate([*between, panels[-1]], axis=1)

    def _panels(self, frame: Picture, number: int) -> Iterator[Panel]:
        later = number - self.context
        own = self._panel(
            frame, *((f"given {number}", _GIVEN) if later < 0 else (f"predicted {number}", _PREDICTED))
        )
        if len(self.truth):
            if later < 0:
                yield own
            elif later < len(self.truth):
                yield self._panel(self.truth[later].cpu().numpy(), f"truth {number}", _TRUTH)
            else:
                yield self._panel(np.full_like(frame, _NOTHING), "no truth: the clip ends", _INK)
        yield own

    def _panel(self, frame: Picture, words: str, ink: tuple[int, int, int]) -> Panel:
        factor = self.view.factor(frame.shape[1])
        size = (frame.shape[1] * factor, frame.shape[0] * factor)
        picture = Image.fromarray(frame).resize(size, RESAMPLING[self.view.resampling])
        return np.concatenate([_strip(size[0], words, ink), np.asarray(picture)])


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_STRIP - 7)


def _strip(width: int, words: str, ink: tuple[int, int, int]) -> Panel:
    strip = Image.new("RGB", (width, _STRIP), _PAPER)
    ImageDraw.Draw(strip).text((4, 2), words, fill=ink, font=_font())
    return np.asarray(strip)
