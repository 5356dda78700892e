"""Flat parallelograms (quads) with skins: what every scene of quads.py is made of.

World axes as in flights.py: y up, right-handed, metres. A quad is seen from one side only: the side from which
its ``right`` points right and its ``down`` points down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

Vector = Float[np.ndarray, "3"]
Triple = Sequence[float] | Vector
UP = np.array([0.0, 1.0, 0.0])
FACES = {  # outward normal of a box's face: (corner as shares of the box, right, down)
    "x": ((0, 1, 0), (0, 0, 1), (0, -1, 0)),  # lower-case: the face at the low end
    "X": ((1, 1, 1), (0, 0, -1), (0, -1, 0)),
    "y": ((0, 0, 1), (1, 0, 0), (0, 0, -1)),
    "Y": ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    "z": ((1, 1, 0), (-1, 0, 0), (0, -1, 0)),
    "Z": ((0, 1, 1), (1, 0, 0), (0, -1, 0)),
}
SIDES = "xXzZ"
SEEN = SIDES + "Y"  # all faces of something that stands on the floor


@dataclass(frozen=True)
class Quads:
    """A finished mesh as arrays."""

    corner: Float[np.ndarray, "q 3"]
    right: Float[np.ndarray, "q 3"]
    down: Float[np.ndarray, "q 3"]
    skin: Int[np.ndarray, " q"]
    shift: Float[np.ndarray, "q 2"]  # metres by which a repeating skin is shifted
    glow: Float[np.ndarray, " q"]  # 0: lit by lamps and sun; else its own brightness
    body: Int[np.ndarray, " q"]  # 0: never moves


@dataclass(frozen=True)
class Mesh:
    """Lists that grow, seen through a rotation about y and a shift. ``moved`` gives another view of them."""

    quads: list[tuple[Vector, Vector, Vector, int, tuple[float, float], float, int]] = field(
        default_factory=list
    )
    solids: list[tuple[Vector, Vector]] = field(default_factory=list)  # boxes that block light and cameras
    turn: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    origin: Vector = field(default_factory=lambda: np.zeros(3))
    body: int = 0

    def moved(self, origin: Triple, yaw: float = 0.0, body: int = 0) -> "Mesh":
        """The same lists seen from a place that is turned by ``yaw`` (x towards -z) and then shifted."""
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        where = self.turn @ np.asarray(origin, float) + self.origin
        return Mesh(self.quads, self.solids, self.turn @ turn, where, body or self.body)

    def include(self, part: "Mesh") -> None:
        """Copy another mesh, made in its own coordinates, to this view's place."""
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
        skin: int,
        shift: tuple[float, float] = (0.0, 0.0),
        glow: float = 0.0,
    ) -> None:
        """One parallelogram."""
        place = self.turn @ np.asarray(corner, float) + self.origin
        edges = self.turn @ np.asarray(right, float), self.turn @ np.asarray(down, float)
        self.quads.append((place, *edges, skin, shift, glow, self.body))

    def box(self, low: Triple, high: Triple, skin: int, faces: str = SEEN, solid: bool = True) -> None:
        """The named faces of a box. A repeating skin is shifted by the box's place, so that boxes differ."""
        low, size = np.asarray(low, float), np.subtract(high, low)
        for name in faces:
            start, right, down = FACES[name]
            shift = (7.3 * low[0] + 3.1 * low[2], 5.7 * low[1] + 1.7 * low[2])
            self.quad(low + np.multiply(start, size), right * size, down * size, skin, shift)
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
        skin: int,
        disc: int | None = None,
        sides: int = 8,
        glow: float = 0.0,
    ) -> None:
        """An upright prism on ``centre``; ``radius`` may be (bottom, top). ``disc`` is the skin of its round top."""
        bottom, top = radius if isinstance(radius, tuple) else (radius, radius)
        angles = np.arange(sides + 1) * 2 * np.pi / sides
        ring = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], 1)
        up = np.array([0, height, 0.0])
        for a, b in zip(ring[1:], ring[:-1], strict=True):  # seen from outside, b is on the right of a
            corner = np.asarray(centre) + top * a + up
            self.quad(corner, top * (b - a), bottom * (a + b) / 2 - top * (a + b) / 2 - up, skin, glow=glow)
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
