"""Surfaces that repeat: boards, tiles, carpet, plaster, wood, cloth, stone. Pictures of linear light, 0 to 1.

Each takes a numpy generator and gives a 128x128 picture that repeats without a seam. At 64 texels a metre it
covers 2 m; sizes in the arguments are texels.
"""

import colorsys
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

SIDE = 128
BANK = 6  # smooth noises of each fineness that are made once; where and how they are laid is random
Picture = Float[np.ndarray, "h w 3"]
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


def paint(rng: np.random.Generator, palette: str) -> Float[np.ndarray, "3"]:
    """A colour of a palette, in linear light."""
    hue, saturation, value = (rng.uniform(*span) for span in PALETTES[palette])
    return np.square(colorsys.hsv_to_rgb(hue, saturation, value))


def noise(
    rng: np.random.Generator, cells: tuple[int, int], shape: tuple[int, int] = (SIDE, SIDE)
) -> np.ndarray:
    """Smooth noise that repeats, variance about 1, with ``cells`` bumps down and across."""
    if cells == shape:
        return rng.standard_normal(cells, np.float32)
    smooth = banked(cells, shape, int(rng.integers(BANK)))
    steps = tuple(int(n) for n in rng.integers(0, shape))
    return np.roll(smooth, steps, (0, 1)) * np.float32(rng.choice([-1, 1]))


@cache
def banked(cells: tuple[int, int], shape: tuple[int, int], number: int) -> np.ndarray:
    """One of the smooth noises, from a seed of its own."""
    values = np.random.default_rng([*cells, *shape, number]).standard_normal(cells, np.float32)
    grid = torch.from_numpy(np.pad(values, 2, "wrap"))[None, None]
    steps = shape[0] // cells[0], shape[1] // cells[1]
    big = F.interpolate(grid, scale_factor=[float(n) for n in steps], mode="bicubic", align_corners=False)
    top, left = 2 * steps[0], 2 * steps[1]
    return big[0, 0, top : top + shape[0], left : left + shape[1]].numpy() * np.float32(1.3)


def speckle(rng: np.random.Generator, sizes: tuple[int, ...]) -> np.ndarray:
    """A sum of noises of the given numbers of bumps, each as strong as the others, variance about 1."""
    return sum(noise(rng, (n, n)) for n in sizes) / np.float32(len(sizes) ** 0.5)


def tint(colour: np.ndarray, tone: np.ndarray, depth: float) -> Picture:
    """A colour made lighter and darker by ``exp(depth * tone)``."""
    return np.clip(np.exp(np.float32(depth) * tone)[..., None] * colour.astype(np.float32), 0, 1)


def plaster(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """A painted wall: faint clouds, fine grain."""
    return tint(colour, 0.6 * speckle(rng, (4, 16)) + noise(rng, (SIDE, SIDE)), rng.uniform(0.015, 0.05))


def wallpaper(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """Vertical stripes or a small repeating motif."""
    period = int(rng.choice([8, 16, 32]))
    x = np.arange(SIDE) * (2 * np.pi / period)
    if rng.random() < 0.5:
        tone = np.sign(np.sin(x))[None, :] * np.ones((SIDE, 1))
    else:
        tone = np.clip(3 * (np.sin(x)[None] * np.sin(x)[:, None] + 0.3 * np.sin(2 * x)[None] - 0.4), -1, 1)
    return tint(colour, tone.astype(np.float32) + 0.2 * noise(rng, (32, 32)), rng.uniform(0.06, 0.22))


def wood(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """Grain along x."""
    grain = noise(rng, (32, 2)) + 0.7 * noise(rng, (64, 4)) + 0.5 * noise(rng, (8, 1))
    return tint(colour, grain, rng.uniform(0.08, 0.2))


def boards(
    rng: np.random.Generator, colour: np.ndarray, width: int, length: int, spread: float = 0.18
) -> Picture:
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
    rng: np.random.Generator,
    colour: np.ndarray,
    shape: tuple[int, int],
    grout: float,
    spread: float,
    bond: bool,
) -> Picture:
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


def carpet(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """Short pile: fine grain and soft clouds."""
    return tint(colour, noise(rng, (SIDE, SIDE)) + noise(rng, (64, 64)) + 0.5 * noise(rng, (4, 4)), 0.11)


def cloth(rng: np.random.Generator, colour: np.ndarray, other: np.ndarray) -> Picture:
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


def stone(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """Granite or marble."""
    if rng.random() < 0.5:
        return tint(colour, speckle(rng, (32, 64, 128)), rng.uniform(0.15, 0.4))
    veins = np.abs(noise(rng, (4, 4)) + 0.4 * noise(rng, (16, 16)) + 0.2 * noise(rng, (64, 64)))
    return tint(colour, np.clip(veins, 0, 0.5), rng.uniform(0.4, 0.9))


def brick(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """A brick or stone wall."""
    return tiles(rng, colour, (4, 16), rng.choice([-0.5, 0.4]), 0.2, bond=True)


def brushed(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """Metal: faint lines along x and broad reflections."""
    return tint(colour, noise(rng, (64, 2)) + 1.5 * noise(rng, (4, 2)), rng.uniform(0.1, 0.25))


def floor(rng: np.random.Generator) -> Picture:
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


def wall(rng: np.random.Generator) -> Picture:
    """Any wall: mostly plain paint."""
    colour = paint(rng, str(rng.choice(["wall", "wall", "white", "cool wall"])))
    style = rng.random()
    if style < 0.8:
        return plaster(rng, colour)
    return brick(rng, paint(rng, "wood")) if style > 0.95 else wallpaper(rng, colour)
