"""Camera flights through a room: dolly, pan, orbit and still, at the speed of RealEstate10k's house tours.

World axes: y up, right-handed, metres. Cameras look along their own +z with +y down (OpenCV's axes).
A flight is a function of time alone, so the first frames of a long clip are the frames of a short one.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

MOTIONS = ("dolly", "pan", "orbit", "still")
MOTION_WEIGHTS = (0.40, 0.25, 0.27, 0.08)
CLEARANCE = 0.35  # metres a camera keeps from walls and furniture
EYE_HEIGHT = (1.1, 1.8)


@dataclass(frozen=True)
class Flight:
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


def look_along(eyes: Float[Tensor, "T 3"], forward: Float[Tensor, "T 3"]) -> Float[Tensor, "T 4 4"]:
    """Camera-to-world matrices of upright cameras at ``eyes`` that look along ``forward``."""
    ahead = torch.nn.functional.normalize(forward, dim=1)
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(ahead)
    right = torch.nn.functional.normalize(torch.linalg.cross(ahead, up), dim=1)
    down = torch.linalg.cross(ahead, right)
    poses = torch.eye(4).repeat(len(eyes), 1, 1)
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2], poses[:, :3, 3] = right, down, ahead, eyes
    return poses


def is_free(points: Float[Tensor, "n 3"], room: Float[Tensor, "3"], boxes: Float[Tensor, "k 2 3"]) -> bool:
    """True if all points lie inside the room (a corner at 0) and outside the boxes, with clearance."""
    inside = ((points > CLEARANCE) & (points < room - CLEARANCE)).all()
    low, high = boxes[None, :, 0] - CLEARANCE, boxes[None, :, 1] + CLEARANCE
    blocked = ((points[:, None] > low) & (points[:, None] < high)).all(-1).any()
    return bool(inside & ~blocked)


def sample_flight(
    room: Float[Tensor, "3"], boxes: Float[Tensor, "k 2 3"], generator: torch.Generator
) -> Flight:
    """A random flight that never touches a wall or a box, however long it goes on.

    Raises ``RuntimeError`` if no free place is found (a room filled with furniture).
    """
    motion = MOTIONS[int(torch.multinomial(torch.tensor(MOTION_WEIGHTS), 1, generator=generator))]
    period = torch.linspace(0, 2 * math.pi, 49)
    for _ in range(400):
        flight = propose(motion, room, generator)
        if is_free(flight.place((period - flight.phase) / flight.rate), room, boxes):
            return flight
    for _ in range(400):  # no way for this motion: stand in a free place and pan
        flight = propose("pan", room, generator)
        if is_free(flight.place(torch.zeros(1)), room, boxes):
            return flight
    raise RuntimeError("no free place for a camera in this room; use fewer or smaller boxes")


def propose(motion: str, room: Float[Tensor, "3"], generator: torch.Generator) -> Flight:
    """One candidate flight of the given motion, not yet tested against the furniture."""

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
    still = {"base": place, "swing": torch.zeros(3), "rate": 1.0, "phase": 0.0, "yaw": yaw, "pitch": pitch}
    if motion == "still":
        return Flight(motion, yaw_speed=0.0, **still)
    if motion == "pan":
        return Flight(motion, yaw_speed=sign() * math.radians(draw(9, 26)), **still)
    phase = draw(-0.9, 0.2) + (math.pi if draw(0, 1) < 0.5 else 0.0)
    if motion == "dolly":
        heading, half, speed = (
            yaw + draw(-0.5, 0.5) + (math.pi / 2 if draw(0, 1) < 0.3 else 0),
            draw(0.4, 1.2),
            draw(0.3, 0.9),
        )
        swing = half * torch.tensor([math.sin(heading), draw(-0.08, 0.08), math.cos(heading)])
        moving = still | {"swing": swing, "rate": speed / half, "phase": phase}
        return Flight(motion, yaw_speed=math.radians(draw(-4, 4)), **moving)
    radius, arc = draw(1.0, 2.4), draw(0.5, 1.0)
    moving = still | {"rate": math.radians(draw(11, 26)) / arc, "phase": phase, "pitch": 0.0}
    target = torch.tensor([float(place[0]), draw(0.4, 1.2), float(place[2])])
    return Flight(motion, yaw_speed=0.0, radius=radius, arc=arc, target=target, **moving)
