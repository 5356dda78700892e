"""Furnished rooms: one room, two rooms or a room and a corridor, joined by a doorway; and camera paths through them.

house = build_house(numpy.random.default_rng(7))     # a Scene, rooms, free air of the doorway, solids
path = sample_house_path(house.rooms, house.door, house.solids, rng)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scripts.nano.render.camera_paths import CameraPath, FreeSpace, cut_corners, key_pose_path
from scripts.nano.render.lightmaps import Lamp, Lights, Sun, bake, expose
from scripts.nano.render.materials import Materials
from scripts.nano.render.rasteriser import Scene
from scripts.nano.render.room_interior import (
    SIDES,
    WALL_THICKNESS,
    Opening,
    RoomBox,
    build_wall,
    furnish,
    wall_length,
    wall_mesh,
)
from scripts.nano.render.textured_quads import Mesh, Rng, Textures

LIGHT_DENSITY = 8.0  # points of the light maps a metre
FIRST_ROOMS = ["living", "living", "bedroom", "kitchen", "kitchen", "dining", "office"]
# of camera paths
MOTIONS = {"dolly": 0.3, "pan": 0.2, "orbit": 0.15, "stop_and_go": 0.15, "walk": 0.2}
TRIES = 300
WALL_MARGIN = 0.35  # metres between a camera and the walls
KeyPoses = Float[np.ndarray, "n 5"]  # x, y, z, yaw, pitch


@dataclass(frozen=True)
class House:
    """A scene and what a camera must know of it."""

    scene: Scene
    rooms: Float[np.ndarray, "r 2 3"]
    door: RoomBox | None  # free air between the rooms
    solids: Float[np.ndarray, "k 2 3"]


def build_house(rng: Rng) -> House:
    """A random house of one or two rooms."""
    textures, mesh = Textures(), Mesh()
    materials = Materials(textures, rng)
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
    # doors and windows first, so that furniture leaves them free; walls last, around the pictures hung meanwhile
    lamps: list[Lamp] = []
    openings = [plan_openings(room, i, rng, gap) for i, room in enumerate(rooms)]
    for room, name, plan in zip(rooms, names, openings, strict=True):
        furnish(mesh, room, name, plan, materials, lamps)
    for room, plan in zip(rooms, openings, strict=True):
        shell(mesh, room, plan, materials)
    solids = np.array(mesh.solids) if mesh.solids else np.zeros((0, 2, 3))
    lights = illuminate_house(rooms, openings, lamps, rng)
    return House(assemble(mesh, textures, solids, lights, rng), np.array(rooms), door, solids)


def assemble(mesh: Mesh, textures: Textures, solids: np.ndarray, lights: Lights, rng: Rng) -> Scene:
    """Bake the light and set the exposure."""
    quads = mesh.finish()
    light, at, means = bake(quads, solids, lights, LIGHT_DENSITY)
    exposure = expose(quads, textures, means, rng.uniform(0.2, 0.46))
    return Scene(quads, textures, light, at, exposure, float(rng.uniform(0.2, 0.9)))


def next_room(first: RoomBox, rng: Rng) -> tuple[RoomBox, str]:
    """A room or corridor behind the first one's high z wall, no wider than that."""
    corridor = rng.random() < 0.4
    widest = first[1, 0]
    width = rng.uniform(1.25, 1.8) if corridor else rng.uniform(min(2.8, widest - 0.1), widest)
    length = rng.uniform(3.0, 6.0) if corridor else rng.uniform(2.8, 4.5)
    left, start = rng.uniform(0, widest - width), first[1, 2] + WALL_THICKNESS
    room = np.array([[left, 0, start], [left + width, first[1, 1], start + length]])
    return room, "corridor" if corridor else str(
        rng.choice(["living", "bedroom", "kitchen", "dining", "office"])
    )


def sample_gap(second: RoomBox, rng: Rng) -> tuple[float, float, float]:
    """The doorway into the second room: from x, to x, height."""
    width = rng.uniform(0.85, min(1.5, second[1, 0] - second[0, 0] - 0.3))
    left = rng.uniform(second[0, 0] + 0.1, second[1, 0] - width - 0.1)
    return left, left + width, rng.uniform(2.0, 2.15)


def plan_openings(
    room: RoomBox, index: int, rng: Rng, gap: tuple[float, float, float] | None
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


def shell(mesh: Mesh, room: RoomBox, plan: dict[str, list[Opening]], materials: Materials) -> None:
    """Floor, ceiling and the four walls, one of them sometimes in another colour."""
    low, high = room
    size = high - low
    floor, ceiling = materials("floor"), materials("white")
    if materials.rng.random() < 0.5:  # boards along x or along z
        mesh.quad((low[0] - 0.06, 0, low[2] - 0.06), (size[0] + 0.12, 0, 0), (0, 0, size[2] + 0.12), floor)
    else:
        mesh.quad((high[0] + 0.06, 0, low[2] - 0.06), (0, 0, size[2] + 0.12), (-size[0] - 0.12, 0, 0), floor)
    mesh.quad((low[0], high[1], high[2]), (size[0], 0, 0), (0, 0, -size[2]), ceiling)
    texture = materials("wall")
    accent = materials("wall") if materials.rng.random() < 0.3 else texture
    for side in SIDES:
        length = wall_length(room, side)
        paper = accent if side == "x" else texture
        build_wall(wall_mesh(mesh, room, side), length, float(high[1]), plan[side], materials, paper)


def illuminate_house(
    rooms: list[RoomBox], plans: list[dict[str, list[Opening]]], lamps: list[Lamp], rng: Rng
) -> Lights:
    """Sky through the windows, sun through those of one wall, ceiling lamps, and what the walls throw back."""
    day = rng.uniform(0.3, 1.5)
    suns: list[Sun] = []
    lamps = list(lamps)
    for room, plan in zip(rooms, plans, strict=True):
        lit = rng.random() < 0.5
        for side in SIDES:
            wall = wall_mesh(Mesh(), room, side)
            inward = wall.turn @ np.array([0, 0, 1.0])
            holes = [o for o in plan[side] if o.kind == "window"]
            for o in holes:  # a window is an area of light: two lamps that shine inward
                area = (o.right - o.left) * (o.top - o.bottom)
                for share in (0.25, 0.75):
                    middle = np.array([o.left + share * (o.right - o.left), (o.top + o.bottom) / 2, 0.02])
                    power = day * area * np.array([0.85, 0.95, 1.1])
                    lamps.append(Lamp(wall.turn @ middle + wall.origin, power, inward, room))
            if holes and lit:
                slant = np.array([rng.normal(0, 0.8), rng.uniform(0.35, 1.1), -1.0])
                towards = wall.turn @ (slant / np.linalg.norm(slant))
                power = rng.uniform(2, 6) * day * np.array([1.0, 0.92, 0.78])
                suns.append(Sun(towards, power, np.array([hole_box(wall, o) for o in holes]), room))
                lit = False
        if rng.random() < 0.6:
            place = room.mean(0) * [1, 0, 1] + [0, room[1, 1] - 0.25, 0]
            power = rng.uniform(0.3, 1.6) * np.array([1.0, 0.85, 0.65])
            lamps.append(Lamp(place, power, zone=room))
    return Lights(np.full(3, rng.uniform(0.12, 0.3) * (0.5 + day)), lamps, suns, np.array(rooms))


def hole_box(wall: Mesh, o: Opening) -> np.ndarray:
    """A flat box in the plane of a window."""
    corners = np.array([[o.left, o.bottom, 0], [o.right, o.top, 0.0]])
    turned = np.stack([wall.turn @ c + wall.origin for c in corners])
    return np.array([turned.min(0), turned.max(0)])


def sample_house_path(
    rooms: Float[np.ndarray, "r 2 3"], door: RoomBox | None, solids: np.ndarray, rng: Rng
) -> CameraPath:
    """A path that never leaves the rooms nor touches furniture, however long it is travelled.

    ``door`` is the box of free air in the doorway between the two rooms, if they are joined. Raises
    ``RuntimeError`` if there is no free place at all.
    """
    zones = [[room[0] + WALL_MARGIN, room[1] - WALL_MARGIN] for room in rooms]
    space = FreeSpace(np.array(zones + ([door] if door is not None else [])), solids)
    motion = str(rng.choice(list(MOTIONS), p=list(MOTIONS.values())))
    if motion == "walk" and door is None:
        motion = "dolly"
    speed = rng.uniform(0.3, 1.0) if rng.random() < 0.75 else rng.uniform(1.0, 2.4)
    for attempt in range(TRIES):
        name = motion if attempt < TRIES // 2 else "pan"
        room = rooms[0] if rng.random() < 0.75 else rooms[-1]
        keys = PROPOSALS[name](room, rooms, door, rng)
        if space.free(cut_corners(keys)[::2, :3]):
            return key_pose_path(name, keys, speed, rng, name == "stop_and_go")
    raise RuntimeError("no free place for a camera in these rooms: use less furniture")


def start_key(room: RoomBox, rng: Rng) -> Float[np.ndarray, "5"]:
    """A place in the room with a view roughly towards its middle."""
    low, high = room[0] + WALL_MARGIN, room[1] - WALL_MARGIN
    x, z = rng.uniform(low[0], high[0]), rng.uniform(low[2], high[2])
    middle = room.mean(0)
    yaw = np.arctan2(middle[0] - x, middle[2] - z) + rng.normal(0, 0.45)
    return np.array([x, rng.uniform(1.15, 1.65), z, yaw, rng.uniform(-0.22, 0.02)])


def forward(yaw: float, metres: float) -> np.ndarray:
    """A step along a heading, as a change of key pose."""
    return np.array([metres * np.sin(yaw), 0, metres * np.cos(yaw), 0, 0])


def dolly(room: RoomBox, rooms: Sequence[RoomBox], door: RoomBox | None, rng: Rng) -> KeyPoses:
    """Straight ahead, back or sideways, with a slight turn."""
    key = start_key(room, rng)
    heading = key[3] + rng.choice([0, 0, 0, np.pi, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.25)
    end = key + forward(heading, rng.uniform(0.8, 3.0))
    end[3:] += rng.normal(0, 0.25), rng.normal(0, 0.05)
    end[1] += rng.normal(0, 0.08)
    return np.stack([key, (key + end) / 2, end])


def pan(room: RoomBox, rooms: Sequence[RoomBox], door: RoomBox | None, rng: Rng) -> KeyPoses:
    """A turn on the spot or nearly so."""
    key = start_key(room, rng)
    angle = rng.uniform(0.7, 2.2) * rng.choice([-1, 1])
    drift = forward(rng.uniform(0, 6.3), rng.uniform(0, 0.5))
    half = np.array([0, 0, 0, angle / 2, rng.normal(0, 0.04)])
    return np.stack([key - half, key + drift / 2, key + half + drift])


def orbit(room: RoomBox, rooms: Sequence[RoomBox], door: RoomBox | None, rng: Rng) -> KeyPoses:
    """An arc around a point, which stays in the middle of the picture."""
    low, high = room[0] + 0.8, room[1] - 0.8
    middle = room.mean(0)  # all that a corridor has, and a low room's height
    target = rng.uniform(np.minimum(low, middle), np.maximum(high, middle))
    target[1] = rng.uniform(0.5, 1.1)
    radius, height = rng.uniform(1.0, 2.6), rng.uniform(1.15, 1.65)
    angles = rng.uniform(0, 6.3) + np.linspace(0, rng.uniform(0.6, 1.8) * rng.choice([-1, 1]), 6)
    keys = [[0, 0, 0, a, np.arctan2(target[1] - height, radius)] for a in angles]
    places = [
        target + np.array([-radius * np.sin(a), height - target[1], -radius * np.cos(a)]) for a in angles
    ]
    return np.concatenate([np.array(places), np.array(keys)[:, 3:]], 1)


def stop_and_go(room: RoomBox, rooms: Sequence[RoomBox], door: RoomBox | None, rng: Rng) -> KeyPoses:
    """Two or three legs with turns, resting in between."""
    keys = [start_key(room, rng)]
    for _ in range(int(rng.integers(2, 4))):
        step = forward(keys[-1][3] + rng.normal(0, 0.6), rng.uniform(0.4, 1.3))
        keys.append(keys[-1] + step + [0, 0, 0, rng.normal(0, 0.5), 0])
    return np.stack(keys)


def walk(room: RoomBox, rooms: Sequence[RoomBox], door: RoomBox | None, rng: Rng) -> KeyPoses:
    """From one room through the doorway into the other, looking ahead. The doorway leads along z."""
    first, second = (rooms[0], rooms[1]) if rng.random() < 0.5 else (rooms[1], rooms[0])
    middle, away = (door[0] + door[1]) / 2, np.sign(second.mean(0)[2] - first.mean(0)[2])
    middle[1] = rng.uniform(1.2, 1.6)
    side, ahead = np.array([0.3 * rng.normal(), 0, 0]), np.array([0, 0, away])
    places = [
        middle - rng.uniform(1.0, 2.2) * ahead + 2 * side,
        middle - 0.45 * ahead,
        middle + 0.45 * ahead,
        middle + rng.uniform(0.9, 1.8) * ahead - side,
    ]
    yaw = 0.0 if away > 0 else np.pi
    turn = rng.normal(0, 0.5)
    yaws = yaw + np.array([rng.normal(0, 0.2), 0, 0.3 * turn, turn])
    pitch = rng.uniform(-0.15, 0.0)
    return np.stack([[*place, angle, pitch] for place, angle in zip(places, yaws, strict=True)])


PROPOSALS = {"dolly": dolly, "pan": pan, "orbit": orbit, "stop_and_go": stop_and_go, "walk": walk}
