"""Furnished rooms: one room, two rooms or a room and a corridor, joined by a doorway, with sun, sky and lamps.

house = build_house(numpy.random.default_rng(7))     # a Scene, rooms, free air of the doorway, solids
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scripts.nano.render.furnishing import furnish
from scripts.nano.render.lightmaps import Lamp, Lights, Sun, bake, expose
from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import Mesh
from scripts.nano.render.rasteriser import Scene
from scripts.nano.render.skins import Skins
from scripts.nano.render.walls import SIDES, THICK, Opening, build_wall, wall_length, wall_view

LIGHT_DENSITY = 8.0  # points of the light maps a metre
FIRST_ROOMS = ["living", "living", "bedroom", "kitchen", "kitchen", "dining", "office"]
Room = Float[np.ndarray, "2 3"]
Rng = np.random.Generator


@dataclass(frozen=True)
class House:
    """A scene and what a camera must know of it."""

    scene: Scene
    rooms: Float[np.ndarray, "r 2 3"]
    door: Room | None  # free air between the rooms
    solids: Float[np.ndarray, "k 2 3"]


def build_house(rng: Rng) -> House:
    """A random house of one or two rooms."""
    skins, mesh = Skins(), Mesh()
    looks = Looks(skins, rng)
    height = rng.uniform(2.35, 2.8)
    first = np.array([[0, 0, 0], [rng.uniform(3.4, 6.2), height, rng.uniform(3.4, 6.2)]])
    rooms, names = [first], [str(rng.choice(FIRST_ROOMS))]
    door, gap = None, None
    if rng.random() < 0.65:
        second, name = next_room(first, rng)
        rooms.append(second)
        names.append(name)
        gap = sample_gap(second, rng)
        door = np.array([[gap[0] + 0.22, 0.5, first[1, 2] - 0.6], [gap[1] - 0.22, 1.8, second[0, 2] + 0.6]])
    lamps: list[Lamp] = []
    openings = [plan_openings(room, i, rng, gap) for i, room in enumerate(rooms)]
    for room, name, plan in zip(rooms, names, openings, strict=True):
        furnish(mesh, room, name, plan, looks, lamps)
    for room, plan in zip(rooms, openings, strict=True):
        shell(mesh, room, plan, looks)
    solids = np.array(mesh.solids) if mesh.solids else np.zeros((0, 2, 3))
    lights = illuminate_house(rooms, openings, lamps, rng)
    return House(assemble(mesh, skins, solids, lights, rng), np.array(rooms), door, solids)


def assemble(mesh: Mesh, skins: Skins, solids: np.ndarray, lights: Lights, rng: Rng) -> Scene:
    """Bake the light and set the exposure."""
    quads = mesh.finish()
    light, at, means = bake(quads, solids, lights, LIGHT_DENSITY)
    exposure = expose(quads, skins, means, rng.uniform(0.2, 0.46))
    return Scene(quads, skins, light, at, exposure, float(rng.uniform(0.2, 0.9)))


def next_room(first: Room, rng: Rng) -> tuple[Room, str]:
    """A room or corridor behind the first one's high z wall, no wider than that."""
    corridor = rng.random() < 0.4
    widest = first[1, 0]
    width = rng.uniform(1.25, 1.8) if corridor else rng.uniform(min(2.8, widest - 0.1), widest)
    length = rng.uniform(3.0, 6.0) if corridor else rng.uniform(2.8, 4.5)
    left, start = rng.uniform(0, widest - width), first[1, 2] + THICK
    room = np.array([[left, 0, start], [left + width, first[1, 1], start + length]])
    return room, "corridor" if corridor else str(
        rng.choice(["living", "bedroom", "kitchen", "dining", "office"])
    )


def sample_gap(second: Room, rng: Rng) -> tuple[float, float, float]:
    """The doorway into the second room: from x, to x, height."""
    width = rng.uniform(0.85, min(1.5, second[1, 0] - second[0, 0] - 0.3))
    left = rng.uniform(second[0, 0] + 0.1, second[1, 0] - width - 0.1)
    return left, left + width, rng.uniform(2.0, 2.15)


def plan_openings(
    room: Room, index: int, rng: Rng, gap: tuple[float, float, float] | None
) -> dict[str, list[Opening]]:
    """What is in each wall: the doorway, windows, closed doors. Pictures come after the furniture."""
    plan: dict[str, list[Opening]] = {side: [] for side in SIDES}
    if gap is not None:
        side = "Z" if index == 0 else "z"
        start = room[1, 0] - gap[1] if index == 0 else gap[0] - room[0, 0]
        plan[side].append(Opening("doorway", start, start + gap[1] - gap[0], 0.0, gap[2]))
    free = [s for s in ("xXz" if index == 0 else "Z") if wall_length(room, s) > 1.2]
    for side in rng.permutation(free)[: int(rng.integers(1, 3))]:
        length = wall_length(room, side)
        count = 1 if length < 3.5 else int(rng.integers(1, 3))
        bottom = 0.05 if rng.random() < 0.15 else rng.uniform(0.7, 1.0)
        wide, top = min(rng.uniform(0.8, 2.2), length / count - 0.5), rng.uniform(1.95, 2.25)
        for i in range(count):
            middle = (i + 0.5) * length / count
            plan[side].append(Opening("window", middle - wide / 2, middle + wide / 2, bottom, top))
    for side in SIDES:
        if not plan[side] and rng.random() < 0.45:
            left = rng.uniform(0.15, max(0.16, wall_length(room, side) - 1.1))
            plan[side].append(Opening("door", left, left + 0.86, 0.0, 2.03))
    return plan


def shell(mesh: Mesh, room: Room, plan: dict[str, list[Opening]], looks: Looks) -> None:
    """Floor, ceiling and the four walls, one of them sometimes in another colour."""
    low, high = room
    size = high - low
    floor, ceiling = looks("floor"), looks("white")
    if looks.rng.random() < 0.5:
        mesh.quad((low[0] - 0.06, 0, low[2] - 0.06), (size[0] + 0.12, 0, 0), (0, 0, size[2] + 0.12), floor)
    else:
        mesh.quad((high[0] + 0.06, 0, low[2] - 0.06), (0, 0, size[2] + 0.12), (-size[0] - 0.12, 0, 0), floor)
    mesh.quad((low[0], high[1], high[2]), (size[0], 0, 0), (0, 0, -size[2]), ceiling)
    skin = looks("wall")
    accent = looks("wall") if looks.rng.random() < 0.3 else skin
    for side in SIDES:
        length = wall_length(room, side)
        paper = accent if side == "x" else skin
        build_wall(wall_view(mesh, room, side), length, float(high[1]), plan[side], looks, paper)


def illuminate_house(
    rooms: list[Room], plans: list[dict[str, list[Opening]]], lamps: list[Lamp], rng: Rng
) -> Lights:
    """Sky through the windows, sun through those of one wall, ceiling lamps, and what the walls throw back."""
    day = rng.uniform(0.3, 1.5)
    suns: list[Sun] = []
    lamps = list(lamps)
    for room, plan in zip(rooms, plans, strict=True):
        lit = rng.random() < 0.5
        for side in SIDES:
            view = wall_view(Mesh(), room, side)
            inward = view.turn @ np.array([0, 0, 1.0])
            holes = [o for o in plan[side] if o.kind == "window"]
            for o in holes:
                area = (o.right - o.left) * (o.top - o.bottom)
                for share in (0.25, 0.75):
                    middle = np.array([o.left + share * (o.right - o.left), (o.top + o.bottom) / 2, 0.02])
                    power = day * area * np.array([0.85, 0.95, 1.1])
                    lamps.append(Lamp(view.turn @ middle + view.origin, power, inward, room))
            if holes and lit:
                slant = np.array([rng.normal(0, 0.8), rng.uniform(0.35, 1.1), -1.0])
                towards = view.turn @ (slant / np.linalg.norm(slant))
                power = rng.uniform(2, 6) * day * np.array([1.0, 0.92, 0.78])
                suns.append(Sun(towards, power, np.array([hole_box(view, o) for o in holes]), room))
                lit = False
        if rng.random() < 0.6:
            place = room.mean(0) * [1, 0, 1] + [0, room[1, 1] - 0.25, 0]
            power = rng.uniform(0.3, 1.6) * np.array([1.0, 0.85, 0.65])
            lamps.append(Lamp(place, power, zone=room))
    return Lights(np.full(3, rng.uniform(0.12, 0.3) * (0.5 + day)), lamps, suns, np.array(rooms))


def hole_box(view: Mesh, o: Opening) -> np.ndarray:
    """A flat box in the plane of a window."""
    corners = np.array([[o.left, o.bottom, 0], [o.right, o.top, 0.0]])
    turned = np.stack([view.turn @ c + view.origin for c in corners])
    return np.array([turned.min(0), turned.max(0)])
