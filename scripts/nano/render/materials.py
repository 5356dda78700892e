"""The skins one scene draws from: a few of each material, made when first asked for."""

from collections.abc import Callable

import numpy as np

from scripts.nano.render import prints, textures
from scripts.nano.render.skins import Picture, Skins
from scripts.nano.render.textures import paint

MOST = 2  # different skins of one material in a scene
Maker = Callable[[np.random.Generator], Picture]


def _wood(rng: np.random.Generator) -> Picture:
    return textures.wood(rng, paint(rng, "wood" if rng.random() < 0.65 else "dark wood"))


def _cloth(rng: np.random.Generator) -> Picture:
    palettes = [str(p) for p in rng.choice(["cloth", "wall", "grey", "cool wall"], 2)]
    return textures.cloth(rng, paint(rng, palettes[0]), paint(rng, palettes[1]))


def _front(rows: tuple[int, int], columns: tuple[int, int]) -> Maker:
    def make(rng: np.random.Generator) -> Picture:
        painted = rng.random() < 0.4
        base = prints.sheet(64, 96, paint(rng, "white")) if painted else _wood(rng)[:64, :96]
        return prints.fronts(rng, base, int(rng.integers(*rows)), int(rng.integers(*columns)))

    return make


REPEATING: dict[str, tuple[Maker, float]] = {  # how to make it, and its texels a metre
    "floor": (textures.floor, 40),
    "wall": (textures.wall, 64),
    "wood": (_wood, 64),
    "cloth": (_cloth, 96),
    "stone": (lambda rng: textures.stone(rng, paint(rng, str(rng.choice(["grey", "dark", "wall"])))), 96),
    "backsplash": (
        lambda rng: textures.tiles(
            rng,
            paint(rng, str(rng.choice(["wall", "wood", "grey"]))),
            (8, 16),
            -0.5,
            0.15,
            rng.random() < 0.7,
        ),
        96,
    ),
    "metal": (lambda rng: textures.brushed(rng, paint(rng, "grey")), 64),
}
STRETCHED: dict[str, Maker] = {
    "door": lambda rng: prints.door(rng, paint(rng, "white" if rng.random() < 0.6 else "wood")),
    "drawers": _front((2, 5), (1, 3)),
    "cupboard": _front((1, 2), (2, 4)),
    "books": prints.books,
    "painting": prints.painting,
    "rug": prints.rug,
    "screen": prints.screen,
    "oven": prints.oven,
    "hob": prints.hob,
    "label": prints.label,
    "curtain": lambda rng: prints.curtain(rng, paint(rng, str(rng.choice(["white", "cloth", "wall"])))),
    "blinds": prints.blinds,
    "outside": prints.outside,
}
PLAIN = ("white", "dark", "grey", "vivid", "leaf")  # palettes of textures.py, without any texture


class Looks:
    """Skins by the name of their material."""

    def __init__(self, skins: Skins, rng: np.random.Generator) -> None:
        self.skins, self.rng = skins, rng
        self.known: dict[str, list[int]] = {}

    def __call__(self, name: str, fresh: bool = False) -> int:
        """A skin of a material: one of those there are, or a new one (``fresh``: surely a new one)."""
        known = self.known.setdefault(name, [])
        if not fresh and known and (len(known) >= MOST or self.rng.random() < 0.6):
            return known[int(self.rng.integers(len(known)))]
        known.append(self._make(name))
        return known[-1]

    def _make(self, name: str) -> int:
        if name in REPEATING:
            make, density = REPEATING[name]
            return self.skins.add(make(self.rng), density)
        if name in STRETCHED:
            return self.skins.add(STRETCHED[name](self.rng))
        if name == "foliage":
            picture, mask = prints.foliage(self.rng)
            return self.skins.add(picture, None, mask)
        if name == "disc":
            picture = prints.sheet(32, 32, paint(self.rng, "vivid"))
            return self.skins.add(picture, None, prints.disc(picture))
        if name in PLAIN:
            return self.skins.plain(paint(self.rng, name))
        raise KeyError(f"no material {name!r}")

    def round(self, like: int) -> int:
        """A disc cut out of another skin."""
        picture = self.skins.entries[like].picture
        side = min(64, picture.shape[0], picture.shape[1])
        cut = picture[:side, :side]
        cut = np.repeat(np.repeat(cut, 32 // side, 0), 32 // side, 1) if side < 32 else cut
        return self.skins.add(cut, None, prints.disc(cut))
