"""Pictures of quads: projection, hidden surfaces by a depth buffer, skins times baked light, a film's response.

Every frame is computed by itself from the scene and one pose, so a long clip continues a short one exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

from scripts.nano.render.mesh import Quads
from scripts.nano.render.skins import LEVELS, Skins, sample

NEAR = 0.05  # metres
OVERSAMPLE = 1.4  # rays per pixel and axis; averaging them softens the edges
SHRINK = 0.5 ** np.arange(LEVELS, dtype=np.float32)
SEAM = 0.9995  # quads reach this much over their edge, so that neighbours leave no gap


@dataclass(frozen=True)
class Scene:
    """Quads with their look."""

    quads: Quads
    skins: Skins
    light: Float[torch.Tensor, "1 3 h w"]  # light maps of all quads, linear
    light_at: Float[np.ndarray, "q 4"]  # x, y of a quad's light map; steps across and down
    exposure: float
    contrast: float  # 0: as developed; 1: a full S-curve

    @cached_property
    def texels(self) -> Float[np.ndarray, "6 q"]:
        """Of every quad: texels across and down, its skin's shift in texels, its skin's size."""
        quads, entries = self.quads, self.skins.entries
        lengths = np.stack([np.linalg.norm(quads.right, axis=1), np.linalg.norm(quads.down, axis=1)])
        density = np.array([skin.density or 0 for skin in entries], np.float32)[quads.skin]
        size = self.skins.sheet.size[quads.skin].T
        texels = np.where(density > 0, lengths * density, size)
        shift = np.where(density > 0, quads.shift.T * density, 0)
        return np.concatenate([texels, shift, size]).astype(np.float32)

    @cached_property
    def origins(self) -> Float[np.ndarray, "2 lq"]:
        """Where the skins of all quads lie in the sheet, size by size."""
        return np.ascontiguousarray(self.skins.sheet.origin[:, self.quads.skin].reshape(-1, 2).T)


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
class Buffers:
    """What each ray sees: the inverse depth of the nearest quad, and its number."""

    inverse: Float[np.ndarray, "h w"]
    number: Int[np.ndarray, "h w"]


def render(
    scene: Scene, pose: Float[np.ndarray, "4 4"], lens: Lens, quads: Quads | None = None
) -> torch.Tensor:
    """One picture, uint8 ``[H W 3]``. ``quads`` stand in for the scene's where bodies have moved."""
    quads = quads or scene.quads
    tall, wide = round(lens.size[0] * OVERSAMPLE), round(lens.size[1] * OVERSAMPLE)
    coefficients, rects = project(quads, pose, (tall, wide), lens.focal * wide)
    colours = shade(scene, coefficients, rasterise(scene, coefficients, rects, (tall, wide)))
    picture = F.interpolate(develop(colours), size=lens.size, mode="bicubic", antialias=True)
    return (harden(picture[0].clamp_(0, 1), scene.contrast) * 255).round_().to(torch.uint8).permute(1, 2, 0)


def depth(scene: Scene, pose: Float[np.ndarray, "4 4"], lens: Lens) -> Float[np.ndarray, "H W"]:
    """Depth along the camera's axis in metres at the middles of the pixels; inf where there is nothing."""
    coefficients, rects = project(scene.quads, pose, lens.size, lens.focal * lens.size[1])
    inverse = rasterise(scene, coefficients, rects, lens.size).inverse
    return np.where(inverse > 0, 1 / np.maximum(inverse, np.float32(1e-9)), np.inf)


def project(
    quads: Quads, pose: Float[np.ndarray, "4 4"], size: tuple[int, int], focal: float
) -> tuple[Float[np.ndarray, "q 3 3"], np.ndarray]:
    """Linear functions of the pixel that give (2u - 1, 2v - 1, 1) / depth, and the pixels a quad may touch.

    The rectangles are (quad, top, bottom, left, right), those of visible quads only.
    """
    turn, eye = pose[:3, :3].astype(np.float32), pose[:3, 3].astype(np.float32)
    offset = quads.corner - eye
    away = np.cross(quads.right, quads.down)
    volume = (offset * away).sum(1)
    rows = np.stack([np.cross(quads.down, offset), np.cross(offset, quads.right), away], 1)
    rows /= np.where(np.abs(volume) < 1e-9, 1e-9, volume)[:, None, None]
    rows[:, :2] = (2 * rows[:, :2] - rows[:, 2:]) * SEAM
    rows = rows @ turn
    rows[:, :, :2] /= focal
    rows[:, :, 2] -= rows[:, :, 0] * (size[1] / 2) + rows[:, :, 1] * (size[0] / 2)
    rects = bounds(quads, offset @ turn, turn, size, focal)
    seen = (volume > 0) & (rects[:, 0] < rects[:, 1]) & (rects[:, 2] < rects[:, 3])
    chosen = np.nonzero(seen)[0]
    middle = offset + (quads.right + quads.down) / 2
    chosen = chosen[np.argsort((middle[chosen] ** 2).sum(1), kind="stable")]  # the near ones first
    return rows, np.concatenate([chosen[:, None], rects[chosen]], 1)


def bounds(
    quads: Quads, corner: np.ndarray, turn: np.ndarray, size: tuple[int, int], focal: float
) -> np.ndarray:
    """Rectangles (top, bottom, left, right) around the quads' part in front of the camera; empty if there is none."""
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


def rasterise(scene: Scene, coefficients: np.ndarray, rects: np.ndarray, size: tuple[int, int]) -> Buffers:
    """Write every quad into the buffers where it is nearer than what is there."""
    buffers = Buffers(np.zeros(size, np.float32), np.zeros(size, np.intp))
    across, along = np.arange(size[1], dtype=np.float32) + 0.5, np.arange(size[0], dtype=np.float32) + 0.5
    masks = [skin.mask for skin in scene.skins.entries]
    skins = scene.quads.skin.tolist()
    for quad, top, bottom, left, right in rects.tolist():
        rows = coefficients[quad]
        columns = rows[:, 0, None] * across[left:right]
        lines = rows[:, 1, None] * along[top:bottom] + rows[:, 2, None]
        old = buffers.inverse[top:bottom, left:right]
        inverse = np.add.outer(lines[2], columns[2])
        hit = inverse > old
        if not hit.any():
            continue
        u, v = np.add.outer(lines[0], columns[0]), np.add.outer(lines[1], columns[1])
        hit &= np.maximum(np.abs(u), np.abs(v)) <= inverse
        mask = masks[skins[quad]]
        if mask is not None:
            hit &= cut_out(mask, u, v, inverse)
        np.copyto(old, inverse, where=hit)
        np.copyto(buffers.number[top:bottom, left:right], quad, where=hit)
    return buffers


def cut_out(mask: np.ndarray, u: np.ndarray, v: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Where a skin's mask lets a quad be seen."""
    height, width = mask.shape
    depth = 1 / np.maximum(inverse, np.float32(1e-6))
    x = np.clip((u * depth + 1) * np.float32(width / 2), 0, width - 1).astype(np.intp)
    y = np.clip((v * depth + 1) * np.float32(height / 2), 0, height - 1).astype(np.intp)
    return mask[y, x]


def shade(scene: Scene, coefficients: np.ndarray, buffers: Buffers) -> torch.Tensor:
    """Linear colours ``[1 3 h w]``: each ray's texel, from the size that suits its distance, times the light."""
    number, inverse = buffers.number, np.maximum(buffers.inverse, np.float32(1e-6))

    def of(column: np.ndarray, index: np.ndarray = number) -> np.ndarray:
        return column.take(index, mode="clip")

    place = where(coefficients, inverse, of)
    left, top, across, along = np.ascontiguousarray(scene.light_at.T)
    light = sample(scene.light, of(left) + place[0] * of(across), of(top) + place[1] * of(along))
    texels = scene.texels
    x = wrap(place[0] * of(texels[0]) + of(texels[2]), of(texels[4]))
    y = wrap(place[1] * of(texels[1]) + of(texels[3]), of(texels[5]))
    # The area of a ray's footprint in texels is the Jacobian of the projection.
    area = np.abs(np.linalg.det(coefficients)) * 0.25 * texels[0] * texels[1]
    fineness = (0.5 * np.log2(np.maximum(area, 1e-12)) + 0.5).astype(np.float32)
    level = of(fineness) - np.float32(1.5) * np.log2(inverse)
    level = np.clip(level, 0, np.float32(LEVELS - 0.5)).astype(np.intp)
    shrink = SHRINK.take(level)
    index = level * len(scene.quads.skin) + number
    colours = sample(
        scene.skins.sheet.pixels,
        x * shrink + of(scene.origins[0], index),
        y * shrink + of(scene.origins[1], index),
    )
    return colours * light * scene.exposure


def where(
    coefficients: np.ndarray, inverse: np.ndarray, of: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """The (u, v) of every ray on its quad, in [0, 1)."""
    height, width = inverse.shape
    across = np.arange(width, dtype=np.float32) + np.float32(0.5)
    along = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    places = []
    for row in (0, 1):
        a, b, c = np.ascontiguousarray(coefficients[:, row].T)
        doubled = (of(a) * across + of(b) * along + of(c)) / inverse
        places.append(np.clip((doubled + 1) * np.float32(0.5), 0, np.float32(0.99999)))
    return places


def wrap(x: np.ndarray, period: np.ndarray) -> np.ndarray:
    """``x`` modulo ``period``."""
    return x - period * np.floor(x / period)


def develop(colours: torch.Tensor) -> torch.Tensor:
    """Linear light to a picture in [0, 1]: highlights roll off, then a gamma of 2."""
    rolled = (colours + 6).mul_(colours).mul_(1 / 6)
    return rolled.div_(colours.mul_(0.75).add_(1)).clamp_(0, 1).sqrt_()


def harden(picture: torch.Tensor, contrast: float) -> torch.Tensor:
    """More contrast: a share of an S-curve."""
    return picture * ((1 - contrast) + contrast * picture * (3 - 2 * picture))
