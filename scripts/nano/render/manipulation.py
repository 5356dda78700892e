"""What happens on the table: a gripper pushes things about or picks them up and puts them down. Simple kinematics.

Things are discs that stay out of each other and of a low gripper; nothing falls. One state a frame, each from the
one before, so a long clip continues a short one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scripts.nano.render.things import Thing

GRIPPER = 0.02  # radius in which a low gripper pushes
HOVER = 0.2  # height of the fingertips on the way
OPEN = 0.04
Rng = np.random.Generator
Vector = Float[np.ndarray, "3"]


@dataclass(frozen=True)
class State:
    """One frame: fingertip, half the gap between the fingers, the gripper's turn; all things' (x, y, z, yaw)."""

    tip: Vector
    opening: float
    turn: float
    things: Float[np.ndarray, "k 4"]


@dataclass(frozen=True)
class Table:
    """The part of the table that is used: (x, z) low and high corners."""

    low: Float[np.ndarray, "2"]
    high: Float[np.ndarray, "2"]

    def clip(self, place: Float[np.ndarray, "2"], radius: float) -> Float[np.ndarray, "2"]:
        """The nearest place for a disc."""
        return np.clip(place, self.low + radius, self.high - radius)


def scatter(things: list[Thing], table: Table, rng: Rng) -> Float[np.ndarray, "k 4"]:
    """Places for all things, apart from each other where there is room."""
    places = np.zeros((len(things), 4))
    for i, thing in enumerate(things):
        for _ in range(60):
            places[i, [0, 2]] = table.clip(rng.uniform(table.low, table.high), thing.radius)
            gaps = np.linalg.norm(places[:i, [0, 2]] - places[i, [0, 2]], axis=1)
            if (gaps > [thing.radius + other.radius + 0.01 for other in things[:i]]).all():
                break
        places[i, 3] = rng.uniform(0, 2 * np.pi)
    return places


def states(things: list[Thing], places: np.ndarray, table: Table, rng: Rng, fps: float) -> Iterator[State]:
    """States without end."""
    speed = rng.uniform(0.3, 1.4) / fps  # metres a frame at full speed
    tip = np.array([*rng.uniform(table.low, table.high), HOVER])[[0, 2, 1]]
    opening, turn, places = OPEN, rng.uniform(-1, 1), places.copy()
    while True:
        target = int(rng.integers(len(things)))
        carries = things[target].graspable and rng.random() < 0.6
        plan = carry if carries else push
        held: int | None = None
        goal_turn = turn + rng.normal(0, 0.5)
        for goal, gap, grip in plan(things[target], places[target], table, rng):
            start, first_gap, first_turn = tip, opening, turn
            count = max(
                2, int(np.ceil(1.4 * np.linalg.norm(goal - start) / speed)), 4 if gap != opening else 0
            )
            for i in range(1, count + 1):
                share = i / count
                smooth = share * share * (3 - 2 * share)
                moved = start + smooth * (goal - start)
                if held is not None:
                    places[held, :3] += moved - tip
                tip, opening = moved, first_gap + smooth * (gap - first_gap)
                turn = first_turn + smooth * (goal_turn - first_turn)
                spare = target if carries else None
                places = touch(things, places, tip, table, spare)
                yield State(tip, opening, turn, places.copy())
            held = target if grip else None
            if carries and not grip:
                places[target, 1] = 0.0


def push(thing: Thing, place: np.ndarray, table: Table, rng: Rng) -> list[tuple[Vector, float, bool]]:
    """Way points (fingertip, gap, holding) of a push."""
    middle = (table.low + table.high) / 2
    way = middle + rng.normal(0, 0.1, 2) - place[[0, 2]]
    way = way / max(np.linalg.norm(way), 1e-6)
    behind = place[[0, 2]] - way * (thing.radius + GRIPPER + 0.03)
    ahead = place[[0, 2]] + way * rng.uniform(0.06, 0.22)
    low = min(0.02, thing.height * 0.6)
    points = [
        (behind, HOVER * rng.uniform(0.6, 1)),
        (behind, low),
        (ahead, low),
        (ahead, HOVER * rng.uniform(0.5, 1)),
    ]
    return [(np.array([p[0], y, p[1]]), 0.012, False) for p, y in points]


def carry(thing: Thing, place: np.ndarray, table: Table, rng: Rng) -> list[tuple[Vector, float, bool]]:
    """Way points of picking a thing up and putting it down elsewhere."""
    here, there = place[[0, 2]], table.clip(rng.uniform(table.low, table.high), thing.radius)
    grip, high = min(thing.radius, 0.035), thing.height + rng.uniform(0.08, 0.2)
    level = max(0.012, thing.height * 0.55)

    def at(spot: np.ndarray, y: float) -> Vector:
        return np.array([spot[0], y, spot[1]])

    return [
        (at(here, high), OPEN, False),
        (at(here, level), OPEN, False),
        (at(here, level), grip, True),
        (at(here, high), grip, True),
        (at(there, high), grip, True),
        (at(there, level), grip, True),
        (at(there, level), OPEN, False),
        (at(there, high), OPEN, False),
    ]


def touch(
    things: list[Thing], places: np.ndarray, tip: Vector, table: Table, spare: int | None
) -> Float[np.ndarray, "k 4"]:
    """Move things out of the gripper's way, and then out of each other's. ``spare`` is between the fingers."""
    places, moved = places.copy(), []
    for i, thing in enumerate(things):
        if i == spare or tip[1] > thing.height or places[i, 1] > 0:
            continue
        away = places[i, [0, 2]] - tip[[0, 2]]
        gap = np.linalg.norm(away)
        if 1e-6 < gap < thing.radius + GRIPPER:
            step = away / gap * (thing.radius + GRIPPER - gap)
            places[i, [0, 2]] = table.clip(places[i, [0, 2]] + step, thing.radius)
            places[i, 3] += 3.0 * (step[0] * away[1] - step[1] * away[0]) / gap + 0.6 * np.linalg.norm(step)
            moved.append(i)
    for i in moved:
        for j, other in enumerate(things):
            if j in moved or j == spare or other.height < 0.015 or things[i].height < 0.015:
                continue
            away = places[j, [0, 2]] - places[i, [0, 2]]
            gap, near = np.linalg.norm(away), things[i].radius + other.radius
            if 1e-6 < gap < near:
                places[j, [0, 2]] = table.clip(places[j, [0, 2]] + away / gap * (near - gap), other.radius)
    return places
