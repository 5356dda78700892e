"""Pictures of textured quads by a software rasteriser: depth buffer, textures times baked light, a film's response.

Every frame is computed by itself from the scene and one pose, so a long clip continues a short one exactly.

A picture is made in three passes, all on arrays:

1. ``project``: for every quad, three linear functions of the pixel (the trick that makes the rest cheap, see there).
2. ``rasterise``: which quad each ray sees first, and the inverse of its depth there: a visibility buffer.
3. ``shade``: per ray, the texel at the right mip level, times the light map, times the exposure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

from scripts.nano.render.textured_quads import MIP_LEVELS, Quads, Textures, sample_bilinear

NEAR = 0.05  # metres
OVERSAMPLE = 1.4  # rays per pixel and axis; averaging them softens the edges
MIP_SCALE = 0.5 ** np.arange(MIP_LEVELS, dtype=np.float32)
SEAM = 0.9995  # quads reach this much over their edge, so that neighbours leave no gap


@dataclass(frozen=True)
class Scene:
    """Textured quads under baked light, and the exposure and contrast of the film that sees them."""

    quads: Quads
    textures: Textures
    light: Float[torch.Tensor, "1 3 h w"]  # light maps of all quads, linear
    light_at: Float[np.ndarray, "q 4"]  # x, y of a quad's light map; steps across and down
    exposure: float
    contrast: float  # 0: as developed; 1: a full S-curve

    @cached_property
    def texels(self) -> Float[np.ndarray, "6 q"]:
        """Of every quad: texels across and down, its texture's shift in texels, its texture's size."""
        quads, entries = self.quads, self.textures.entries
        lengths = np.stack([np.linalg.norm(quads.right, axis=1), np.linalg.norm(quads.down, axis=1)])
        density = np.array([texture.density or 0 for texture in entries], np.float32)[quads.texture]
        size = self.textures.atlas.size[quads.texture].T
        texels = np.where(density > 0, lengths * density, size)
        shift = np.where(density > 0, quads.shift.T * density, 0)
        return np.concatenate([texels, shift, size]).astype(np.float32)

    @cached_property
    def origins(self) -> Float[np.ndarray, "2 lq"]:
        """Where the textures of all quads lie in the atlas: column ``level * q + quad``."""
        return np.ascontiguousarray(self.textures.atlas.origin[:, self.quads.texture].reshape(-1, 2).T)


@dataclass(frozen=True)
class Lens:
    """Picture size (H, W) in pixels and the focal length in picture widths."""

    size: tuple[int, int]
    focal: float


def intrinsics(lens: Lens) -> Float[torch.Tensor, "3 3"]:
    """The pinhole matrix in pixels; the principal point is the picture's middle."""
    height, width = lens.size
    focal = lens.focal * width
    return torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


@dataclass(frozen=True)
class VisibilityBuffer:
    """What each ray sees: the inverse depth of the nearest quad (0: nothing), and its number."""

    inverse: Float[np.ndarray, "h w"]
    number: Int[np.ndarray, "h w"]


def render(
    scene: Scene, pose: Float[np.ndarray, "4 4"], lens: Lens, quads: Quads | None = None
) -> torch.Tensor:
    """One picture, uint8 ``[H W 3]``. ``quads`` take the place of the scene's where bodies have moved."""
    quads = quads or scene.quads
    tall, wide = round(lens.size[0] * OVERSAMPLE), round(lens.size[1] * OVERSAMPLE)
    coefficients, rects = project(quads, pose, (tall, wide), lens.focal * wide)
    colours = shade(scene, coefficients, rasterise(scene, coefficients, rects, (tall, wide)))
    picture = F.interpolate(tone_map(colours), size=lens.size, mode="bicubic", antialias=True)
    picture = add_contrast(picture[0].clamp_(0, 1), scene.contrast)
    return (picture * 255).round_().to(torch.uint8).permute(1, 2, 0)


def depth(scene: Scene, pose: Float[np.ndarray, "4 4"], lens: Lens) -> Float[np.ndarray, "H W"]:
    """Depth along the camera's axis in metres at the middles of the pixels; inf where there is nothing."""
    coefficients, rects = project(scene.quads, pose, lens.size, lens.focal * lens.size[1])
    inverse = rasterise(scene, coefficients, rects, lens.size).inverse
    return np.where(inverse > 0, 1 / np.maximum(inverse, np.float32(1e-9)), np.inf)


def project(
    quads: Quads, pose: Float[np.ndarray, "4 4"], size: tuple[int, int], focal: float
) -> tuple[Float[np.ndarray, "q 3 3"], Int[np.ndarray, "v 5"]]:
    """Linear functions of the pixel that give (2u - 1, 2v - 1, 1) / depth, and the pixels a quad may touch.

    The functions: row k of ``coefficients[quad]`` times (x, y, 1) of a pixel. (u, v) in [0, 1] is the place on the
    quad. The rectangles are (quad, top, bottom, left, right), those of visible quads only, the near ones first.

    The trick is perspective-correct interpolation by planes (homogeneous rasterisation, Olano and Greer 1997). A
    ray r of depth d hits the quad at ``corner + u right + v down = eye + d r``. Cramer's rule with the volume
    V = (corner - eye) . (right x down) gives 1/d, u/d and v/d as scalar products of r with three fixed vectors; and
    r is linear in the pixel. So colours and depths need neither projected vertices nor clipped polygons; only the
    rectangles look at the near plane.
    """
    turn, eye = pose[:3, :3].astype(np.float32), pose[:3, 3].astype(np.float32)
    offset = quads.corner - eye
    normal = np.cross(quads.right, quads.down)
    volume = (offset * normal).sum(1)
    rows = np.stack([np.cross(quads.down, offset), np.cross(offset, quads.right), normal], 1)
    rows /= np.where(np.abs(volume) < 1e-9, 1e-9, volume)[:, None, None]
    # from u to 2u - 1: then "inside" is |2u - 1| <= 1, times 1/depth on both sides
    rows[:, :2] = (2 * rows[:, :2] - rows[:, 2:]) * SEAM
    # from rays in the world to rays of the camera, then to pixels: ray = ((x - W/2) / focal, (y - H/2) / focal, 1)
    rows = rows @ turn
    rows[:, :, :2] /= focal
    rows[:, :, 2] -= rows[:, :, 0] * (size[1] / 2) + rows[:, :, 1] * (size[0] / 2)
    rects = screen_bounds(quads, offset @ turn, turn, size, focal)
    # a positive volume: the eye is on the side from which the quad is seen
    seen = (volume > 0) & (rects[:, 0] < rects[:, 1]) & (rects[:, 2] < rects[:, 3])
    chosen = np.nonzero(seen)[0]
    middle = offset + (quads.right + quads.down) / 2
    # near quads first: most of those behind them then fail the depth test at once
    chosen = chosen[np.argsort((middle[chosen] ** 2).sum(1), kind="stable")]
    return rows, np.concatenate([chosen[:, None], rects[chosen]], 1)


def screen_bounds(
    quads: Quads, corner: np.ndarray, turn: np.ndarray, size: tuple[int, int], focal: float
) -> Int[np.ndarray, "q 4"]:
    """Rectangles (top, bottom, left, right) around the quads' part before the camera; empty if there is none.

    The near plane cuts an edge where the depths of its ends lie on both sides of it. The rectangle encloses the
    corners before the plane and these cuts: with one corner of four behind the camera, 3 corners and 2 cuts.
    """
    right, down = quads.right @ turn, quads.down @ turn
    points = np.stack([corner, corner + right, corner + right + down, corner + down], 1)
    following = np.roll(points, -1, 1)
    depth, next_depth = points[..., 2], following[..., 2]
    step = next_depth - depth
    share = (NEAR - depth) / np.where(np.abs(step) < 1e-9, 1e-9, step)
    cut = points + share[..., None] * (following - points)
    crossing = (depth < NEAR) != (next_depth < NEAR)
    points = np.concatenate([points, cut], 1)
    ahead = np.concatenate([depth >= NEAR, crossing], 1)
    scale = focal / np.maximum(points[..., 2], NEAR)
    x, y = points[..., 0] * scale + size[1] / 2, points[..., 1] * scale + size[0] / 2
    low = [np.where(ahead, a, 1e6).min(1) for a in (y, x)]
    high = [np.where(ahead, a, -1e6).max(1) for a in (y, x)]
    limits = np.stack([low[0], high[0], low[1], high[1]], 1) + np.array([-0.5, 0.5, -0.5, 0.5])
    return np.clip(np.round(limits), 0, [size[0], size[0], size[1], size[1]]).astype(np.int64)


def rasterise(
    scene: Scene, coefficients: np.ndarray, rects: np.ndarray, size: tuple[int, int]
) -> VisibilityBuffer:
    """Write every quad into the buffer where it is nearer than what is there."""
    buffer = VisibilityBuffer(np.zeros(size, np.float32), np.zeros(size, np.intp))
    across, along = np.arange(size[1], dtype=np.float32) + 0.5, np.arange(size[0], dtype=np.float32) + 0.5
    masks = [texture.mask for texture in scene.textures.entries]
    textures = scene.quads.texture.tolist()
    for quad, top, bottom, left, right in rects.tolist():
        rows = coefficients[quad]
        # a x + b y + c on a grid is an outer sum of one row and one column
        columns = rows[:, 0, None] * across[left:right]
        lines = rows[:, 1, None] * along[top:bottom] + rows[:, 2, None]
        old = buffer.inverse[top:bottom, left:right]
        inverse = np.add.outer(lines[2], columns[2])
        hit = inverse > old
        if not hit.any():
            continue
        u, v = np.add.outer(lines[0], columns[0]), np.add.outer(lines[1], columns[1])
        hit &= np.maximum(np.abs(u), np.abs(v)) <= inverse  # |2u - 1| <= 1 and |2v - 1| <= 1
        mask = masks[textures[quad]]
        if mask is not None:
            hit &= alpha_test(mask, u, v, inverse)
        np.copyto(old, inverse, where=hit)
        np.copyto(buffer.number[top:bottom, left:right], quad, where=hit)
    return buffer


def alpha_test(mask: np.ndarray, u: np.ndarray, v: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Where a texture's mask lets a quad be seen."""
    height, width = mask.shape
    depth = 1 / np.maximum(inverse, np.float32(1e-6))
    x = np.clip((u * depth + 1) * np.float32(width / 2), 0, width - 1).astype(np.intp)
    y = np.clip((v * depth + 1) * np.float32(height / 2), 0, height - 1).astype(np.intp)
    return mask[y, x]


def shade(scene: Scene, coefficients: np.ndarray, buffer: VisibilityBuffer) -> torch.Tensor:
    """Linear colours ``[1 3 h w]``: each ray's texel, at the mip level of its footprint, times the light."""
    number, inverse = buffer.number, np.maximum(buffer.inverse, np.float32(1e-6))

    def per_ray(column: np.ndarray, index: np.ndarray = number) -> np.ndarray:
        return column.take(index, mode="clip")

    u, v = surface_coordinates(coefficients, inverse, per_ray)
    left, top, across, along = np.ascontiguousarray(scene.light_at.T)
    light_x, light_y = per_ray(left) + u * per_ray(across), per_ray(top) + v * per_ray(along)
    light = sample_bilinear(scene.light, light_x, light_y)
    texels = scene.texels
    x = wrap(u * per_ray(texels[0]) + per_ray(texels[2]), per_ray(texels[4]))
    y = wrap(v * per_ray(texels[1]) + per_ray(texels[3]), per_ray(texels[5]))
    # Mip level = log2 of the side of a ray's footprint in texels. The footprint's area is the Jacobian of pixel ->
    # texel: the determinant of the plane coefficients (a constant of the quad) times depth cubed. Half of its log2,
    # plus 1/2 to round, leaves 3/2 log2(depth) = -3/2 log2(inverse) to be added per ray.
    area = np.abs(np.linalg.det(coefficients)) * 0.25 * texels[0] * texels[1]
    fineness = (0.5 * np.log2(np.maximum(area, 1e-12)) + 0.5).astype(np.float32)
    level = per_ray(fineness) - np.float32(1.5) * np.log2(inverse)
    level = np.clip(level, 0, np.float32(MIP_LEVELS - 0.5)).astype(np.intp)
    scale = MIP_SCALE.take(level)
    index = level * len(scene.quads.texture) + number
    colours = sample_bilinear(
        scene.textures.atlas.pixels,
        x * scale + per_ray(scene.origins[0], index),
        y * scale + per_ray(scene.origins[1], index),
    )
    return colours * light * scene.exposure


def surface_coordinates(
    coefficients: np.ndarray, inverse: np.ndarray, per_ray: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """The (u, v) of every ray on its quad, in [0, 1)."""
    height, width = inverse.shape
    across = np.arange(width, dtype=np.float32) + np.float32(0.5)
    along = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    places = []
    for row in (0, 1):
        a, b, c = np.ascontiguousarray(coefficients[:, row].T)
        # (2u - 1) / depth by its linear function, divided by 1 / depth
        doubled = (per_ray(a) * across + per_ray(b) * along + per_ray(c)) / inverse
        places.append(np.clip((doubled + 1) * np.float32(0.5), 0, np.float32(0.99999)))
    return places


def wrap(x: np.ndarray, period: np.ndarray) -> np.ndarray:
    """``x`` modulo ``period``."""
    return x - period * np.floor(x / period)


def tone_map(colours: torch.Tensor) -> torch.Tensor:
    """Linear light to a picture in [0, 1]: highlights roll off, then a gamma of 2."""
    # x (x + 6) / 6 / (1 + 3/4 x): about x in the shadows, and slower than x in the lights; in place
    rolled = (colours + 6).mul_(colours).mul_(1 / 6)
    return rolled.div_(colours.mul_(0.75).add_(1)).clamp_(0, 1).sqrt_()


def add_contrast(picture: torch.Tensor, contrast: float) -> torch.Tensor:
    """More contrast: a share of an S-curve."""
    return picture * ((1 - contrast) + contrast * picture * (3 - 2 * picture))
