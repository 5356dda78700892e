"""Materials by name: the textures one scene draws from, a few of each, made when first asked for.

    materials = Materials(Textures(), rng)
    wood = materials("wood")                # the number of a texture, for Mesh.box and Mesh.quad

Beside the surfaces of surfaces.py these are pictures stretched over one quad: doors, drawers, books, paintings, the
view out of a window. Pictures of linear light, 0 to 1.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from scripts.nano.render import surfaces
from scripts.nano.render.surfaces import noise, paint, tint
from scripts.nano.render.textured_quads import Rng, TextureImage, Textures

MAX_OF_ONE = 2  # different textures of one material in a scene
Maker = Callable[[Rng], TextureImage]


class Materials:
    """Textures by the name of their material."""

    def __init__(self, textures: Textures, rng: Rng) -> None:
        self.textures, self.rng = textures, rng
        self.known: dict[str, list[int]] = {}

    def __call__(self, name: str, fresh: bool = False) -> int:
        """The number of a texture of this material: one of those there are, or a new one (``fresh``: always new)."""
        known = self.known.setdefault(name, [])
        if not fresh and known and (len(known) >= MAX_OF_ONE or self.rng.random() < 0.6):
            return known[int(self.rng.integers(len(known)))]
        known.append(self._make(name))
        return known[-1]

    def _make(self, name: str) -> int:
        if name in REPEATING:
            make, density = REPEATING[name]
            return self.textures.add(make(self.rng), density)
        if name in STRETCHED:
            return self.textures.add(STRETCHED[name](self.rng))
        if name == "foliage":
            picture, mask = surfaces.foliage(self.rng)
            return self.textures.add(picture, None, mask)
        if name in PLAIN:
            return self.textures.plain(paint(self.rng, name))
        raise KeyError(f"no material {name!r}")

    def disc(self, like: int) -> int:
        """A disc cut out of another texture."""
        picture = self.textures.entries[like].picture
        side = min(64, picture.shape[0], picture.shape[1])
        cut = picture[:side, :side]
        # at least 32 texels, or the circle would be a polygon
        cut = np.repeat(np.repeat(cut, 32 // side, 0), 32 // side, 1) if side < 32 else cut
        return self.textures.add(cut, None, surfaces.disc_mask(cut))


def plain_picture(height: int, width: int, colour: np.ndarray) -> TextureImage:
    """A picture of one colour."""
    return np.ones((height, width, 3), np.float32) * np.asarray(colour, np.float32)


def groove(picture: TextureImage, top: int, bottom: int, left: int, right: int, depth: float = 0.35) -> None:
    """A bevelled frame around a rectangle: dark above and left, bright below and right."""
    picture[top, left:right] *= 1 - depth
    picture[top:bottom, left] *= 1 - depth
    picture[bottom - 1, left:right] = np.minimum(picture[bottom - 1, left:right] * (1 + depth), 1)
    picture[top:bottom, right - 1] = np.minimum(picture[top:bottom, right - 1] * (1 + depth), 1)


def door(rng: Rng, colour: np.ndarray) -> TextureImage:
    """A door leaf of 2 to 6 panels with a knob: 128 x 56 texels for 2.05 x 0.9 m."""
    picture = plain_picture(128, 56, colour)
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


def fronts(rng: Rng, base: TextureImage, rows: int, columns: int) -> TextureImage:
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


def books(rng: Rng) -> TextureImage:
    """One shelf of books: 32 x 128 texels for 0.3 x 1.2 m, some of it empty."""
    picture = plain_picture(32, 128, 0.04)
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


def painting(rng: Rng) -> TextureImage:
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
    framed = plain_picture(64, 64, paint(rng, "white"))
    framed[mat:-mat, mat:-mat] = picture[mat:-mat, mat:-mat]
    colour = paint(rng, str(rng.choice(["dark", "wood", "dark wood", "white"])))
    for edge in (framed[:3], framed[-3:], framed[:, :3], framed[:, -3:]):
        edge[:] = colour
    return np.clip(framed, 0, 1)


def outside(rng: Rng) -> TextureImage:
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


def rug(rng: Rng) -> TextureImage:
    """A rug with a border, 64 x 96 texels."""
    colours = [paint(rng, str(p)) for p in rng.choice(["cloth", "wall", "dark", "vivid"], 3)]
    y, x = np.mgrid[:64, :96]
    edge = np.minimum(np.minimum(y, 63 - y), np.minimum(x, 95 - x))
    motif = np.sin(x * rng.uniform(0.2, 0.8)) * np.sin(y * rng.uniform(0.2, 0.8)) > rng.uniform(-0.2, 0.5)
    field = np.where(motif[..., None], colours[1], colours[0])
    picture = np.where(((edge > 3) & (edge < 9))[..., None], colours[2], field)
    return np.clip(picture * np.exp(0.15 * noise(rng, (64, 96), (64, 96)))[..., None], 0, 1)


def blinds(rng: Rng) -> TextureImage:
    """Slats: 64 x 8 texels."""
    lines = np.where(np.arange(64) % 4 == 0, 0.45, 0.95)[:, None]
    return plain_picture(64, 8, paint(rng, "white")) * lines[..., None].astype(np.float32)


def screen(rng: Rng) -> TextureImage:
    """A dark screen with a faint reflection: 32 x 64 texels."""
    ramp = np.linspace(0, 1, 64)[None] * np.linspace(1, 0.3, 32)[:, None]
    return (plain_picture(32, 64, 0.006) + 0.05 * rng.random() * ramp[..., None]).astype(np.float32)


def oven(rng: Rng) -> TextureImage:
    """An oven's front: 64 x 48 texels, a dark window, a bar, knobs."""
    picture = plain_picture(64, 48, paint(rng, str(rng.choice(["grey", "dark", "white"]))))
    picture[16:52, 6:42] = 0.01
    picture[11:13, 4:44] = 0.5
    for x in range(6, 42, 8):
        picture[4:8, x : x + 4] = 0.02 if picture[0, 0, 0] > 0.1 else 0.4
    return picture


def hob(rng: Rng) -> TextureImage:
    """Four rings on a dark or steel plate: 64 x 64 texels."""
    y, x = np.mgrid[:64, :64]
    picture = plain_picture(64, 64, rng.choice([0.01, 0.25]))
    for cy, cx in ((17, 17), (17, 47), (47, 17), (47, 47)):
        radius = np.hypot(y - cy, x - cx)
        picture[(radius < 12) & (radius > 9)] = 0.08
        picture[radius < 4] = 0.02
    return picture


def label(rng: Rng) -> TextureImage:
    """What is printed on a can or a packet: 32 x 32 texels."""
    picture = plain_picture(32, 32, paint(rng, str(rng.choice(["vivid", "white", "cloth"]))))
    top = int(rng.integers(3, 14))
    picture[top : top + int(rng.integers(4, 12))] = paint(rng, "vivid")
    for y in range(4, 30, 5):
        start, stop = sorted(rng.integers(2, 30, 2))
        picture[y : y + 2, start:stop] = paint(rng, str(rng.choice(["white", "dark"])))
    return picture


def _wood(rng: Rng) -> TextureImage:
    return surfaces.wood(rng, paint(rng, "wood" if rng.random() < 0.65 else "dark wood"))


def _cloth(rng: Rng) -> TextureImage:
    palettes = [str(p) for p in rng.choice(["cloth", "wall", "grey", "cool wall"], 2)]
    return surfaces.cloth(rng, paint(rng, palettes[0]), paint(rng, palettes[1]))


def _front(rows: tuple[int, int], columns: tuple[int, int]) -> Maker:
    def make(rng: Rng) -> TextureImage:
        painted = rng.random() < 0.4
        base = plain_picture(64, 96, paint(rng, "white")) if painted else _wood(rng)[:64, :96]
        return fronts(rng, base, int(rng.integers(*rows)), int(rng.integers(*columns)))

    return make


def _backsplash(rng: Rng) -> TextureImage:
    colour = paint(rng, str(rng.choice(["wall", "wood", "grey"])))
    return surfaces.tiles(rng, colour, (8, 16), grout=-0.5, spread=0.15, bond=rng.random() < 0.7)


REPEATING: dict[str, tuple[Maker, float]] = {  # how to make it, and its texels a metre
    "floor": (surfaces.floor, 40),
    "wall": (surfaces.wall, 64),
    "wood": (_wood, 64),
    "cloth": (_cloth, 96),
    "stone": (lambda rng: surfaces.stone(rng, paint(rng, str(rng.choice(["grey", "dark", "wall"])))), 96),
    "backsplash": (_backsplash, 96),
    "metal": (lambda rng: surfaces.brushed(rng, paint(rng, "grey")), 64),
}
STRETCHED: dict[str, Maker] = {
    "door": lambda rng: door(rng, paint(rng, "white" if rng.random() < 0.6 else "wood")),
    "drawers": _front((2, 5), (1, 3)),
    "cupboard": _front((1, 2), (2, 4)),
    "books": books,
    "painting": painting,
    "rug": rug,
    "screen": screen,
    "oven": oven,
    "hob": hob,
    "label": label,
    "curtain": lambda rng: surfaces.curtain(rng, paint(rng, str(rng.choice(["white", "cloth", "wall"])))),
    "blinds": blinds,
    "outside": outside,
}
PLAIN = ("white", "dark", "grey", "vivid", "leaf")  # palettes of surfaces.py, without any texture
