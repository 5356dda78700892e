"""A robot arm of two links and a gripper that points down: where its parts are for a given fingertip.

Parts are bodies 1 to 6: turntable, upper arm, forearm, palm, left and right finger. A link's own x runs along it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scripts.nano.render.materials import Looks
from scripts.nano.render.mesh import UP, Mesh

FINGER = 0.09  # metres from palm to fingertip
PALM = 0.05  # from wrist to palm
TURNTABLE, UPPER, FORE, HAND, LEFT, RIGHT = range(1, 7)
Rng = np.random.Generator


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


def build_arm(mesh: Mesh, arm: Arm, looks: Looks) -> None:
    """Boxes of all parts: dark links, thicker joints, some parts of metal."""
    rng, t = looks.rng, arm.thick
    dark, other = looks("dark"), looks(str(rng.choice(["dark", "dark", "dark", "grey", "white", "vivid"])))
    metal = looks("grey")
    table = mesh.moved((0, 0, 0), body=TURNTABLE)
    table.prism((0, 0, 0), 2.6 * t, arm.shoulder - t, dark, sides=8)
    table.box((-2 * t, arm.shoulder - 2 * t, -1.8 * t), (2 * t, arm.shoulder + t, 1.8 * t), other, "xXyYzZ")
    for body, length, skin in ((UPPER, arm.upper, dark), (FORE, arm.fore, other)):
        link = mesh.moved((0, 0, 0), body=body)
        link.box((0, -0.7 * t, -0.7 * t), (length, 0.7 * t, 0.7 * t), skin, "xXyYzZ")
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
    return np.stack([np.eye(4), *(frame(along, origin) for along, origin in parts)])


def direction(heading: np.ndarray, angle: float) -> np.ndarray:
    """A unit vector above a horizontal heading."""
    return heading * np.cos(angle) + np.sin(angle) * UP


def frame(along: np.ndarray, origin: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """A body whose x runs along a direction and whose z is horizontal."""
    side = np.cross(along, UP)
    side = side / max(np.linalg.norm(side), 1e-6)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = along, np.cross(side, along), side, origin
    return matrix
