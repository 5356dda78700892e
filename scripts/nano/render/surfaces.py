"""Surfaces made of noise: boards, tiles, carpet, plaster, wood, cloth, stone, leaves.

Pictures of linear light, 0 to 1. Most are 128x128 pictures that repeat without a seam: at 64 texels a metre they
cover 2 m. Sizes in the arguments are texels.
"""

import colorsys
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from scripts.nano.render.textured_quads import Rng, TextureImage

SIDE = 128
NOISE_BANK = 6  # smooth noises of each fineness that are made once; where and how they are laid is random
PALETTES = {  # (hue, saturation, value) ranges in display values; hue in turns
    "wall": ((0.05, 0.16), (0.01, 0.2), (0.66, 0.98)),
    "cool wall": ((0.45, 0.68), (0.02, 0.22), (0.5, 0.95)),
    "white": ((0.05, 0.2), (0.0, 0.06), (0.88, 0.98)),
    "wood": ((0.05, 0.1), (0.3, 0.65), (0.35, 0.82)),
    "dark wood": ((0.02, 0.08), (0.3, 0.65), (0.14, 0.4)),
    "cloth": ((0.0, 1.0), (0.03, 0.4), (0.15, 0.9)),
    "grey": ((0.0, 1.0), (0.0, 0.08), (0.2, 0.75)),
    "dark": ((0.0, 1.0), (0.0, 0.25), (0.05, 0.16)),
    "vivid": ((0.0, 1.0), (0.6, 0.95), (0.5, 0.95)),
    "leaf": ((0.2, 0.36), (0.35, 0.75), (0.2, 0.55)),
}


def paint(rng: Rng, palette: str) -> Float[np.ndarray, "3"]:
    """A colour of a palette, in linear light."""
    hue, saturation, value = (rng.uniform(*span) for span in PALETTES[palette])
    return np.square(colorsys.hsv_to_rgb(hue, saturation, value))


def noise(rng: Rng, cells: tuple[int, int], shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """Smooth noise that repeats, variance about 1, with ``cells`` bumps down and across."""
    if cells == shape:
        return rng.standard_normal(cells, np.float32)
    # one of a few ready-made noises, rolled around its edges and perhaps negated: interpolating anew takes far longer
    smooth = banked_noise(cells, shape, int(rng.integers(NOISE_BANK)))
    steps = tuple(int(n) for n in rng.integers(0, shape))
    return np.roll(smooth, steps, (0, 1)) * np.float32(rng.choice([-1, 1]))


@cache
def banked_noise(cells: tuple[int, int], shape: tuple[int, int], number: int) -> np.ndarray:
    """One of the smooth noises, from a seed of its own."""
    values = np.random.default_rng([*cells, *shape, number]).standard_normal(cells, np.float32)
    # wrapped by two cells, as far as the bicubic filter reaches, enlarged and cut: so it repeats without a seam
    grid = torch.from_numpy(np.pad(values, 2, "wrap"))[None, None]
    steps = shape[0] // cells[0], shape[1] // cells[1]
    big = F.interpolate(grid, scale_factor=[float(n) for n in steps], mode="bicubic", align_corners=False)
    top, left = 2 * steps[0], 2 * steps[1]
    enlarged = big[0, 0, top : top + shape[0], left : left + shape[1]].numpy()
    return enlarged * np.float32(1.3)  # for the variance that interpolation takes


def speckle(rng: Rng, sizes: tuple[int, ...]) -> np.ndarray:
    """A sum of noises of the given numbers of bumps, each as strong as the others, variance about 1."""
    return sum(noise(rng, (n, n)) for n in sizes) / np.float32(len(sizes) ** 0.5)


def tint(colour: np.ndarray, tone: np.ndarray, depth: float) -> TextureImage:
    """A colour made lighter and darker by ``exp(depth * tone)``."""
    return np.clip(np.exp(np.float32(depth) * tone)[..., None] * colour.astype(np.float32), 0, 1)


def plaster(rng: Rng, colour: np.ndarray) -> TextureImage:
    """A painted wall: faint clouds, fine grain."""
    return tint(colour, 0.6 * speckle(rng, (4, 16)) + noise(rng, (SIDE, SIDE)), rng.uniform(0.015, 0.05))


def wallpaper(rng: Rng, colour: np.ndarray) -> TextureImage:
    """Vertical stripes or a small repeating motif."""
    period = int(rng.choice([8, 16, 32]))
    x = np.arange(SIDE) * (2 * np.pi / period)
    if rng.random() < 0.5:
        tone = np.sign(np.sin(x))[None, :] * np.ones((SIDE, 1))
    else:
        tone = np.clip(3 * (np.sin(x)[None] * np.sin(x)[:, None] + 0.3 * np.sin(2 * x)[None] - 0.4), -1, 1)
    return tint(colour, tone.astype(np.float32) + 0.2 * noise(rng, (32, 32)), rng.uniform(0.06, 0.22))


def wood(rng: Rng, colour: np.ndarray) -> TextureImage:
    """Grain along x."""
    grain = noise(rng, (32, 2)) + 0.7 * noise(rng, (64, 4)) + 0.5 * noise(rng, (8, 1))
    return tint(colour, grain, rng.uniform(0.08, 0.2))


def boards(rng: Rng, colour: np.ndarray, width: int, length: int, spread: float = 0.18) -> TextureImage:
    """Rows of boards along x, ``width`` by about ``length`` texels, each of its own tone, with dark joints.

    ``width`` must divide 128.
    """
    picture = wood(rng, colour)
    for top in range(0, SIDE, width):
        cuts = np.sort(rng.integers(0, SIDE, max(1, SIDE // length)))
        tones = np.exp(spread * rng.standard_normal(len(cuts))).astype(np.float32)
        which = np.searchsorted(cuts, np.arange(SIDE)) % len(cuts)
        row = picture[top : top + width]
        row *= tones[which][None, :, None]
        row[0] *= 0.55
        row[:, cuts] *= 0.6
    return np.clip(picture, 0, 1)


def tiles(
    rng: Rng,
    colour: np.ndarray,
    shape: tuple[int, int],
    grout: float,
    spread: float,
    bond: bool,
) -> TextureImage:
    """Tiles of (height, width) texels that divide 128; ``grout`` brightens or darkens the joints.

    ``bond`` shifts every other row by half a tile.
    """
    rows, columns = SIDE // shape[0], SIDE // shape[1]
    tone = (spread * rng.standard_normal((rows, columns))).astype(np.float32)
    tone = tone.repeat(shape[0], 0).repeat(shape[1], 1) + 0.04 * speckle(rng, (8, 32))
    joint = np.zeros((SIDE, SIDE), bool)
    joint[:: shape[0]] = joint[:, :: shape[1]] = True
    if bond:
        odd = (np.arange(SIDE) // shape[0]) % 2 == 1
        tone[odd], joint[odd] = np.roll(tone[odd], shape[1] // 2, 1), np.roll(joint[odd], shape[1] // 2, 1)
    return tint(colour, np.where(joint, np.float32(grout), tone), 1.0)


def carpet(rng: Rng, colour: np.ndarray) -> TextureImage:
    """Short pile: fine grain and soft clouds."""
    return tint(colour, noise(rng, (SIDE, SIDE)) + noise(rng, (64, 64)) + 0.5 * noise(rng, (4, 4)), 0.11)


def cloth(rng: Rng, colour: np.ndarray, other: np.ndarray) -> TextureImage:
    """Plain weave, stripes, checks or blossoms in two colours, repeating every 0.25 to 0.5 m."""
    style = rng.choice(["plain", "plain", "stripes", "checks", "blossoms"])
    weave = tint(colour, noise(rng, (SIDE, SIDE)) + 1.2 * speckle(rng, (16, 32)), 0.07)
    if style == "plain":
        return weave
    x = np.arange(SIDE) * (2 * np.pi / int(rng.choice([8, 16, 32])))
    bands = (np.sin(x) > rng.uniform(-0.3, 0.6)).astype(np.float32)
    if style == "stripes":
        share = np.repeat(bands[None], SIDE, 0)
    elif style == "checks":
        share = (bands[None] + bands[:, None]) / 2
    else:
        share = (speckle(rng, (16, 32)) > rng.uniform(0.2, 0.8)).astype(np.float32)
    return weave * (1 - share[..., None]) + share[..., None] * other.astype(np.float32)


def stone(rng: Rng, colour: np.ndarray) -> TextureImage:
    """Granite or marble."""
    if rng.random() < 0.5:
        return tint(colour, speckle(rng, (32, 64, 128)), rng.uniform(0.15, 0.4))
    veins = np.abs(noise(rng, (4, 4)) + 0.4 * noise(rng, (16, 16)) + 0.2 * noise(rng, (64, 64)))
    return tint(colour, np.clip(veins, 0, 0.5), rng.uniform(0.4, 0.9))


def brick(rng: Rng, colour: np.ndarray) -> TextureImage:
    """A brick or stone wall."""
    return tiles(rng, colour, (4, 16), rng.choice([-0.5, 0.4]), 0.2, bond=True)


def brushed(rng: Rng, colour: np.ndarray) -> TextureImage:
    """Metal: faint lines along x and broad reflections."""
    return tint(colour, noise(rng, (64, 2)) + 1.5 * noise(rng, (4, 2)), rng.uniform(0.1, 0.25))


def floor(rng: Rng) -> TextureImage:
    """Any floor of a house."""
    style = rng.random()
    if style < 0.5:
        palette = "wood" if rng.random() < 0.7 else "dark wood"
        return boards(rng, paint(rng, palette), int(rng.choice([4, 4, 8])), int(rng.choice([16, 32, 64])))
    if style < 0.78:
        side = int(rng.choice([8, 16, 16]))
        colour = paint(rng, str(rng.choice(["wall", "grey"])))
        return tiles(rng, colour, (side, side), rng.uniform(-0.8, 0.3), 0.07, bond=False)
    return carpet(rng, paint(rng, str(rng.choice(["wall", "grey", "cloth"]))))


def wall(rng: Rng) -> TextureImage:
    """Any wall: mostly plain paint."""
    colour = paint(rng, str(rng.choice(["wall", "wall", "white", "cool wall"])))
    style = rng.random()
    if style < 0.8:
        return plaster(rng, colour)
    return brick(rng, paint(rng, "wood")) if style > 0.95 else wallpaper(rng, colour)


def curtain(rng: Rng, colour: np.ndarray) -> TextureImage:
    """Folds: 16 x 64 texels."""
    folds = noise(rng, (1, 16), (16, 64)) + 0.8 * np.sin(np.arange(64) * 2 * np.pi / 8)[None]
    return tint(colour, folds.astype(np.float32), 0.3)


def folds(rng: Rng, colour: np.ndarray) -> TextureImage:
    """A crumpled cloth: 64 x 64 texels."""
    return tint(colour, speckle(rng, (8, 16, 32))[:64, :64] + 0.4 * noise(rng, (64, 64), (64, 64)), 0.16)


def foliage(rng: Rng) -> tuple[TextureImage, np.ndarray]:
    """Leaves on nothing, 64 x 64 texels, and where they are."""
    y, x = np.mgrid[:64, :64] / 63 - 0.5
    clumps = noise(rng, (8, 8), (64, 64)) + noise(rng, (16, 16), (64, 64))
    mask = clumps > 3.5 * (np.hypot(x * 1.1, y) - 0.33)
    tones = noise(rng, (16, 16), (64, 64)) + noise(rng, (64, 64), (64, 64))
    return tint(paint(rng, "leaf"), tones, 0.45), mask


def disc_mask(picture: TextureImage) -> np.ndarray:
    """The mask of a circle that fills the picture."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    return np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5) < 0.5
