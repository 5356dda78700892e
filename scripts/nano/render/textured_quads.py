"""Textured quads, what every scene of rasteriser.py is made of: flat parallelograms, and the textures on them.

World axes: y up, right-handed, metres. A quad is seen from one side only: the side from which its ``right`` points
right and its ``down`` points down. All textures of a scene lie in one atlas at four sizes (mip levels); a look-up
takes the size that suits the distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int

Vector = Float[np.ndarray, "3"]
Triple = Sequence[float] | Vector
UP = np.array([0.0, 1.0, 0.0])
FACES = {  # a box's face by its outward normal: (corner as shares of the box, right, down)
    "x": ((0, 1, 0), (0, 0, 1), (0, -1, 0)),  # lower-case: the face at the low end
    "X": ((1, 1, 1), (0, 0, -1), (0, -1, 0)),
    "y": ((0, 0, 1), (1, 0, 0), (0, 0, -1)),
    "Y": ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    "z": ((1, 1, 0), (-1, 0, 0), (0, -1, 0)),
    "Z": ((0, 1, 1), (1, 0, 0), (0, -1, 0)),
}
STANDING_FACES = "xXzZY"  # all faces that are seen of something that stands on the floor
MIP_LEVELS = 4
PAD = 2  # texels around each picture: its own repetition, or its edge; so no neighbour bleeds in
TextureImage = Float[np.ndarray, "h w 3"]  # linear light, 0 to 1
Mask = Bool[np.ndarray, "h w"]
Rng = np.random.Generator


@dataclass(frozen=True)
class Quads:
    """A finished mesh as arrays."""

    corner: Float[np.ndarray, "q 3"]
    right: Float[np.ndarray, "q 3"]
    down: Float[np.ndarray, "q 3"]
    texture: Int[np.ndarray, " q"]
    shift: Float[np.ndarray, "q 2"]  # metres by which a repeating texture is shifted
    glow: Float[np.ndarray, " q"]  # 0: lit by lamps and sun; else its own brightness
    body: Int[np.ndarray, " q"]  # 0: never moves


@dataclass(frozen=True)
class Mesh:
    """Growing lists of quads and solids, seen in the coordinates of a turned and shifted frame.

    ``moved`` gives the same lists in another frame: so a chair is built around its own origin wherever it stands.
    """

    quads: list[tuple[Vector, Vector, Vector, int, tuple[float, float], float, int]] = field(
        default_factory=list
    )
    solids: list[tuple[Vector, Vector]] = field(default_factory=list)  # boxes that block light and cameras
    turn: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    origin: Vector = field(default_factory=lambda: np.zeros(3))
    body: int = 0

    def moved(self, origin: Triple, yaw: float = 0.0, body: int = 0) -> "Mesh":
        """The same lists in a frame turned by ``yaw`` (x towards -z) and shifted to ``origin`` in this one."""
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        where = self.turn @ np.asarray(origin, float) + self.origin
        return Mesh(self.quads, self.solids, self.turn @ turn, where, body or self.body)

    def include(self, part: "Mesh") -> None:
        """Copy another mesh, made in its own coordinates, to this frame's place."""
        for corner, right, down, *rest in part.quads:
            self.quads.append(
                (self.turn @ corner + self.origin, self.turn @ right, self.turn @ down, *rest[:-1], self.body)
            )
        for low, high in part.solids:
            self.solid(low, high)

    def quad(
        self,
        corner: Triple,
        right: Triple,
        down: Triple,
        texture: int,
        shift: tuple[float, float] = (0.0, 0.0),
        glow: float = 0.0,
    ) -> None:
        """One parallelogram."""
        place = self.turn @ np.asarray(corner, float) + self.origin
        edges = self.turn @ np.asarray(right, float), self.turn @ np.asarray(down, float)
        self.quads.append((place, *edges, texture, shift, glow, self.body))

    def box(
        self, low: Triple, high: Triple, texture: int, faces: str = STANDING_FACES, solid: bool = True
    ) -> None:
        """The named faces of a box. A repeating texture is shifted by the box's place, so that boxes differ."""
        low, size = np.asarray(low, float), np.subtract(high, low)
        for name in faces:
            start, right, down = FACES[name]
            shift = (7.3 * low[0] + 3.1 * low[2], 5.7 * low[1] + 1.7 * low[2])
            self.quad(low + np.multiply(start, size), right * size, down * size, texture, shift)
        if solid:
            self.solid(low, low + size)

    def solid(self, low: Triple, high: Triple) -> None:
        """A box that blocks light and cameras, enclosing the given one after the turn."""
        low, high = np.asarray(low, float), np.asarray(high, float)
        middle, half = self.turn @ (low + high) / 2 + self.origin, np.abs(self.turn) @ (high - low) / 2
        self.solids.append((middle - half, middle + half))

    def prism(
        self,
        centre: Triple,
        radius: float | tuple[float, float],
        height: float,
        texture: int,
        disc: int | None = None,
        sides: int = 8,
        glow: float = 0.0,
    ) -> None:
        """An upright prism on ``centre``; ``radius`` may be (bottom, top). ``disc``: the texture of its round top."""
        bottom, top = radius if isinstance(radius, tuple) else (radius, radius)
        angles = np.arange(sides + 1) * 2 * np.pi / sides
        ring = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], 1)
        up = np.array([0, height, 0.0])
        for a, b in zip(ring[1:], ring[:-1], strict=True):  # seen from outside, b is on the right of a
            corner = np.asarray(centre) + top * a + up
            self.quad(
                corner, top * (b - a), bottom * (a + b) / 2 - top * (a + b) / 2 - up, texture, glow=glow
            )
        if disc is not None:
            square = np.asarray(centre) + up - top * np.array([1, 0, 1.0])
            self.quad(square, (2 * top, 0, 0), (0, 0, 2 * top), disc, glow=glow)
        wide = max(bottom, top) * np.array([1, 0, 1.0])
        self.solid(np.asarray(centre) - wide, np.asarray(centre) + up + wide)

    def finish(self) -> Quads:
        """Everything as arrays."""
        columns = list(zip(*self.quads, strict=True))
        vectors = [np.array(c, np.float32) for c in columns[:3]]
        return Quads(
            *vectors,
            np.array(columns[3]),
            np.array(columns[4], np.float32),
            np.array(columns[5], np.float32),
            np.array(columns[6]),
        )


@dataclass(frozen=True)
class Texture:
    """A picture that repeats every ``w / density`` metres, or is stretched over a quad (density None)."""

    picture: TextureImage
    density: float | None  # texels a metre
    mask: Mask | None = None  # False where a quad is cut out


@dataclass
class Textures:
    """The textures of a scene; a quad names one by its number."""

    entries: list[Texture] = field(default_factory=list)

    def add(
        self,
        picture: TextureImage,
        density: float | None = None,
        mask: Mask | None = None,
    ) -> int:
        """A new texture's number. Sides of ``picture`` must be multiples of 8."""
        assert "atlas" not in vars(self), "the atlas is made: a new texture would not be in it"
        self.entries.append(Texture(picture.astype(np.float32), density, mask))
        return len(self.entries) - 1

    def plain(self, colour) -> int:
        """A texture of one colour."""
        return self.add(np.ones((8, 8, 3), np.float32) * np.asarray(colour, np.float32), 8.0)

    @cached_property
    def atlas(self) -> "Atlas":
        """All of them side by side, made when a picture first needs it: no texture may come after that."""
        pieces: list[list[torch.Tensor]] = [[] for _ in range(MIP_LEVELS)]
        for texture in self.entries:
            picture = torch.from_numpy(texture.picture).permute(2, 0, 1)[None]
            mode = "replicate" if texture.density is None else "circular"
            for level in range(MIP_LEVELS):
                if level:
                    picture = F.avg_pool2d(picture, 2)
                pieces[level].append(
                    F.pad(picture, (PAD, PAD, PAD, PAD), mode if min(picture.shape[2:]) > 1 else "replicate")
                )
        shapes = [[(p.shape[2], p.shape[3]) for p in row] for row in pieces]
        places, extent = pack([shape for row in shapes for shape in row], 1024)
        pixels = torch.zeros(1, 3, *extent)
        for (top, left), piece in zip(places, (p for row in pieces for p in row), strict=True):
            pixels[:, :, top : top + piece.shape[2], left : left + piece.shape[3]] = piece
        # places are (top, left), textures of level 0 first: to (x, y) of the first texel inside the padding
        origin = np.array(places, np.float32).reshape(MIP_LEVELS, -1, 2)[:, :, ::-1] + PAD
        size = np.array([texture.picture.shape[1::-1] for texture in self.entries], np.float32)
        return Atlas(pixels, np.ascontiguousarray(origin), size)


@dataclass(frozen=True)
class Atlas:
    """All textures at all mip levels: at ``origin[level, texture]`` lies the picture of 1/2^level size."""

    pixels: Float[torch.Tensor, "1 3 h w"]
    origin: Float[np.ndarray, "l s 2"]  # x, y in texels
    size: Float[np.ndarray, "s 2"]  # width and height at level 0


def pack(shapes: list[tuple[int, int]], width: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Shelf packing, highest first: places (top, left) of rectangles of (height, width), and the extent needed.

    With the width 8, rectangles (3, 4), (2, 4), (2, 5) go to (0, 0), (0, 4), (3, 0): two shelves, extent (5, 8).
    """
    width = max(width, *(w for _, w in shapes))
    places, top, left, shelf = [(0, 0)] * len(shapes), 0, 0, 0
    for i in sorted(range(len(shapes)), key=lambda i: (-shapes[i][0], i)):
        height, wide = shapes[i]
        if left + wide > width:
            top, left, shelf = top + shelf, 0, 0
        places[i], left, shelf = (top, left), left + wide, max(shelf, height)
    return places, (top + shelf, width)


def sample_bilinear(pixels: Float[torch.Tensor, "1 3 h w"], x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """Bilinear look-up at pixel coordinates (a pixel's centre lies at + 0.5): ``[1 3 *x.shape]``."""
    scale = np.float32(2 / pixels.shape[3]), np.float32(2 / pixels.shape[2])
    grid = np.empty((1, *x.shape, 2), np.float32)
    np.subtract(x * scale[0], 1, out=grid[0, ..., 0])
    np.subtract(y * scale[1], 1, out=grid[0, ..., 1])
    return F.grid_sample(pixels, torch.from_numpy(grid), align_corners=False, padding_mode="border")
