"""Light baked into maps once for a scene: lamps and windows with shadows, sun through the windows, darker corners.

Every quad has a map of its own with about ``density`` points a metre; all maps lie side by side in one atlas.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from scripts.nano.render.textured_quads import Quads, Textures, pack

MAX_SIDE = 96  # points along one side of a light map


@dataclass(frozen=True)
class Lamp:
    """A point that shines; a window is a few of them, which shine into one direction only."""

    place: Float[np.ndarray, "3"]
    power: Float[np.ndarray, "3"]  # linear light at 1 m
    towards: Float[np.ndarray, "3"] | None = None  # shines as its cosine; None: to all sides
    zone: Float[np.ndarray, "2 3"] | None = None  # shines only on points of this box (a room)


@dataclass(frozen=True)
class Sun:
    """Parallel light that enters a zone through openings (low and high corners of flat boxes); none: open sky."""

    towards: Float[np.ndarray, "3"]  # the direction light comes from
    power: Float[np.ndarray, "3"]
    openings: Float[np.ndarray, "k 2 3"]
    zone: Float[np.ndarray, "2 3"]


@dataclass(frozen=True)
class Lights:
    """All light of a scene. ``rooms`` are boxes whose inner edges are darker (ambient occlusion)."""

    ambient: Float[np.ndarray, "3"]
    lamps: list[Lamp]
    suns: list[Sun]
    rooms: Float[np.ndarray, "r 2 3"]
    occlusion_reach: float = 0.3  # metres around solids that are darker


def bake(
    quads: Quads, solids: Float[np.ndarray, "k 2 3"], lights: Lights, density: float
) -> tuple[Float[torch.Tensor, "1 3 h w"], Float[np.ndarray, "q 4"], Float[np.ndarray, "q 3"]]:
    """The atlas of light maps, each map's place and steps in it, and the mean light of each quad.

    A place is the (x, y) of a map's first point, in pixels of the atlas with centres at + 0.5; from it, u = 1 is
    ``steps`` pixels to the right. So ``rasteriser.shade`` looks light up by (u, v) alone.
    """
    lengths = np.stack([np.linalg.norm(quads.down, axis=1), np.linalg.norm(quads.right, axis=1)], 1)
    counts = np.clip(np.ceil(lengths * density).astype(int) + 1, 2, MAX_SIDE)
    places, extent = pack([(int(h), int(w)) for h, w in counts], 256)
    quad, down, right = grid_indices(counts)
    steps = np.maximum(counts - 1, 1).astype(np.float32)
    # A little inside the edges: on them a point would touch other quads and be shadowed by their solids.
    v, u = (0.01 + 0.98 * i / steps[quad, a] for a, i in enumerate((down, right)))
    points = quads.corner[quad] + u[:, None] * quads.right[quad] + v[:, None] * quads.down[quad]
    normal = -np.cross(quads.right, quads.down)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    values = illuminate(points.astype(np.float32), normal[quad].astype(np.float32), solids, lights)
    glow = quads.glow[quad][:, None]
    values = np.where(glow > 0, glow, values)
    atlas = np.zeros((*extent, 3), np.float32)
    origin = np.array(places)
    atlas[origin[quad, 0] + down, origin[quad, 1] + right] = values
    at = np.concatenate([origin[:, ::-1] + 0.5, steps[:, ::-1]], 1).astype(np.float32)
    means = np.stack([np.bincount(quad, values[:, c]) for c in range(3)], 1) / np.bincount(quad)[:, None]
    return torch.from_numpy(atlas).permute(2, 0, 1)[None].contiguous(), at, means


def grid_indices(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every point of every map its quad, row and column.

    Maps of (2, 1) and (1, 2) points: quads 0 0 1 1, rows 0 1 0 0, columns 0 0 0 1.
    """
    total = counts.prod(1)
    quad = np.repeat(np.arange(len(counts)), total)
    inner = np.arange(len(quad)) - np.repeat(np.cumsum(total) - total, total)  # number within its own map
    return quad, inner // counts[quad, 1], inner % counts[quad, 1]


def illuminate(points: np.ndarray, normal: np.ndarray, solids: np.ndarray, lights: Lights) -> np.ndarray:
    """Linear light ``[n 3]`` that falls on points."""
    light = lights.ambient.astype(np.float32) * ambient_occlusion(points, normal, solids, lights)[:, None]
    for lamp in lights.lamps:
        chosen = np.nonzero(in_zone(points, lamp.zone))[0]
        to_lamp = lamp.place.astype(np.float32) - points[chosen]
        squared = (to_lamp * to_lamp).sum(1)
        cosine = (to_lamp * normal[chosen]).sum(1) / np.sqrt(squared)
        if lamp.towards is not None:
            cosine = cosine * np.maximum(-(to_lamp @ lamp.towards.astype(np.float32)) / np.sqrt(squared), 0)
        lit = cosine > 0
        chosen, to_lamp = chosen[lit], to_lamp[lit]
        # + 0.3: a lamp is no point, and so never infinitely bright
        strength = cosine[lit] / (squared[lit] + 0.3) * visibility(points[chosen], to_lamp, solids)
        light[chosen] += strength[:, None] * lamp.power.astype(np.float32)
    for sun in lights.suns:
        chosen = np.nonzero(in_zone(points, sun.zone) & (normal @ sun.towards.astype(np.float32) > 0))[0]
        chosen = chosen[through_openings(points[chosen], sun)]
        way = np.broadcast_to(sun.towards.astype(np.float32) * 20, (len(chosen), 3))
        strength = (normal[chosen] @ sun.towards.astype(np.float32)) * visibility(points[chosen], way, solids)
        light[chosen] += strength[:, None] * sun.power.astype(np.float32)
    return light


def in_zone(points: np.ndarray, zone: np.ndarray | None, margin: float = 0.02) -> np.ndarray:
    """Which points lie in a box made larger by ``margin``."""
    inside = np.ones(len(points), bool)
    if zone is not None:
        low, high = (zone + np.array([[-margin], [margin]])).astype(np.float32)
        for a in range(3):
            inside &= (points[:, a] >= low[a]) & (points[:, a] <= high[a])
    return inside


def through_openings(points: np.ndarray, sun: Sun) -> np.ndarray:
    """Which points see the sun through one of its openings: the ray is cut with the opening's plane."""
    if not len(sun.openings):
        return np.ones(len(points), bool)
    seen = np.zeros(len(points), bool)
    for low, high in sun.openings:
        axis = int(np.argmin(high - low))
        step = ((low + high)[axis] / 2 - points[:, axis]) / sun.towards[axis]
        at = points + step[:, None] * sun.towards.astype(np.float32)
        others = [a for a in range(3) if a != axis]
        inside = ((at[:, others] > low[others]) & (at[:, others] < high[others])).all(1)
        seen |= inside & (step > 0)
    return seen


def visibility(points: np.ndarray, way: np.ndarray, solids: np.ndarray) -> np.ndarray:
    """1 where no solid lies on the way from a point to the light, else 0.

    The slab test: a ray is inside a box while it is between both planes of every axis, so from the last entry to the
    first exit. Shares of the way below 0.004 do not count, so that a surface does not shade itself.
    """
    blocked = np.zeros(len(points), bool)
    columns = [np.ascontiguousarray(points[:, a]) for a in range(3)]
    inverse = [1 / np.where(np.abs(way[:, a]) < 1e-6, np.float32(1e-6), way[:, a]) for a in range(3)]
    for low, high in solids.astype(np.float32):
        enter, leave = np.float32(0.004), np.float32(0.98)
        for a in range(3):
            one, two = (low[a] - columns[a]) * inverse[a], (high[a] - columns[a]) * inverse[a]
            enter = np.maximum(enter, np.minimum(one, two))
            leave = np.minimum(leave, np.maximum(one, two))
        blocked |= enter < leave - np.float32(0.004)
    return (~blocked).astype(np.float32)


def ambient_occlusion(
    points: np.ndarray, normal: np.ndarray, solids: np.ndarray, lights: Lights
) -> np.ndarray:
    """Share of ambient light that arrives: less in the corners of rooms and beside solids.

    No rays are traced: the darkness fades exponentially with the distance from the walls, and with its square around
    solids that stand out of the surface.
    """
    share = np.ones(len(points), np.float32)
    for room in lights.rooms.astype(np.float32):
        inside = np.nonzero(in_zone(points, room))[0]
        for a in range(3):
            column = points[inside, a]
            margin = np.maximum(np.minimum(column - room[0, a], room[1, a] - column), 0)
            dark = np.float32(0.35) * np.exp(margin / np.float32(-0.4))
            # a wall is not its own corner
            share[inside] *= np.where(np.abs(normal[inside, a]) > 0.7, 1, 1 - dark)
    reach = np.float32(lights.occlusion_reach)
    for box in solids.astype(np.float32):
        chosen = np.nonzero(in_zone(points, box, 2.5 * reach))[0]
        near, facing = points[chosen], normal[chosen]
        offset = np.clip(near, box[0], box[1]) - near
        middle = (box[0] + box[1]) / 2 - near
        out = np.einsum("na,na->n", middle, facing) > 0.01
        dark = np.float32(0.55) * np.exp(np.einsum("na,na->n", offset, offset) / -(reach * reach)) * out
        share[chosen] *= 1 - dark
    return share


def expose(quads: Quads, textures: Textures, light: Float[np.ndarray, "q 3"], brightness: float) -> float:
    """The exposure at which all that is fixed and lit has a mean linear brightness; ``light``: each quad's mean."""
    albedo = np.array([texture.picture.mean((0, 1)) for texture in textures.entries])[quads.texture]
    area = np.linalg.norm(np.cross(quads.right, quads.down), axis=1)
    area *= (quads.glow == 0) & (quads.body == 0)
    return float(brightness / max(np.average((light * albedo).mean(1), weights=area), 1e-3))
