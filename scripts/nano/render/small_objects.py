"""Small objects: lamps, plants and what stands about in a house; cups, pans, fruit and what lies on a robot's table.

Like furniture they stand on y = 0 around x = 0; those of a table stand around z = 0 too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scripts.nano.render.materials import Materials
from scripts.nano.render.surfaces import folds, paint
from scripts.nano.render.textured_quads import Mesh, Rng


def television(materials: Materials, rng: Rng) -> Mesh:
    """A screen on a foot."""
    part, dark = Mesh(), materials("dark")
    x = rng.uniform(0.4, 0.65)
    part.box((-x / 2, 0, 0), (x / 2, 0.02, 0.2), dark, solid=False)
    part.box((-x, 0.04, 0.06), (x, 0.04 + 1.15 * x, 0.1), dark)
    part.quad(
        (-x + 0.02, 0.02 + 1.15 * x, 0.105),
        (2 * x - 0.04, 0, 0),
        (0, 0.04 - 1.15 * x, 0),
        materials("screen"),
    )
    return part


def lamp(materials: Materials, rng: Rng, height: float | None = None) -> Mesh:
    """A floor lamp, or a table lamp if it is low: foot, post, glowing shade."""
    part, dark, white = Mesh(), materials(str(rng.choice(["dark", "grey", "wood"]))), materials("white")
    height = height or rng.uniform(1.4, 1.7)
    wide = 0.12 + 0.06 * height
    part.prism((0, 0, 0), wide * 0.6, 0.03, dark, materials.disc(dark), sides=6)
    part.box((-0.015, 0, -0.015), (0.015, height - 0.2, 0.015), dark, "xXzZ", solid=False)
    part.prism((0, height - 0.25, 0), (wide, wide * 0.8), 0.25, white, sides=8, glow=rng.uniform(0.6, 2.2))
    part.solids.clear()
    return part


def plant(materials: Materials, rng: Rng) -> Mesh:
    """A pot with leaves on three crossed cut-outs."""
    part, leaves = Mesh(), materials("foliage")
    pot, side = rng.uniform(0.12, 0.2), rng.uniform(0.5, 1.1)
    texture = materials(str(rng.choice(["white", "dark", "vivid", "stone"])))
    part.prism((0, 0, 0), (pot * 0.8, pot), 1.6 * pot, texture, materials.disc(materials("dark")))
    for i in range(6):
        view = part.moved((0, 1.4 * pot, 0), i * np.pi / 3)
        view.quad((-side / 2, side, 0), (side, 0, 0), (0, -side, 0), leaves)
    return part


def clutter(materials: Materials, rng: Rng) -> Mesh:
    """One of the things that stand on tables: books, a vase, a bowl, a box, a small plant."""
    part = Mesh()
    kind = int(rng.integers(4))
    if kind == 0:
        for i in range(int(rng.integers(1, 4))):
            book = part.moved((0, 0.03 * i, 0), rng.normal(0, 0.3))
            book.box(
                (-0.12, 0, -0.09),
                (0.12, 0.03, 0.09),
                materials(str(rng.choice(["vivid", "dark", "white"]))),
                solid=False,
            )
    elif kind == 1:
        texture = materials(str(rng.choice(["vivid", "white", "stone"])))
        part.prism((0, 0, 0), (0.05, 0.08), rng.uniform(0.12, 0.3), texture, materials.disc(texture), sides=8)
    elif kind == 2:
        part.box((-0.07, 0, -0.05), (0.07, rng.uniform(0.1, 0.22), 0.05), materials("label"), solid=False)
    else:
        part.prism((0, 0, 0), 0.06, 0.1, materials("white"), sides=6)
        for i in range(4):
            view = part.moved((0, 0.08, 0), i * np.pi / 2)
            view.quad((-0.15, 0.3, 0), (0.3, 0, 0), (0, -0.3, 0), materials("foliage"))
    part.solids.clear()
    return part


@dataclass(frozen=True)
class TableObject:
    """A shape on a table, the radius in which it touches others, its height, and whether a gripper can hold it."""

    part: Mesh
    radius: float
    height: float
    graspable: bool


def cup(materials: Materials, rng: Rng) -> TableObject:
    """A cup or mug, dark inside."""
    part, texture = Mesh(), materials(str(rng.choice(["vivid", "white", "metal", "cloth"])), fresh=True)
    radius, height = rng.uniform(0.028, 0.042), rng.uniform(0.06, 0.1)
    part.prism(
        (0, 0, 0), (0.8 * radius, radius), height, texture, materials.disc(materials("dark")), sides=10
    )
    if rng.random() < 0.5:
        part.box(
            (radius, 0.02, -0.006), (radius + 0.02, height - 0.02, 0.006), texture, "xXyYzZ", solid=False
        )
    return TableObject(part, radius, height, True)


def can(materials: Materials, rng: Rng) -> TableObject:
    """A can or jar with a label."""
    part, texture = Mesh(), materials("label", fresh=True)
    radius, height = rng.uniform(0.03, 0.045), rng.uniform(0.07, 0.13)
    part.prism((0, 0, 0), radius, height, texture, materials.disc(materials("grey")), sides=10)
    return TableObject(part, radius, height, True)


def pan(materials: Materials, rng: Rng) -> TableObject:
    """A pot or pan with a handle or two."""
    part, texture = Mesh(), materials(str(rng.choice(["metal", "dark"])))
    radius, height = rng.uniform(0.06, 0.1), rng.uniform(0.03, 0.08)
    part.prism(
        (0, 0, 0), (0.85 * radius, radius), height, texture, materials.disc(materials("metal")), sides=12
    )
    part.prism((0, height, 0), 0.86 * radius, 0.001, texture, materials.disc(materials("dark")), sides=12)
    long = rng.uniform(0.03, 0.12)
    part.box(
        (radius, height - 0.012, -0.01),
        (radius + long, height, 0.01),
        materials("dark"),
        "xXyYzZ",
        solid=False,
    )
    if long < 0.06:
        part.box(
            (-radius - long, height - 0.012, -0.01), (-radius, height, 0.01), texture, "xXyYzZ", solid=False
        )
    return TableObject(part, radius, height, False)


def plate(materials: Materials, rng: Rng) -> TableObject:
    """A flat round plate."""
    part, texture = Mesh(), materials(str(rng.choice(["white", "vivid", "cloth"])), fresh=True)
    radius = rng.uniform(0.06, 0.09)
    part.prism((0, 0, 0), (0.6 * radius, radius), 0.012, texture, materials.disc(texture), sides=12)
    part.prism((0, 0.012, 0), 0.7 * radius, 0.0005, texture, materials.disc(materials("white")), sides=12)
    return TableObject(part, radius, 0.012, False)


def towel(materials: Materials, rng: Rng) -> TableObject:
    """A folded cloth."""
    part = Mesh()
    texture = materials.textures.add(folds(rng, paint(rng, str(rng.choice(["vivid", "cloth", "white"])))))
    x, z = rng.uniform(0.05, 0.09), rng.uniform(0.05, 0.08)
    part.box((-x, 0, -z), (x, 0.008, z), texture)
    part.box((-x + 0.005, 0.008, -z + 0.004), (x * rng.uniform(0, 0.8), 0.014, z - 0.002), texture)
    return TableObject(part, max(x, z), 0.014, False)


def block(materials: Materials, rng: Rng) -> TableObject:
    """A wooden block, a packet or a sponge."""
    part, texture = Mesh(), materials(str(rng.choice(["vivid", "wood", "label"])), fresh=True)
    x, height, z = rng.uniform(0.018, 0.04), rng.uniform(0.025, 0.07), rng.uniform(0.018, 0.035)
    part.box((-x, 0, -z), (x, height, z), texture)
    return TableObject(part, max(x, z), height, True)


def fruit(materials: Materials, rng: Rng) -> TableObject:
    """A round fruit of three rings, or a long one of three bent pieces."""
    part, texture = Mesh(), materials.textures.plain(paint(rng, str(rng.choice(["vivid", "leaf", "vivid"]))))
    if rng.random() < 0.5:
        r = rng.uniform(0.02, 0.035)
        part.prism((0, 0, 0), (0.6 * r, r), 0.6 * r, texture, sides=8)
        part.prism((0, 0.6 * r, 0), r, 0.5 * r, texture, sides=8)
        part.prism((0, 1.1 * r, 0), (r, 0.55 * r), 0.5 * r, texture, materials.disc(texture), sides=8)
        return TableObject(part, r, 1.6 * r, True)
    long, thick = rng.uniform(0.025, 0.04), rng.uniform(0.012, 0.018)
    for i, bend in enumerate((0.4, 0.0, -0.4)):
        piece = part.moved(((i - 1) * 1.6 * long, 0, 0.4 * long * abs(i - 1)), bend)
        piece.box((-long, 0, -thick), (long, 2 * thick, thick), texture)
    return TableObject(part, 1.6 * long, 2 * thick, True)


def knife(materials: Materials, rng: Rng) -> TableObject:
    """A knife, spoon or spatula: a coloured handle and a bright end."""
    part = Mesh()
    handle, blade = materials(str(rng.choice(["vivid", "wood", "dark", "leaf"]))), materials("metal")
    long, wide = rng.uniform(0.04, 0.06), rng.uniform(0.007, 0.011)
    part.box((-2 * long, 0, -wide), (0, 2 * wide, wide), handle)
    end = rng.uniform(0.8, 2.2) * wide
    part.box((0, 0.003, -end), (1.6 * long, 0.008, end), blade)
    return TableObject(part, 0.03, 2 * wide, True)


TABLE_OBJECTS: dict[str, Callable[[Materials, Rng], TableObject]] = {
    "cup": cup,
    "can": can,
    "pan": pan,
    "plate": plate,
    "towel": towel,
    "block": block,
    "fruit": fruit,
    "knife": knife,
}
