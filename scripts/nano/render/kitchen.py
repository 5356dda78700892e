"""A kitchen run, made like the pieces of furniture.py."""

import numpy as np

from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import Mesh
from scripts.nano.render.small_objects import clutter

UNIT = 0.6  # metres
Rng = np.random.Generator


def kitchen(looks: Looks, rng: Rng) -> Mesh:
    """Base units, worktop, tiled wall, wall units, oven with hob and hood, perhaps a fridge at the left."""
    part = Mesh()
    skins = {name: looks(name) for name in ("stone", "cupboard", "metal")}
    skins["side"] = looks(str(rng.choice(["wood", "white"])))
    count = int(rng.uniform(2.2, 3.4) / UNIT)
    cooker, fridge = int(rng.integers(1, count)), rng.random() < 0.6
    for i in range(count):
        unit = part.moved((UNIT * (i - count / 2), 0, 0))
        if fridge and i == 0:
            build_fridge(unit, looks, skins)
            continue
        build_base(unit, looks, skins, looks("oven") if i == cooker else skins["cupboard"])
        if i == cooker:
            build_cooker(unit, looks, skins)
            continue
        unit.box((0, 1.45, 0), (UNIT, 2.15, 0.34), skins["side"], "xXyY")
        unit.quad((0, 2.15, 0.341), (UNIT, 0, 0), (0, -0.7, 0), skins["cupboard"])
        if rng.random() < 0.7:
            unit.moved((0.3, 0.9, 0.25), rng.uniform(0, 3)).include(clutter(looks, rng))
    return part


def build_fridge(unit: Mesh, looks: Looks, skins: dict[str, int]) -> None:
    """A fridge with two doors."""
    unit.box((0, 0, 0), (UNIT, looks.rng.uniform(1.7, 1.95), 0.66), skins["metal"])
    unit.quad((0, 1.1, 0.665), (UNIT, 0, 0), (0, -0.02, 0), looks("dark"))
    unit.box((0.53, 0.7, 0.66), (0.55, 1.5, 0.7), looks("grey"), solid=False)


def build_base(unit: Mesh, looks: Looks, skins: dict[str, int], front: int) -> None:
    """A base unit, its part of the worktop and the tiles above."""
    unit.box((0, 0, 0), (UNIT, 0.86, 0.56), skins["side"], "xX")
    unit.quad((0, 0.86, 0.56), (UNIT, 0, 0), (0, -0.8, 0), front)
    unit.box((0, 0.86, 0), (UNIT, 0.9, 0.6), skins["stone"], "xXYyZ", solid=False)
    unit.quad((0, 1.45, 0.01), (UNIT, 0, 0), (0, -0.55, 0), looks("backsplash"))


def build_cooker(unit: Mesh, looks: Looks, skins: dict[str, int]) -> None:
    """Hob and hood."""
    unit.quad((0.02, 0.905, 0.05), (UNIT - 0.04, 0, 0), (0, 0, 0.5), looks("hob"))
    unit.box((0, 1.55, 0), (UNIT, 1.65, 0.45), skins["metal"], "xXyYZ")
    unit.box((0.18, 1.65, 0), (0.42, 2.2, 0.25), skins["metal"], "xXZ")
