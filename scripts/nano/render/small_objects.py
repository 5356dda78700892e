"""Lamps, plants, a television and what stands on tables. Made like the pieces of furniture.py."""

import numpy as np

from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import Mesh

Rng = np.random.Generator


def television(looks: Looks, rng: Rng) -> Mesh:
    """A screen on a foot."""
    part, dark = Mesh(), looks("dark")
    x = rng.uniform(0.4, 0.65)
    part.box((-x / 2, 0, 0), (x / 2, 0.02, 0.2), dark, solid=False)
    part.box((-x, 0.04, 0.06), (x, 0.04 + 1.15 * x, 0.1), dark)
    part.quad(
        (-x + 0.02, 0.02 + 1.15 * x, 0.105), (2 * x - 0.04, 0, 0), (0, 0.04 - 1.15 * x, 0), looks("screen")
    )
    return part


def lamp(looks: Looks, rng: Rng, height: float | None = None) -> Mesh:
    """A floor lamp, or a table lamp if it is low: foot, post, glowing shade."""
    part, dark, white = Mesh(), looks(str(rng.choice(["dark", "grey", "wood"]))), looks("white")
    height = height or rng.uniform(1.4, 1.7)
    wide = 0.12 + 0.06 * height
    part.prism((0, 0, 0), wide * 0.6, 0.03, dark, looks.round(dark), sides=6)
    part.box((-0.015, 0, -0.015), (0.015, height - 0.2, 0.015), dark, "xXzZ", solid=False)
    part.prism((0, height - 0.25, 0), (wide, wide * 0.8), 0.25, white, sides=8, glow=rng.uniform(0.6, 2.2))
    part.solids.clear()
    return part


def plant(looks: Looks, rng: Rng) -> Mesh:
    """A pot with leaves on three crossed cut-outs."""
    part, leaves = Mesh(), looks("foliage")
    pot, side = rng.uniform(0.12, 0.2), rng.uniform(0.5, 1.1)
    skin = looks(str(rng.choice(["white", "dark", "vivid", "stone"])))
    part.prism((0, 0, 0), (pot * 0.8, pot), 1.6 * pot, skin, looks.round(looks("dark")))
    for i in range(6):
        view = part.moved((0, 1.4 * pot, 0), i * np.pi / 3)
        view.quad((-side / 2, side, 0), (side, 0, 0), (0, -side, 0), leaves)
    return part


def clutter(looks: Looks, rng: Rng) -> Mesh:
    """One of the things that stand on tables: books, a vase, a bowl, a box, a small plant."""
    part = Mesh()
    kind = int(rng.integers(4))
    if kind == 0:
        for i in range(int(rng.integers(1, 4))):
            book = part.moved((0, 0.03 * i, 0), rng.normal(0, 0.3))
            book.box(
                (-0.12, 0, -0.09),
                (0.12, 0.03, 0.09),
                looks(str(rng.choice(["vivid", "dark", "white"]))),
                solid=False,
            )
    elif kind == 1:
        skin = looks(str(rng.choice(["vivid", "white", "stone"])))
        part.prism((0, 0, 0), (0.05, 0.08), rng.uniform(0.12, 0.3), skin, looks.round(skin), sides=8)
    elif kind == 2:
        part.box((-0.07, 0, -0.05), (0.07, rng.uniform(0.1, 0.22), 0.05), looks("label"), solid=False)
    else:
        part.prism((0, 0, 0), 0.06, 0.1, looks("white"), sides=6)
        for i in range(4):
            view = part.moved((0, 0.08, 0), i * np.pi / 2)
            view.quad((-0.15, 0.3, 0), (0.3, 0, 0), (0, -0.3, 0), looks("foliage"))
    part.solids.clear()
    return part
