"""The latent grid of a clip and where a position lies in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """The latent token grid ``(t, h, w)`` of one clip, read in raster order.

    Cosmos DV8x16x16 at 640x1024 and 33 frames: ``Grid(5, 40, 64)``, 12,800 tokens.
    """

    t: int
    h: int
    w: int

    @property
    def frame_tokens(self) -> int:
        """Tokens of one latent frame."""
        return self.h * self.w

    @property
    def tokens(self) -> int:
        """Tokens of the clip."""
        return self.t * self.h * self.w

    def locate(self, position: int) -> tuple[int, int, int]:
        """(t, h, w) of the raster index ``position`` (special tokens not counted)."""
        return position // self.frame_tokens, position // self.w % self.h, position % self.w
