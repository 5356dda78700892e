"""Skins: the pictures on quads, in one sheet at four sizes, looked up in the size that suits."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

LEVELS = 4
PAD = 2  # texels around each picture: its own repetition, or its edge
Picture = Float[np.ndarray, "h w 3"]  # linear light, 0 to 1


@dataclass(frozen=True)
class Skin:
    """A picture that repeats every ``w / density`` metres, or is stretched over a quad (density None)."""

    picture: Picture
    density: float | None  # texels a metre
    mask: Float[np.ndarray, "h w"] | None = None  # False where a quad is cut out


@dataclass
class Skins:
    """The skins of a scene; a quad names one by its number."""

    entries: list[Skin] = field(default_factory=list)

    def add(self, picture: Picture, density: float | None = None, mask=None) -> int:
        """A new skin's number. Sides of ``picture`` must be multiples of 8."""
        assert "sheet" not in vars(self), "the sheet is made: a new skin would not be in it"
        self.entries.append(Skin(picture.astype(np.float32), density, mask))
        return len(self.entries) - 1

    def plain(self, colour) -> int:
        """A skin of one colour."""
        return self.add(np.ones((8, 8, 3), np.float32) * np.asarray(colour, np.float32), 8.0)

    @cached_property
    def sheet(self) -> "Sheet":
        """All of them in one sheet, made when a picture first needs it: no skin may come after that."""
        pieces: list[list[torch.Tensor]] = [[] for _ in range(LEVELS)]
        for skin in self.entries:
            picture = torch.from_numpy(skin.picture).permute(2, 0, 1)[None]
            mode = "replicate" if skin.density is None else "circular"
            for level in range(LEVELS):
                if level:
                    picture = F.avg_pool2d(picture, 2)
                pieces[level].append(
                    F.pad(picture, (PAD, PAD, PAD, PAD), mode if min(picture.shape[2:]) > 1 else "replicate")
                )
        shapes = [[(p.shape[2], p.shape[3]) for p in row] for row in pieces]
        places, extent = pack([shape for row in shapes for shape in row], 1024)
        sheet = torch.zeros(1, 3, *extent)
        for (top, left), piece in zip(places, (p for row in pieces for p in row), strict=True):
            sheet[:, :, top : top + piece.shape[2], left : left + piece.shape[3]] = piece
        origin = np.array(places, np.float32).reshape(LEVELS, -1, 2)[:, :, ::-1] + PAD
        size = np.array([s.picture.shape[1::-1] for s in self.entries], np.float32)
        return Sheet(sheet, np.ascontiguousarray(origin), size)


@dataclass(frozen=True)
class Sheet:
    """The skins side by side: ``origin[level, skin]`` is the (x, y) of the picture of 1/2^level size."""

    pixels: Float[torch.Tensor, "1 3 h w"]
    origin: Float[np.ndarray, "l s 2"]
    size: Float[np.ndarray, "s 2"]  # width and height at level 0


def pack(shapes: list[tuple[int, int]], width: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Places (top, left) of rectangles of (height, width) in shelves, highest first, and the extent needed."""
    width = max(width, *(w for _, w in shapes))
    places, top, left, shelf = [(0, 0)] * len(shapes), 0, 0, 0
    for i in sorted(range(len(shapes)), key=lambda i: (-shapes[i][0], i)):
        height, wide = shapes[i]
        if left + wide > width:
            top, left, shelf = top + shelf, 0, 0
        places[i], left, shelf = (top, left), left + wide, max(shelf, height)
    return places, (top + shelf, width)


def sample(pixels: Float[torch.Tensor, "1 3 h w"], x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """Bilinear look-up at pixel coordinates (a pixel's centre lies at + 0.5): ``[1 3 *x.shape]``."""
    scale = np.float32(2 / pixels.shape[3]), np.float32(2 / pixels.shape[2])
    grid = np.empty((1, *x.shape, 2), np.float32)
    np.subtract(x * scale[0], 1, out=grid[0, ..., 0])
    np.subtract(y * scale[1], 1, out=grid[0, ..., 1])
    return F.grid_sample(pixels, torch.from_numpy(grid), align_corners=False, padding_mode="border")
