"""Random camera tracks through furnished rooms."""

import numpy as np
from jaxtyping import Float

from scripts.nano.render.camera_paths import Space, Track, make_track, round_off

MOTIONS = {"dolly": 0.3, "pan": 0.2, "orbit": 0.15, "stop_and_go": 0.15, "walk": 0.2}
TRIES = 300
WALL_MARGIN = 0.35  # metres between a camera and the walls
Room = Float[np.ndarray, "2 3"]
Rng = np.random.Generator


def sample_tour(
    rooms: Float[np.ndarray, "r 2 3"], door: Float[np.ndarray, "2 3"] | None, solids: np.ndarray, rng: Rng
) -> Track:
    """A track that never leaves the rooms nor touches furniture, however long it goes on.

    ``door`` is the box of free air in the doorway between the two rooms, if they are joined. Raises
    ``RuntimeError`` if there is no free place at all.
    """
    zones = [[room[0] + WALL_MARGIN, room[1] - WALL_MARGIN] for room in rooms]
    space = Space(np.array(zones + ([door] if door is not None else [])), solids)
    motion = str(rng.choice(list(MOTIONS), p=list(MOTIONS.values())))
    if motion == "walk" and door is None:
        motion = "dolly"
    speed = rng.uniform(0.3, 1.0) if rng.random() < 0.75 else rng.uniform(1.0, 2.4)
    for attempt in range(TRIES):
        name = motion if attempt < TRIES // 2 else "pan"
        room = rooms[0] if rng.random() < 0.75 else rooms[-1]
        keys = PROPOSALS[name](room, rooms, door, rng)
        if space.free(round_off(keys)[::2, :3]):
            return make_track(name, keys, speed, rng, name == "stop_and_go")
    raise RuntimeError("no free place for a camera in these rooms: use less furniture")


def start_key(room: Room, rng: Rng) -> Float[np.ndarray, "5"]:
    """A place in the room with a view roughly towards its middle."""
    low, high = room[0] + WALL_MARGIN, room[1] - WALL_MARGIN
    x, z = rng.uniform(low[0], high[0]), rng.uniform(low[2], high[2])
    middle = room.mean(0)
    yaw = np.arctan2(middle[0] - x, middle[2] - z) + rng.normal(0, 0.45)
    return np.array([x, rng.uniform(1.15, 1.65), z, yaw, rng.uniform(-0.22, 0.02)])


def forward(yaw: float, metres: float) -> np.ndarray:
    """A step along a heading, as a change of key pose."""
    return np.array([metres * np.sin(yaw), 0, metres * np.cos(yaw), 0, 0])


def dolly(room: Room, rooms, door, rng: Rng) -> Float[np.ndarray, "n 5"]:
    """Straight ahead, back or sideways, with a slight turn."""
    key = start_key(room, rng)
    heading = key[3] + rng.choice([0, 0, 0, np.pi, np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.25)
    end = key + forward(heading, rng.uniform(0.8, 3.0))
    end[3:] += rng.normal(0, 0.25), rng.normal(0, 0.05)
    end[1] += rng.normal(0, 0.08)
    return np.stack([key, (key + end) / 2, end])


def pan(room: Room, rooms, door, rng: Rng) -> Float[np.ndarray, "n 5"]:
    """A turn on the spot or nearly so."""
    key = start_key(room, rng)
    angle = rng.uniform(0.7, 2.2) * rng.choice([-1, 1])
    drift = forward(rng.uniform(0, 6.3), rng.uniform(0, 0.5))
    half = np.array([0, 0, 0, angle / 2, rng.normal(0, 0.04)])
    return np.stack([key - half, key + drift / 2, key + half + drift])


def orbit(room: Room, rooms, door, rng: Rng) -> Float[np.ndarray, "n 5"]:
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


def stop_and_go(room: Room, rooms, door, rng: Rng) -> Float[np.ndarray, "n 5"]:
    """Two or three legs with turns, resting in between."""
    keys = [start_key(room, rng)]
    for _ in range(int(rng.integers(2, 4))):
        step = forward(keys[-1][3] + rng.normal(0, 0.6), rng.uniform(0.4, 1.3))
        keys.append(keys[-1] + step + [0, 0, 0, rng.normal(0, 0.5), 0])
    return np.stack(keys)


def walk(room: Room, rooms, door, rng: Rng) -> Float[np.ndarray, "n 5"]:
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
