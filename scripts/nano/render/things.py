"""Things on a table: cups, cans, pans, bowls, plates, cloths, blocks, fruit, knives. They stand on y = 0 around 0."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scripts.nano.render import prints, textures
from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import Mesh

Rng = np.random.Generator


@dataclass(frozen=True)
class Thing:
    """A shape, the radius in which it touches others, its height, and whether a gripper can hold it."""

    part: Mesh
    radius: float
    height: float
    graspable: bool


def cup(looks: Looks, rng: Rng) -> Thing:
    """A cup or mug, dark inside."""
    part, skin = Mesh(), looks(str(rng.choice(["vivid", "white", "metal", "cloth"])), fresh=True)
    radius, height = rng.uniform(0.028, 0.042), rng.uniform(0.06, 0.1)
    part.prism((0, 0, 0), (0.8 * radius, radius), height, skin, looks.round(looks("dark")), sides=10)
    if rng.random() < 0.5:
        part.box((radius, 0.02, -0.006), (radius + 0.02, height - 0.02, 0.006), skin, "xXyYzZ", solid=False)
    return Thing(part, radius, height, True)


def can(looks: Looks, rng: Rng) -> Thing:
    """A can or jar with a label."""
    part, skin = Mesh(), looks("label", fresh=True)
    radius, height = rng.uniform(0.03, 0.045), rng.uniform(0.07, 0.13)
    part.prism((0, 0, 0), radius, height, skin, looks.round(looks("grey")), sides=10)
    return Thing(part, radius, height, True)


def pan(looks: Looks, rng: Rng) -> Thing:
    """A pot or pan with a handle or two."""
    part, skin = Mesh(), looks(str(rng.choice(["metal", "dark"])))
    radius, height = rng.uniform(0.06, 0.1), rng.uniform(0.03, 0.08)
    part.prism((0, 0, 0), (0.85 * radius, radius), height, skin, looks.round(looks("metal")), sides=12)
    part.prism((0, height, 0), 0.86 * radius, 0.001, skin, looks.round(looks("dark")), sides=12)
    long = rng.uniform(0.03, 0.12)
    part.box(
        (radius, height - 0.012, -0.01), (radius + long, height, 0.01), looks("dark"), "xXyYzZ", solid=False
    )
    if long < 0.06:
        part.box(
            (-radius - long, height - 0.012, -0.01), (-radius, height, 0.01), skin, "xXyYzZ", solid=False
        )
    return Thing(part, radius, height, False)


def plate(looks: Looks, rng: Rng) -> Thing:
    """A flat round plate."""
    part, skin = Mesh(), looks(str(rng.choice(["white", "vivid", "cloth"])), fresh=True)
    radius = rng.uniform(0.06, 0.09)
    part.prism((0, 0, 0), (0.6 * radius, radius), 0.012, skin, looks.round(skin), sides=12)
    part.prism((0, 0.012, 0), 0.7 * radius, 0.0005, skin, looks.round(looks("white")), sides=12)
    return Thing(part, radius, 0.012, False)


def towel(looks: Looks, rng: Rng) -> Thing:
    """A folded cloth."""
    part = Mesh()
    skin = looks.skins.add(
        prints.folds(rng, textures.paint(rng, str(rng.choice(["vivid", "cloth", "white"]))))
    )
    x, z = rng.uniform(0.05, 0.09), rng.uniform(0.05, 0.08)
    part.box((-x, 0, -z), (x, 0.008, z), skin)
    part.box((-x + 0.005, 0.008, -z + 0.004), (x * rng.uniform(0, 0.8), 0.014, z - 0.002), skin)
    return Thing(part, max(x, z), 0.014, False)


def block(looks: Looks, rng: Rng) -> Thing:
    """A wooden block, a packet or a sponge."""
    part, skin = Mesh(), looks(str(rng.choice(["vivid", "wood", "label"])), fresh=True)
    x, height, z = rng.uniform(0.018, 0.04), rng.uniform(0.025, 0.07), rng.uniform(0.018, 0.035)
    part.box((-x, 0, -z), (x, height, z), skin)
    return Thing(part, max(x, z), height, True)


def fruit(looks: Looks, rng: Rng) -> Thing:
    """A round fruit of three rings, or a long one of three bent pieces."""
    part, skin = Mesh(), looks.skins.plain(textures.paint(rng, str(rng.choice(["vivid", "leaf", "vivid"]))))
    if rng.random() < 0.5:
        r = rng.uniform(0.02, 0.035)
        part.prism((0, 0, 0), (0.6 * r, r), 0.6 * r, skin, sides=8)
        part.prism((0, 0.6 * r, 0), r, 0.5 * r, skin, sides=8)
        part.prism((0, 1.1 * r, 0), (r, 0.55 * r), 0.5 * r, skin, looks.round(skin), sides=8)
        return Thing(part, r, 1.6 * r, True)
    long, thick = rng.uniform(0.025, 0.04), rng.uniform(0.012, 0.018)
    for i, bend in enumerate((0.4, 0.0, -0.4)):
        piece = part.moved(((i - 1) * 1.6 * long, 0, 0.4 * long * abs(i - 1)), bend)
        piece.box((-long, 0, -thick), (long, 2 * thick, thick), skin)
    return Thing(part, 1.6 * long, 2 * thick, True)


def knife(looks: Looks, rng: Rng) -> Thing:
    """A knife, spoon or spatula: a coloured handle and a bright end."""
    part = Mesh()
    handle, blade = looks(str(rng.choice(["vivid", "wood", "dark", "leaf"]))), looks("metal")
    long, wide = rng.uniform(0.04, 0.06), rng.uniform(0.007, 0.011)
    part.box((-2 * long, 0, -wide), (0, 2 * wide, wide), handle)
    end = rng.uniform(0.8, 2.2) * wide
    part.box((0, 0.003, -end), (1.6 * long, 0.008, end), blade)
    return Thing(part, 0.03, 2 * wide, True)


THINGS: dict[str, Callable[[Looks, Rng], Thing]] = {
    "cup": cup,
    "can": can,
    "pan": pan,
    "plate": plate,
    "towel": towel,
    "block": block,
    "fruit": fruit,
    "knife": knife,
}
