"""Pictures with a shape of their own, stretched over one quad: doors, drawers, books, paintings, the view outside."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from scripts.nano.render.textures import noise, paint, speckle, tint

Picture = Float[np.ndarray, "h w 3"]


def sheet(height: int, width: int, colour: np.ndarray) -> Picture:
    """A plain picture."""
    return np.ones((height, width, 3), np.float32) * np.asarray(colour, np.float32)


def groove(picture: Picture, top: int, bottom: int, left: int, right: int, depth: float = 0.35) -> None:
    """A bevelled frame around a rectangle: dark above and left, bright below and right."""
    picture[top, left:right] *= 1 - depth
    picture[top:bottom, left] *= 1 - depth
    picture[bottom - 1, left:right] = np.minimum(picture[bottom - 1, left:right] * (1 + depth), 1)
    picture[top:bottom, right - 1] = np.minimum(picture[top:bottom, right - 1] * (1 + depth), 1)


def door(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """A door leaf of 2 to 6 panels with a knob: 128 x 56 texels for 2.05 x 0.9 m."""
    picture = sheet(128, 56, colour)
    rows = int(rng.choice([1, 2, 3]))
    columns = int(rng.choice([1, 2]))
    edges = np.linspace(4, 126, rows + 1).astype(int)
    sides = np.linspace(4, 54, columns + 1).astype(int)
    if rng.random() < 0.85:
        for top, bottom in pairwise(edges):
            for left, right in pairwise(sides):
                groove(picture, top + 3, bottom - 5, left + 3, right - 5)
                groove(picture, top + 5, bottom - 7, left + 5, right - 7, 0.2)
    picture[66:69, 3:8] = rng.choice([0.05, 0.5])
    return picture


def fronts(rng: np.random.Generator, base: Picture, rows: int, columns: int) -> Picture:
    """Drawers or doors on a piece of furniture: ``base`` (a multiple of 8 high and wide) with grooves and handles."""
    picture = base.copy()
    height, width = picture.shape[:2]
    handle = paint(rng, "grey" if rng.random() < 0.6 else "dark")
    for r in range(rows):
        for c in range(columns):
            top, bottom = r * height // rows, (r + 1) * height // rows
            left, right = c * width // columns, (c + 1) * width // columns
            groove(picture, top, bottom, left, right, 0.6)
            if min(bottom - top, right - left) > 14 and rows * columns < 7:
                groove(picture, top + 4, bottom - 4, left + 4, right - 4, 0.3)
            middle, centre = (top + bottom) // 2, (left + right) // 2
            if right - left > bottom - top:
                picture[middle - 1 : middle + 1, centre - 4 : centre + 4] = handle
            else:
                side = right - 5 if c % 2 == 0 else left + 3
                picture[middle - 5 : middle + 5, side : side + 2] = handle
    return picture


def books(rng: np.random.Generator) -> Picture:
    """One shelf of books: 32 x 128 texels for 0.3 x 1.2 m, some of it empty."""
    picture = sheet(32, 128, 0.04)
    palettes = rng.choice(["cloth", "vivid", "white", "dark", "wall"], 9)
    colours = [paint(rng, str(palette)).astype(np.float32) for palette in palettes]
    x = int(rng.integers(0, 8))
    while x < 124:
        width = int(rng.integers(2, 7))
        if rng.random() < 0.1:
            x += int(rng.integers(6, 24))
            continue
        top = int(rng.integers(2, 14))
        colour = colours[int(rng.integers(len(colours)))]
        picture[top:, x : x + width] = colour
        picture[top:, x : x + 1] *= 0.5
        if width > 3:
            picture[top + 3 : top + 6, x + 1 : x + width] = colours[int(rng.integers(len(colours)))]
        x += width
    return picture


def painting(rng: np.random.Generator) -> Picture:
    """A framed picture of 64 x 64 texels: landscape, abstract or a photograph in a white mat."""
    style = rng.random()
    tones = [noise(rng, (4, 4), (64, 64)), noise(rng, (16, 16), (64, 64))]
    if style < 0.4:
        horizon = np.arange(64)[:, None] - 32 - 8 * tones[0] * (rng.random() < 0.8)
        picture = np.where(horizon[..., None] < 0, paint(rng, "cool wall"), paint(rng, "leaf"))
        picture = picture * np.exp(0.3 * tones[1])[..., None]
    elif style < 0.75:
        share = 1 / (1 + np.exp(-6 * (tones[0] + 0.4 * tones[1])))[..., None]
        picture = share * paint(rng, "vivid") + (1 - share) * paint(rng, "wall")
    else:
        picture = tint(paint(rng, "grey"), tones[0] + 0.6 * tones[1], 0.7)
    mat = int(rng.choice([4, 4, 14]))
    framed = sheet(64, 64, paint(rng, "white"))
    framed[mat:-mat, mat:-mat] = picture[mat:-mat, mat:-mat]
    colour = paint(rng, str(rng.choice(["dark", "wood", "dark wood", "white"])))
    for edge in (framed[:3], framed[-3:], framed[:, :3], framed[:, -3:]):
        edge[:] = colour
    return np.clip(framed, 0, 1)


def outside(rng: np.random.Generator) -> Picture:
    """The view out of a window, 128 x 256 texels: sky, far trees, a house or a hedge, lawn. Bright."""
    y = np.arange(128)[:, None]
    sky = paint(rng, "cool wall") * np.array([0.75, 0.9, 1.0]) * 0.5 + 0.5
    clouds = 0.25 * noise(rng, (4, 4), (128, 256)) + 0.12 * noise(rng, (16, 16), (128, 256))
    picture = np.clip(sky * np.exp(clouds)[..., None], 0, 1).astype(np.float32)
    leaves = noise(rng, (16, 32), (128, 256)) + noise(rng, (64, 128), (128, 256))
    trees = y > rng.uniform(30, 75) + 14 * noise(rng, (1, 8), (128, 256)) + 5 * noise(
        rng, (2, 32), (128, 256)
    )
    picture[trees] = tint(paint(rng, "leaf"), leaves, 0.5)[trees]
    if rng.random() < 0.5:
        left, top = int(rng.integers(0, 150)), int(rng.integers(40, 70))
        front = tint(paint(rng, "wall"), leaves, 0.06)
        for x in range(left + 8, left + 90, 20):
            front[top + 14 : top + 26, x : x + 10] = 0.08
        picture[top:100, left : left + 95] = front[top:100, left : left + 95]
        picture[top - 12 : top, left - 4 if left > 4 else 0 : left + 99] = paint(rng, "dark wood")
    lawn = np.broadcast_to(y > 98, (128, 256))
    picture[lawn] = tint(paint(rng, "leaf") * 1.5, leaves, 0.25)[lawn]
    grey = picture.mean(2, keepdims=True)  # haze
    return picture + np.float32(rng.uniform(0.1, 0.6)) * (grey - picture)


def rug(rng: np.random.Generator) -> Picture:
    """A rug with a border, 64 x 96 texels."""
    colours = [paint(rng, str(p)) for p in rng.choice(["cloth", "wall", "dark", "vivid"], 3)]
    y, x = np.mgrid[:64, :96]
    edge = np.minimum(np.minimum(y, 63 - y), np.minimum(x, 95 - x))
    motif = np.sin(x * rng.uniform(0.2, 0.8)) * np.sin(y * rng.uniform(0.2, 0.8)) > rng.uniform(-0.2, 0.5)
    field = np.where(motif[..., None], colours[1], colours[0])
    picture = np.where(((edge > 3) & (edge < 9))[..., None], colours[2], field)
    return np.clip(picture * np.exp(0.15 * noise(rng, (64, 96), (64, 96)))[..., None], 0, 1)


def curtain(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """Folds: 16 x 64 texels."""
    folds = noise(rng, (1, 16), (16, 64)) + 0.8 * np.sin(np.arange(64) * 2 * np.pi / 8)[None]
    return tint(colour, folds.astype(np.float32), 0.3)


def blinds(rng: np.random.Generator) -> Picture:
    """Slats: 64 x 8 texels."""
    lines = np.where(np.arange(64) % 4 == 0, 0.45, 0.95)[:, None]
    return sheet(64, 8, paint(rng, "white")) * lines[..., None].astype(np.float32)


def screen(rng: np.random.Generator) -> Picture:
    """A dark screen with a faint reflection: 32 x 64 texels."""
    ramp = np.linspace(0, 1, 64)[None] * np.linspace(1, 0.3, 32)[:, None]
    return (sheet(32, 64, 0.006) + 0.05 * rng.random() * ramp[..., None]).astype(np.float32)


def oven(rng: np.random.Generator) -> Picture:
    """An oven's front: 64 x 48 texels, a dark window, a bar, knobs."""
    picture = sheet(64, 48, paint(rng, str(rng.choice(["grey", "dark", "white"]))))
    picture[16:52, 6:42] = 0.01
    picture[11:13, 4:44] = 0.5
    for x in range(6, 42, 8):
        picture[4:8, x : x + 4] = 0.02 if picture[0, 0, 0] > 0.1 else 0.4
    return picture


def hob(rng: np.random.Generator) -> Picture:
    """Four rings on a dark or steel plate: 64 x 64 texels."""
    y, x = np.mgrid[:64, :64]
    picture = sheet(64, 64, rng.choice([0.01, 0.25]))
    for cy, cx in ((17, 17), (17, 47), (47, 17), (47, 47)):
        radius = np.hypot(y - cy, x - cx)
        picture[(radius < 12) & (radius > 9)] = 0.08
        picture[radius < 4] = 0.02
    return picture


def label(rng: np.random.Generator) -> Picture:
    """What is printed on a can or a packet: 32 x 32 texels."""
    picture = sheet(32, 32, paint(rng, str(rng.choice(["vivid", "white", "cloth"]))))
    top = int(rng.integers(3, 14))
    picture[top : top + int(rng.integers(4, 12))] = paint(rng, "vivid")
    for y in range(4, 30, 5):
        start, stop = sorted(rng.integers(2, 30, 2))
        picture[y : y + 2, start:stop] = paint(rng, str(rng.choice(["white", "dark"])))
    return picture


def disc(picture: Picture) -> np.ndarray:
    """The mask of a circle that fills the picture."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    return np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5) < 0.5


def foliage(rng: np.random.Generator) -> tuple[Picture, np.ndarray]:
    """Leaves on nothing, 64 x 64 texels, and where they are."""
    y, x = np.mgrid[:64, :64] / 63 - 0.5
    clumps = noise(rng, (8, 8), (64, 64)) + noise(rng, (16, 16), (64, 64))
    mask = clumps > 3.5 * (np.hypot(x * 1.1, y) - 0.33)
    tones = noise(rng, (16, 16), (64, 64)) + noise(rng, (64, 64), (64, 64))
    return tint(paint(rng, "leaf"), tones, 0.45), mask


def folds(rng: np.random.Generator, colour: np.ndarray) -> Picture:
    """A crumpled cloth: 64 x 64 texels."""
    return tint(colour, speckle(rng, (8, 16, 32))[:64, :64] + 0.4 * noise(rng, (64, 64), (64, 64)), 0.16)
