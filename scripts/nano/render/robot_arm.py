"""A robot arm of two links with a gripper that points down: how it is built, where its parts are, what it does.

Parts are bodies 1 to 6: turntable, upper arm, forearm, palm, left and right finger. A link's own x runs along it.

It pushes the objects of a table about, or picks them up and puts them down, by simple kinematics: objects are discs
that stay out of each other and of a low gripper; nothing falls. One state a frame, each from the one before, so a
long clip continues a short one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scripts.nano.render.materials import Materials
from scripts.nano.render.small_objects import TableObject
from scripts.nano.render.textured_quads import UP, Mesh, Rng, Vector

FINGER = 0.09  # metres from palm to fingertip
PALM = 0.05  # from wrist to palm
TURNTABLE, UPPER, FORE, HAND, LEFT, RIGHT = range(1, 7)
GRIPPER = 0.02  # radius in which a low gripper pushes
HOVER = 0.2  # height of the fingertips on the way
OPEN = 0.04  # half the gap between the open fingers
WayPoint = tuple[
    Vector, float, bool
]  # fingertip, half the gap between the fingers, whether they hold the object


@dataclass(frozen=True)
class Arm:
    """Sizes in metres; ``base`` is the shoulder's axis on the table."""

    base: Float[np.ndarray, "3"]
    shoulder: float  # height of the shoulder
    upper: float
    fore: float
    thick: float


def sample_arm(rng: Rng) -> Arm:
    """An arm behind or beside the table, long enough to reach everything on it."""
    side = rng.choice([-1, 1])
    base = np.array([side * rng.uniform(0.0, 0.5), 0, rng.uniform(0.25, 0.42)])
    return Arm(
        base,
        rng.uniform(0.15, 0.3),
        rng.uniform(0.42, 0.5),
        rng.uniform(0.42, 0.5),
        rng.uniform(0.022, 0.036),
    )


def build_arm(mesh: Mesh, arm: Arm, materials: Materials) -> None:
    """Boxes of all parts: dark links, thicker joints, some parts of metal."""
    rng, t = materials.rng, arm.thick
    dark, other = (
        materials("dark"),
        materials(str(rng.choice(["dark", "dark", "dark", "grey", "white", "vivid"]))),
    )
    metal = materials("grey")
    turntable = mesh.moved((0, 0, 0), body=TURNTABLE)
    turntable.prism((0, 0, 0), 2.6 * t, arm.shoulder - t, dark, sides=8)
    turntable.box(
        (-2 * t, arm.shoulder - 2 * t, -1.8 * t), (2 * t, arm.shoulder + t, 1.8 * t), other, "xXyYzZ"
    )
    for body, length, texture in ((UPPER, arm.upper, dark), (FORE, arm.fore, other)):
        link = mesh.moved((0, 0, 0), body=body)
        link.box((0, -0.7 * t, -0.7 * t), (length, 0.7 * t, 0.7 * t), texture, "xXyYzZ")
        link.box((-1.3 * t, -1.3 * t, -1.5 * t), (1.3 * t, 1.3 * t, 1.5 * t), dark, "xXyYzZ")
        link.box((0.35 * length, -1.1 * t, -t), (0.55 * length, 0.9 * t, t), dark, "xXyYzZ")
        link.box((0.7 * length, -0.8 * t, -0.9 * t), (0.74 * length, 0.8 * t, 0.9 * t), metal, "xXyYzZ")
    hand = mesh.moved((0, 0, 0), body=HAND)
    hand.box((-1.3 * t, -1.2 * t, -1.3 * t), (1.3 * t, 1.2 * t, 1.3 * t), dark, "xXyYzZ")
    hand.box((-t, -PALM, -2.2 * t), (t, -PALM + 0.025, 2.2 * t), dark, "xXyYzZ")
    hand.box((-0.6 * t, -PALM, -0.6 * t), (0.6 * t, 0, 0.6 * t), metal, "xXzZ")
    for body in (LEFT, RIGHT):
        finger = mesh.moved((0, 0, 0), body=body)
        finger.box((-0.6 * t, 0.03, -0.008), (0.6 * t, FINGER + 0.01, 0.008), dark, "xXyYzZ")
        finger.box((-0.4 * t, 0, -0.006), (0.4 * t, 0.035, 0.006), metal, "xXyzZ")
    mesh.solids.clear()  # moving parts block no light: their shadows are drawn otherwise


def pose_arm(
    arm: Arm, tip: Float[np.ndarray, "3"], opening: float, turn: float
) -> Float[np.ndarray, "7 4 4"]:
    """Body-to-world matrices for a fingertip at ``tip``; ``opening`` is half the gap between the fingers.

    Index 0 is the world itself. Out of reach, the arm is stretched towards the tip.
    """
    wrist = tip + (FINGER + PALM) * UP
    flat = wrist - arm.base
    reach, height = float(np.hypot(flat[0], flat[2])), float(wrist[1] - arm.shoulder)
    heading = np.array([flat[0], 0, flat[2]]) / max(reach, 1e-6)
    distance = np.clip(np.hypot(reach, height), abs(arm.upper - arm.fore) + 0.01, arm.upper + arm.fore - 1e-4)
    # two-link inverse kinematics by the law of cosines, in the upright plane through base and wrist
    lift = np.arctan2(height, reach)
    bend = np.arccos((arm.upper**2 + distance**2 - arm.fore**2) / (2 * arm.upper * distance))
    shoulder = arm.base + arm.shoulder * UP
    first = direction(heading, lift + bend)
    elbow = shoulder + arm.upper * first
    second = wrist - elbow
    second = second / np.linalg.norm(second)
    facing = np.array([np.cos(turn), 0, -np.sin(turn)])
    fingers = np.array([-np.sin(turn), 0, -np.cos(turn)])
    parts = [
        (heading, arm.base),
        (first, shoulder),
        (second, elbow),
        (facing, wrist),
        (facing, tip + opening * fingers),
        (facing, tip - opening * fingers),
    ]
    return np.stack([np.eye(4), *(body_matrix(along, origin) for along, origin in parts)])


def direction(heading: np.ndarray, angle: float) -> np.ndarray:
    """A unit vector above a horizontal heading."""
    return heading * np.cos(angle) + np.sin(angle) * UP


def body_matrix(along: np.ndarray, origin: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """A body whose x runs along a direction and whose z is horizontal."""
    side = np.cross(along, UP)
    side = side / max(np.linalg.norm(side), 1e-6)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = along, np.cross(side, along), side, origin
    return matrix


@dataclass(frozen=True)
class TableState:
    """One frame: fingertip, half the gap between the fingers, the gripper's turn; all objects' (x, y, z, yaw)."""

    tip: Vector
    opening: float
    turn: float
    objects: Float[np.ndarray, "k 4"]


@dataclass(frozen=True)
class Workspace:
    """The part of the table that is used: its low and high corners (x, z)."""

    low: Float[np.ndarray, "2"]
    high: Float[np.ndarray, "2"]

    def clip(self, place: Float[np.ndarray, "2"], radius: float) -> Float[np.ndarray, "2"]:
        """The nearest place for a disc."""
        return np.clip(place, self.low + radius, self.high - radius)


def scatter(objects: list[TableObject], workspace: Workspace, rng: Rng) -> Float[np.ndarray, "k 4"]:
    """Places for all objects, apart from each other where there is room."""
    places = np.zeros((len(objects), 4))
    for i, item in enumerate(objects):
        for _ in range(60):
            places[i, [0, 2]] = workspace.clip(rng.uniform(workspace.low, workspace.high), item.radius)
            gaps = np.linalg.norm(places[:i, [0, 2]] - places[i, [0, 2]], axis=1)
            if (gaps > [item.radius + other.radius + 0.01 for other in objects[:i]]).all():
                break
        places[i, 3] = rng.uniform(0, 2 * np.pi)
    return places


def simulate_table(
    objects: list[TableObject], places: np.ndarray, workspace: Workspace, rng: Rng, fps: float
) -> Iterator[TableState]:
    """States without end: one random object after the other is pushed, or picked up and put down."""
    speed = rng.uniform(0.3, 1.4) / fps  # metres a frame at full speed
    tip = np.array([*rng.uniform(workspace.low, workspace.high), HOVER])[[0, 2, 1]]
    opening, turn, places = OPEN, rng.uniform(-1, 1), places.copy()
    while True:
        target = int(rng.integers(len(objects)))
        carries = objects[target].graspable and rng.random() < 0.6
        plan = pick_and_place if carries else push
        held: int | None = None
        goal_turn = turn + rng.normal(0, 0.5)
        for goal, gap, grip in plan(objects[target], places[target], workspace, rng):
            start, first_gap, first_turn = tip, opening, turn
            # frames to the way point; 1.4: the eased motion below is at most 1.5 times as fast as its mean
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
                places = resolve_contacts(objects, places, tip, workspace, spare)
                yield TableState(tip, opening, turn, places.copy())
            held = target if grip else None
            if carries and not grip:
                places[target, 1] = 0.0


def push(item: TableObject, place: np.ndarray, workspace: Workspace, rng: Rng) -> list[WayPoint]:
    """Way points of a push: down behind the object, through it towards the table's middle, up."""
    middle = (workspace.low + workspace.high) / 2
    way = middle + rng.normal(0, 0.1, 2) - place[[0, 2]]
    way = way / max(np.linalg.norm(way), 1e-6)
    behind = place[[0, 2]] - way * (item.radius + GRIPPER + 0.03)
    ahead = place[[0, 2]] + way * rng.uniform(0.06, 0.22)
    low = min(0.02, item.height * 0.6)
    points = [
        (behind, HOVER * rng.uniform(0.6, 1)),
        (behind, low),
        (ahead, low),
        (ahead, HOVER * rng.uniform(0.5, 1)),
    ]
    return [(np.array([p[0], y, p[1]]), 0.012, False) for p, y in points]


def pick_and_place(item: TableObject, place: np.ndarray, workspace: Workspace, rng: Rng) -> list[WayPoint]:
    """Way points of picking an object up and putting it down elsewhere."""
    here, there = place[[0, 2]], workspace.clip(rng.uniform(workspace.low, workspace.high), item.radius)
    grip, high = min(item.radius, 0.035), item.height + rng.uniform(0.08, 0.2)
    level = max(0.012, item.height * 0.55)

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


def resolve_contacts(
    objects: list[TableObject], places: np.ndarray, tip: Vector, workspace: Workspace, spare: int | None
) -> Float[np.ndarray, "k 4"]:
    """Move objects out of the gripper's way, and then others out of theirs. ``spare`` is between the fingers."""
    places, moved = places.copy(), []
    for i, item in enumerate(objects):
        if i == spare or tip[1] > item.height or places[i, 1] > 0:
            continue
        away = places[i, [0, 2]] - tip[[0, 2]]
        gap = np.linalg.norm(away)
        if 1e-6 < gap < item.radius + GRIPPER:
            step = away / gap * (item.radius + GRIPPER - gap)
            places[i, [0, 2]] = workspace.clip(places[i, [0, 2]] + step, item.radius)
            # a push past the middle turns the disc
            places[i, 3] += 3.0 * (step[0] * away[1] - step[1] * away[0]) / gap + 0.6 * np.linalg.norm(step)
            moved.append(i)
    for i in moved:
        for j, other in enumerate(objects):
            if j in moved or j == spare or other.height < 0.015 or objects[i].height < 0.015:
                continue
            away = places[j, [0, 2]] - places[i, [0, 2]]
            gap, near = np.linalg.norm(away), objects[i].radius + other.radius
            if 1e-6 < gap < near:
                places[j, [0, 2]] = workspace.clip(
                    places[j, [0, 2]] + away / gap * (near - gap), other.radius
                )
    return places
