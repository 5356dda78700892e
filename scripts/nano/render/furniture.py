"""Furniture of a few boxes each. Every piece stands on y = 0 with its back at z = 0, x around 0, its front at + z.

part = sofa(materials, rng)        # a Mesh in its own coordinates
"""

from collections.abc import Callable

import numpy as np

from scripts.nano.render.materials import Materials
from scripts.nano.render.small_objects import clutter, lamp, plant, television
from scripts.nano.render.textured_quads import Mesh, Rng

KITCHEN_UNIT = 0.6  # metres


def legs(
    part: Mesh, texture: int, box: tuple[float, float, float, float], height: float, thick: float
) -> None:
    """Four legs under the rectangle (x0, x1, z0, z1)."""
    x0, x1, z0, z1 = box
    for x in (x0, x1 - thick):
        for z in (z0, z1 - thick):
            part.box((x, 0, z), (x + thick, height, z + thick), texture, "xXzZ", solid=False)


def sofa(materials: Materials, rng: Rng, width: float | None = None) -> Mesh:
    """A sofa or, narrow, an armchair, with cushions."""
    part, cloth = Mesh(), materials("cloth")
    width = width or rng.uniform(1.5, 2.3)
    depth, seat, back = rng.uniform(0.8, 0.95), rng.uniform(0.36, 0.44), rng.uniform(0.7, 0.95)
    arm = rng.uniform(0.12, 0.24)
    x = width / 2
    part.box((-x, 0.08, 0), (x, back, 0.22), cloth)
    part.box((-x, 0.08, 0), (-x + arm, seat + 0.2, depth), cloth)
    part.box((x - arm, 0.08, 0), (x, seat + 0.2, depth), cloth)
    part.box((-x + arm, 0.08, 0.2), (x - arm, seat - 0.13, depth - 0.04), cloth)
    count = max(1, round((width - 2 * arm) / 0.65))
    step = (width - 2 * arm) / count
    for i in range(count):
        left = -x + arm + i * step
        part.box((left + 0.01, seat - 0.13, 0.2), (left + step - 0.01, seat, depth), cloth, solid=False)
        part.box((left + 0.02, seat, 0.2), (left + step - 0.02, back + 0.03, 0.34), cloth, solid=False)
    other = materials("cloth")
    for _ in range(int(rng.integers(0, 3))):
        place = (rng.uniform(-1, 1) * max(x - arm - 0.2, 0), seat, 0.36)
        pillow = part.moved(place, rng.uniform(-0.5, 0.5))
        pillow.box((-0.2, 0, -0.02), (0.2, 0.36, 0.1), other, solid=False)
    return part


def armchair(materials: Materials, rng: Rng) -> Mesh:
    """A sofa for one."""
    return sofa(materials, rng, rng.uniform(0.75, 0.95))


def chair(materials: Materials, rng: Rng) -> Mesh:
    """A chair with posts and slats or a full back."""
    part, wood = Mesh(), materials("wood" if rng.random() < 0.7 else "dark")
    half, seat, back = rng.uniform(0.19, 0.23), 0.45, rng.uniform(0.82, 1.05)
    part.box(
        (-half, seat - 0.04, 0.02),
        (half, seat, 0.44),
        materials("cloth") if rng.random() < 0.4 else wood,
        "xXyYzZ",
    )
    legs(part, wood, (-half, half, 0.02, 0.44), seat - 0.04, 0.035)
    for x in (-half, half - 0.035):
        part.box((x, seat, 0), (x + 0.035, back, 0.035), wood, "xXzZY", solid=False)
    rows = (
        [(seat + 0.12, back)]
        if rng.random() < 0.4
        else [(back - 0.1, back - 0.02), (back - 0.25, back - 0.18)]
    )
    for low, high in rows:
        part.box((-half, low, 0.005), (half, high, 0.03), wood, "xXzZYy", solid=False)
    part.solid((-half, seat, 0), (half, back, 0.04))
    return part


def table(
    materials: Materials, rng: Rng, height: float = 0.74, size: tuple[float, float] | None = None
) -> Mesh:
    """A table with four legs, or a round one on a post, with a thing or two on it."""
    part = Mesh()
    top, frame = (
        materials("wood" if rng.random() < 0.75 else "stone"),
        materials(str(rng.choice(["wood", "dark", "white"]))),
    )
    width, depth = size or (rng.uniform(1.1, 1.9), rng.uniform(0.75, 0.95))
    x = width / 2
    if rng.random() < 0.2:
        part.prism((0, height - 0.04, x), x, 0.04, top, materials.disc(top), sides=12)
        part.prism((0, 0, x), 0.06, height - 0.04, frame, sides=6)
        part.prism((0, 0, x), (0.3, 0.1), 0.06, frame, sides=8)
        depth = width
    else:
        part.box((-x, height - 0.04, 0), (x, height, depth), top, "xXyYzZ")
        legs(part, frame, (-x + 0.03, x - 0.03, 0.03, depth - 0.03), height - 0.04, rng.uniform(0.04, 0.09))
        part.box(
            (-x + 0.06, height - 0.12, 0.06), (x - 0.06, height - 0.04, depth - 0.06), frame, "xXzZ", False
        )
    for _ in range(int(rng.integers(1, 4))):
        thing = clutter(materials, rng)
        part.moved(
            (rng.uniform(-x + 0.25, x - 0.25), height, depth * rng.uniform(0.3, 0.7)), rng.uniform(0, 3)
        ).include(thing)
    return part


def coffee_table(materials: Materials, rng: Rng) -> Mesh:
    """A low table."""
    return table(materials, rng, rng.uniform(0.36, 0.46), (rng.uniform(0.8, 1.2), rng.uniform(0.5, 0.7)))


def dining(materials: Materials, rng: Rng) -> Mesh:
    """A table with two to six chairs, most of them drawn up."""
    part = Mesh()
    size = (rng.uniform(1.1, 1.9), rng.uniform(0.8, 0.95))
    part.moved((0, 0, 0.35)).include(table(materials, rng, 0.74, size))
    seat = chair(materials, rng)
    for row in range(max(1, int(size[0] / 0.7))):
        x = -size[0] / 2 + (row + 0.5) * size[0] / max(1, int(size[0] / 0.7))
        gap = rng.uniform(-0.05, 0.2, 2)
        part.moved((x, 0, 0.1 - gap[0]), rng.normal(0, 0.08)).include(seat)
        part.moved((x, 0, size[1] + 0.6 + gap[1]), np.pi + rng.normal(0, 0.08)).include(seat)
    return part


def desk(materials: Materials, rng: Rng) -> Mesh:
    """A desk with a screen and a chair."""
    part, dark = Mesh(), materials("dark")
    size = (rng.uniform(1.0, 1.5), rng.uniform(0.6, 0.7))
    part.include(table(materials, rng, 0.74, size))
    part.box((-0.03, 0.74, 0.12), (0.03, 0.85, 0.15), dark, "xXzZ", solid=False)
    part.box((-0.3, 0.82, 0.13), (0.3, 1.18, 0.16), dark, "xXzY")
    part.quad((-0.3, 1.18, 0.161), (0.6, 0, 0), (0, -0.36, 0), materials("screen"))
    part.moved((rng.uniform(-0.2, 0.2), 0, 1.05), np.pi + rng.normal(0, 0.4)).include(chair(materials, rng))
    return part


def bed(materials: Materials, rng: Rng) -> Mesh:
    """A bed with headboard, cover and pillows, and night stands with lamps."""
    part, wood, cover, white = Mesh(), materials("wood"), materials("cloth"), materials("white")
    x, length = rng.uniform(0.5, 0.9), rng.uniform(1.95, 2.1)
    part.box((-x, 0.08, 0.05), (x, 0.3, length), wood)
    part.box(
        (-x, 0.0, 0), (x, rng.uniform(0.8, 1.25), 0.06), wood if rng.random() < 0.6 else materials("cloth")
    )
    part.box((-x + 0.01, 0.3, 0.06), (x - 0.01, 0.5, length - 0.01), white)
    part.box((-x - 0.03, 0.2, 0.62), (x + 0.03, 0.54, length + 0.03), cover, solid=False)
    part.box((-x - 0.03, 0.5, 0.5), (x + 0.03, 0.56, 0.75), materials("cloth"), solid=False)
    count = 1 if x < 0.6 else 2
    for i in range(count):
        middle = 0 if count == 1 else (-x / 2, x / 2)[i]
        pillow = part.moved((middle, 0.5, 0.1), rng.normal(0, 0.08))
        pillow.box((-0.3, 0, 0), (0.3, 0.16, 0.36), white, solid=False)
        if rng.random() < 0.5:
            pillow.box((-0.2, 0.05, 0.3), (0.2, 0.32, 0.42), materials("cloth"), solid=False)
    for side in (-1, 1):
        if rng.random() < 0.7:
            stand = part.moved((side * (x + 0.32), 0, 0))
            stand.include(dresser(materials, rng, (0.42, 0.5, 0.38)))
            if rng.random() < 0.7:
                stand.moved((0, 0.5, 0.2)).include(lamp(materials, rng, rng.uniform(0.4, 0.55)))
    return part


def dresser(materials: Materials, rng: Rng, size: tuple[float, float, float] | None = None) -> Mesh:
    """A chest of drawers or a sideboard; a big one carries things or a television."""
    part, wood = Mesh(), materials("wood" if rng.random() < 0.7 else "white")
    width, height, depth = size or (rng.uniform(0.8, 1.8), rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.5))
    x = width / 2
    part.box((-x, 0.06, 0), (x, height, depth), wood)
    front = materials("drawers" if rng.random() < 0.6 else "cupboard")
    part.quad((-x, height - 0.02, depth + 0.005), (width, 0, 0), (0, 0.08 - height, 0), front)
    part.box((-x - 0.02, height, 0), (x + 0.02, height + 0.025, depth + 0.03), wood, "xXyYzZ", solid=False)
    if size is None and rng.random() < 0.5:
        part.moved((0, height + 0.025, 0.15)).include(television(materials, rng))
    elif size is None:
        for place in np.linspace(-x + 0.2, x - 0.2, int(rng.integers(1, 4))):
            part.moved((place, height + 0.025, depth / 2), rng.uniform(0, 3)).include(clutter(materials, rng))
    return part


def shelf(materials: Materials, rng: Rng) -> Mesh:
    """A bookcase, open or with doors below."""
    part, wood = Mesh(), materials("wood" if rng.random() < 0.7 else "white")
    width, height, depth = rng.uniform(0.7, 1.3), rng.uniform(1.4, 2.1), 0.32
    x, rows = width / 2, int(rng.integers(4, 7))
    for side in (-x, x - 0.03):
        part.box((side, 0, 0), (side + 0.03, height, depth), wood, solid=False)
    step = height / rows
    for i in range(rows):
        y = (i + 1) * step
        part.box((-x, y - 0.03, 0), (x, y, depth), wood, "yYZ", solid=False)
        inner = (-x + 0.03, y - 0.03, 0.1 if rng.random() < 0.8 else 0.02)
        texture = materials("books", fresh=True) if rng.random() < 0.8 else wood
        part.quad(inner, (width - 0.06, 0, 0), (0, 0.03 - step, 0), texture)
    part.solid((-x, 0, 0), (x, height, depth))
    return part


def wardrobe(materials: Materials, rng: Rng) -> Mesh:
    """A tall cupboard."""
    part, wood = Mesh(), materials("wood" if rng.random() < 0.6 else "white")
    x, height, depth = rng.uniform(0.5, 1.0), rng.uniform(1.9, 2.2), rng.uniform(0.5, 0.62)
    part.box((-x, 0, 0), (x, height, depth), wood)
    part.quad((-x, height, depth + 0.005), (2 * x, 0, 0), (0, 0.06 - height, 0), materials("cupboard"))
    return part


def kitchen(materials: Materials, rng: Rng) -> Mesh:
    """Base units, worktop, tiled wall, wall units, oven with hob and hood, perhaps a fridge at the left."""
    part = Mesh()
    textures = {name: materials(name) for name in ("stone", "cupboard", "metal")}
    textures["side"] = materials(str(rng.choice(["wood", "white"])))
    count = int(rng.uniform(2.2, 3.4) / KITCHEN_UNIT)
    cooker, fridge = int(rng.integers(1, count)), rng.random() < 0.6
    for i in range(count):
        unit = part.moved((KITCHEN_UNIT * (i - count / 2), 0, 0))
        if fridge and i == 0:
            build_fridge(unit, materials, textures)
            continue
        build_base(unit, materials, textures, materials("oven") if i == cooker else textures["cupboard"])
        if i == cooker:
            build_cooker(unit, materials, textures)
            continue
        unit.box((0, 1.45, 0), (KITCHEN_UNIT, 2.15, 0.34), textures["side"], "xXyY")
        unit.quad((0, 2.15, 0.341), (KITCHEN_UNIT, 0, 0), (0, -0.7, 0), textures["cupboard"])
        if rng.random() < 0.7:
            unit.moved((0.3, 0.9, 0.25), rng.uniform(0, 3)).include(clutter(materials, rng))
    return part


def build_fridge(unit: Mesh, materials: Materials, textures: dict[str, int]) -> None:
    """A fridge with two doors."""
    unit.box((0, 0, 0), (KITCHEN_UNIT, materials.rng.uniform(1.7, 1.95), 0.66), textures["metal"])
    unit.quad((0, 1.1, 0.665), (KITCHEN_UNIT, 0, 0), (0, -0.02, 0), materials("dark"))
    unit.box((0.53, 0.7, 0.66), (0.55, 1.5, 0.7), materials("grey"), solid=False)


def build_base(unit: Mesh, materials: Materials, textures: dict[str, int], front: int) -> None:
    """A base unit, its part of the worktop and the tiles above."""
    unit.box((0, 0, 0), (KITCHEN_UNIT, 0.86, 0.56), textures["side"], "xX")
    unit.quad((0, 0.86, 0.56), (KITCHEN_UNIT, 0, 0), (0, -0.8, 0), front)
    unit.box((0, 0.86, 0), (KITCHEN_UNIT, 0.9, 0.6), textures["stone"], "xXYyZ", solid=False)
    unit.quad((0, 1.45, 0.01), (KITCHEN_UNIT, 0, 0), (0, -0.55, 0), materials("backsplash"))


def build_cooker(unit: Mesh, materials: Materials, textures: dict[str, int]) -> None:
    """Hob and hood."""
    unit.quad((0.02, 0.905, 0.05), (KITCHEN_UNIT - 0.04, 0, 0), (0, 0, 0.5), materials("hob"))
    unit.box((0, 1.55, 0), (KITCHEN_UNIT, 1.65, 0.45), textures["metal"], "xXyYZ")
    unit.box((0.18, 1.65, 0), (0.42, 2.2, 0.25), textures["metal"], "xXZ")


PIECES: dict[str, Callable[[Materials, Rng], Mesh]] = {
    "sofa": sofa,
    "armchair": armchair,
    "chair": chair,
    "table": table,
    "coffee_table": coffee_table,
    "dining": dining,
    "desk": desk,
    "bed": bed,
    "dresser": dresser,
    "shelf": shelf,
    "wardrobe": wardrobe,
    "lamp": lamp,
    "plant": plant,
    "kitchen": kitchen,
}
