"""Camera paths: functions of time alone, so the first poses of a long clip are the poses of a short one.

``CameraPath`` travels a list of key poses (x, y, z, yaw, pitch) there and back for ever; ``SinusoidalPath`` is the
smooth path of the plain rooms. World axes: y up, right-handed, metres. Cameras look along their own +z with +y down
(OpenCV's axes).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

TURN_EFFORT = 0.9  # metres of travel that take as long as a turn by one radian
CORNER_ROUNDS = 5  # of corner cutting
# of SinusoidalPath
MOTIONS = ("dolly", "pan", "orbit", "still")
MOTION_WEIGHTS = (0.40, 0.25, 0.27, 0.08)
CLEARANCE = 0.35  # metres a camera keeps from walls and furniture
EYE_HEIGHT = (1.1, 1.8)


@dataclass(frozen=True)
class CameraPath:
    """Key poses, and how they are travelled: time gives an effort (metres and turns), an effort gives a pose."""

    motion: str
    keys: Float[np.ndarray, "n 5"]  # dense key poses
    effort: Float[np.ndarray, " n"]  # from the start, in metres
    clock: Float[np.ndarray, " m"]  # seconds at which ...
    milestones: Float[np.ndarray, " m"]  # ... these efforts are reached; one way there and back
    start: float  # seconds into the clock
    sway: Float[np.ndarray, "3 5 3"]  # waves by (amplitude, rate, phase) of the five numbers

    def keys_at(self, seconds: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 5"]:
        """The camera's (x, y, z, yaw, pitch)."""
        time = np.mod(seconds + self.start, self.clock[-1])
        # the leg between two milestones that this time lies in, and how far along it: eased in and out
        leg = np.clip(np.searchsorted(self.clock, time, "right") - 1, 0, len(self.clock) - 2)
        share = (time - self.clock[leg]) / np.maximum(self.clock[leg + 1] - self.clock[leg], 1e-9)
        smooth = share * share * (3 - 2 * share)
        done = self.milestones[leg] + smooth * (self.milestones[leg + 1] - self.milestones[leg])
        keys = np.stack([np.interp(done, self.effort, column) for column in self.keys.T], 1)
        amplitude, rate, phase = (self.sway[..., i] for i in range(3))
        return keys + (amplitude * np.sin(seconds[:, None, None] * rate + phase)).sum(1)

    def poses(self, frames: int, fps: float) -> Float[torch.Tensor, "T 4 4"]:
        """Camera-to-world matrices of ``frames`` frames."""
        keys = torch.from_numpy(self.keys_at(np.arange(frames) / fps))
        yaw, pitch = keys[:, 3], keys[:, 4]
        forward = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], 1)
        return look_along(keys[:, :3].float(), forward.float())


@dataclass(frozen=True)
class FreeSpace:
    """Where a camera may be: in one of the zones (boxes), outside of all solids, with a margin around those."""

    zones: Float[np.ndarray, "z 2 3"]
    solids: Float[np.ndarray, "k 2 3"]
    margin: float = 0.3

    def free(self, points: Float[np.ndarray, "n 3"]) -> bool:
        """Whether all points are allowed."""
        near = points[:, None]
        inside = ((near >= self.zones[:, 0]) & (near <= self.zones[:, 1])).all(2).any(1).all()
        low, high = self.solids[:, 0] - self.margin, self.solids[:, 1] + self.margin
        return bool(inside and not ((near > low) & (near < high)).all(2).any())


def cut_corners(keys: Float[np.ndarray, "n 5"]) -> Float[np.ndarray, "m 5"]:
    """The key poses as a smooth curve: Chaikin's corner cutting. Both ends stay.

    Each round puts two keys at 1/4 and 3/4 of every piece: of 0, 4, 8 come 0, 1, 3, 5, 7, 8.
    """
    for _ in range(CORNER_ROUNDS):
        inner = np.stack([0.75 * keys[:-1] + 0.25 * keys[1:], 0.25 * keys[:-1] + 0.75 * keys[1:]], 1)
        keys = np.concatenate([keys[:1], inner.reshape(-1, 5), keys[-1:]])
    return keys


def key_pose_path(
    motion: str, keys: Float[np.ndarray, "n 5"], speed: float, rng: np.random.Generator, stops: bool = False
) -> CameraPath:
    """A path along key poses at about ``speed`` metres a second; ``stops``: with rests on the way."""
    dense = cut_corners(keys)
    steps = np.diff(dense, axis=0)
    effort = np.linalg.norm(steps[:, :3], axis=1) + TURN_EFFORT * np.abs(steps[:, 3:]).sum(1)
    effort = np.concatenate([[0], np.cumsum(effort)])
    marks = np.linspace(0, effort[-1], len(keys) if stops else 2)
    marks = np.concatenate([marks, marks[-2::-1]])  # there and back
    travel = 1.3 * np.abs(np.diff(marks)) / speed + 1e-3
    if stops:  # every mark is reached twice: on arrival and on leaving
        rests = rng.uniform(0.25, 0.8, len(travel))
        clock = np.concatenate([[0], np.cumsum(np.stack([travel, rests], 1).ravel())])
        marks = np.concatenate([marks[:1], np.repeat(marks[1:], 2)])
        start = rng.uniform(0, clock[1])
    else:
        clock = np.concatenate([[0], np.cumsum(travel)])
        start = clock[1] * (rng.uniform(0.1, 0.5) + rng.integers(0, 2))
    return CameraPath(motion, dense, effort, clock, marks, float(start), handheld(rng))


def handheld(rng: np.random.Generator) -> Float[np.ndarray, "3 5 3"]:
    """Gentle sway: none in half of the cases (a gimbal), else up to a centimetre and half a degree."""
    strength = 0.0 if rng.random() < 0.5 else rng.uniform(0.2, 1.0)
    reach = strength * np.array([0.006, 0.008, 0.004, 0.006, 0.005]) * rng.uniform(0.3, 1.0, (3, 5))
    return np.stack([reach, rng.uniform(2, 13, (3, 5)), rng.uniform(0, 6.3, (3, 5))], 2)


def standing_camera(
    motion: str, key: Float[np.ndarray, "5"], rng: np.random.Generator, sway: bool
) -> CameraPath:
    """A camera that stands, perhaps with a hand's sway."""
    keys = np.stack([key, key])
    waves = handheld(rng) if sway else np.zeros((3, 5, 3))
    clock, marks = np.array([0.0, 1.0]), np.zeros(2)
    return CameraPath(motion, keys, np.array([0.0, 1.0]), clock, marks, 0.0, waves)


def look_along(eyes: Float[Tensor, "T 3"], forward: Float[Tensor, "T 3"]) -> Float[Tensor, "T 4 4"]:
    """Camera-to-world matrices of upright cameras at ``eyes`` that look along ``forward``."""
    ahead = torch.nn.functional.normalize(forward, dim=1)
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(ahead)
    right = torch.nn.functional.normalize(torch.linalg.cross(ahead, up), dim=1)
    down = torch.linalg.cross(ahead, right)
    poses = torch.eye(4).repeat(len(eyes), 1, 1)
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2], poses[:, :3, 3] = right, down, ahead, eyes
    return poses


@dataclass(frozen=True)
class SinusoidalPath:
    """A smooth there-and-back path: every quantity is ``base + swing * sin(rate * time + phase)``.

    ``target`` (orbit only) is the point looked at; without it the view follows ``yaw`` and ``pitch``.
    """

    motion: str
    base: Float[Tensor, "3"]  # middle of the path (dolly), place (pan, still), centre of the circle (orbit)
    swing: Float[Tensor, "3"]  # dolly: half the way there and back
    rate: float  # radians a second of the swing
    phase: float
    yaw: float
    pitch: float
    yaw_speed: float  # radians a second
    radius: float = 0.0  # orbit: metres from the centre
    arc: float = 0.0  # orbit: half the angle there and back, radians
    target: Float[Tensor, "3"] | None = None

    def place(self, seconds: Float[Tensor, " T"]) -> Float[Tensor, "T 3"]:
        """Camera centres at the given times."""
        wave = torch.sin(self.rate * seconds + self.phase)
        if self.target is None:
            return self.base + wave[:, None] * self.swing
        angle = self.yaw + self.arc * wave
        circle = torch.stack([angle.sin(), torch.zeros_like(angle), angle.cos()], 1)
        return self.base - self.radius * circle

    def poses(self, frames: int, fps: float) -> Float[Tensor, "T 4 4"]:
        """Camera-to-world matrices of ``frames`` frames."""
        seconds = torch.arange(frames) / fps
        eyes = self.place(seconds)
        if self.target is None:
            yaw = self.yaw + self.yaw_speed * seconds
            pitch = torch.full_like(yaw, self.pitch)
            forward = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], 1)
        else:
            forward = self.target - eyes
        return look_along(eyes, forward)


def is_free(points: Float[Tensor, "n 3"], room: Float[Tensor, "3"], boxes: Float[Tensor, "k 2 3"]) -> bool:
    """True if all points lie inside the room (a corner at 0) and outside the boxes, with clearance."""
    inside = ((points > CLEARANCE) & (points < room - CLEARANCE)).all()
    low, high = boxes[None, :, 0] - CLEARANCE, boxes[None, :, 1] + CLEARANCE
    blocked = ((points[:, None] > low) & (points[:, None] < high)).all(-1).any()
    return bool(inside & ~blocked)


def sample_sinusoidal_path(
    room: Float[Tensor, "3"], boxes: Float[Tensor, "k 2 3"], generator: torch.Generator
) -> SinusoidalPath:
    """A random path that never touches a wall or a box, however long it is travelled.

    Raises ``RuntimeError`` if no free place is found (a room filled with furniture).
    """
    motion = MOTIONS[int(torch.multinomial(torch.tensor(MOTION_WEIGHTS), 1, generator=generator))]
    period = torch.linspace(0, 2 * math.pi, 49)  # the path repeats: one period stands for all time
    for _ in range(400):
        camera_path = propose_sinusoidal(motion, room, generator)
        if is_free(camera_path.place((period - camera_path.phase) / camera_path.rate), room, boxes):
            return camera_path
    for _ in range(400):  # no way for this motion: stand in a free place and pan
        camera_path = propose_sinusoidal("pan", room, generator)
        if is_free(camera_path.place(torch.zeros(1)), room, boxes):
            return camera_path
    raise RuntimeError("no free place for a camera in this room; use fewer or smaller boxes")


def propose_sinusoidal(motion: str, room: Float[Tensor, "3"], generator: torch.Generator) -> SinusoidalPath:
    """One candidate path of the given motion, not yet tested against the furniture."""

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    def sign() -> float:
        return 1.0 if draw(0, 1) < 0.5 else -1.0

    place = torch.tensor(
        [draw(0.1, 0.9) * float(room[0]), draw(*EYE_HEIGHT), draw(0.1, 0.9) * float(room[2])]
    )
    # A bias towards the room's middle keeps walls from filling the picture.
    inward = math.atan2(float(room[0] / 2 - place[0]), float(room[2] / 2 - place[2]))
    yaw, pitch = inward + draw(-0.8, 0.8), draw(-0.25, 0.03)
    standing = {"base": place, "swing": torch.zeros(3), "rate": 1.0, "phase": 0.0, "yaw": yaw, "pitch": pitch}
    if motion == "still":
        return SinusoidalPath(motion, yaw_speed=0.0, **standing)
    if motion == "pan":
        return SinusoidalPath(motion, yaw_speed=sign() * math.radians(draw(9, 26)), **standing)
    phase = draw(-0.9, 0.2) + (math.pi if draw(0, 1) < 0.5 else 0.0)
    if motion == "dolly":
        heading, half, speed = (
            yaw + draw(-0.5, 0.5) + (math.pi / 2 if draw(0, 1) < 0.3 else 0),
            draw(0.4, 1.2),
            draw(0.3, 0.9),
        )
        swing = half * torch.tensor([math.sin(heading), draw(-0.08, 0.08), math.cos(heading)])
        moving = standing | {"swing": swing, "rate": speed / half, "phase": phase}
        return SinusoidalPath(motion, yaw_speed=math.radians(draw(-4, 4)), **moving)
    radius, arc = draw(1.0, 2.4), draw(0.5, 1.0)
    moving = standing | {"rate": math.radians(draw(11, 26)) / arc, "phase": phase, "pitch": 0.0}
    target = torch.tensor([float(place[0]), draw(0.4, 1.2), float(place[2])])
    return SinusoidalPath(motion, yaw_speed=0.0, radius=radius, arc=arc, target=target, **moving)
