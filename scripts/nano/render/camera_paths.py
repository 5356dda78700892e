"""Camera paths like those of house tours: dolly, pan, orbit, stop-and-go, walks from room to room, held by hand.

A path is a list of key poses (x, y, z, yaw, pitch), rounded off and travelled there and back for ever. It is a
function of time alone, so the first poses of a long clip are the poses of a short one. Axes as in flights.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from scripts.nano.render.flights import look_along

TURN_EFFORT = 0.9  # metres of travel that take as long as a turn by one radian
ROUNDS = 5  # of corner cutting


@dataclass(frozen=True)
class Track:
    """A path and how it is travelled."""

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
class Space:
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


def round_off(keys: Float[np.ndarray, "n 5"]) -> Float[np.ndarray, "m 5"]:
    """The key poses with their corners cut; both ends stay."""
    for _ in range(ROUNDS):
        inner = np.stack([0.75 * keys[:-1] + 0.25 * keys[1:], 0.25 * keys[:-1] + 0.75 * keys[1:]], 1)
        keys = np.concatenate([keys[:1], inner.reshape(-1, 5), keys[-1:]])
    return keys


def make_track(
    motion: str, keys: Float[np.ndarray, "n 5"], speed: float, rng: np.random.Generator, stops: bool = False
) -> Track:
    """A track along key poses at about ``speed`` metres a second; ``stops``: with rests on the way."""
    dense = round_off(keys)
    steps = np.diff(dense, axis=0)
    effort = np.linalg.norm(steps[:, :3], axis=1) + TURN_EFFORT * np.abs(steps[:, 3:]).sum(1)
    effort = np.concatenate([[0], np.cumsum(effort)])
    marks = np.linspace(0, effort[-1], len(keys) if stops else 2)
    marks = np.concatenate([marks, marks[-2::-1]])
    travel = 1.3 * np.abs(np.diff(marks)) / speed + 1e-3
    if stops:  # every mark is reached twice: on arrival and on leaving
        rests = rng.uniform(0.25, 0.8, len(travel))
        clock = np.concatenate([[0], np.cumsum(np.stack([travel, rests], 1).ravel())])
        marks = np.concatenate([marks[:1], np.repeat(marks[1:], 2)])
        start = rng.uniform(0, clock[1])
    else:
        clock = np.concatenate([[0], np.cumsum(travel)])
        start = clock[1] * (rng.uniform(0.1, 0.5) + rng.integers(0, 2))
    return Track(motion, dense, effort, clock, marks, float(start), handheld(rng))


def handheld(rng: np.random.Generator) -> Float[np.ndarray, "3 5 3"]:
    """Gentle sway: none in half of the cases (a gimbal), else up to a centimetre and half a degree."""
    strength = 0.0 if rng.random() < 0.5 else rng.uniform(0.2, 1.0)
    reach = strength * np.array([0.006, 0.008, 0.004, 0.006, 0.005]) * rng.uniform(0.3, 1.0, (3, 5))
    return np.stack([reach, rng.uniform(2, 13, (3, 5)), rng.uniform(0, 6.3, (3, 5))], 2)


def still(motion: str, key: Float[np.ndarray, "5"], rng: np.random.Generator, sway: bool) -> Track:
    """A camera that stands, perhaps with a hand's sway."""
    keys = np.stack([key, key])
    waves = handheld(rng) if sway else np.zeros((3, 5, 3))
    clock, marks = np.array([0.0, 1.0]), np.zeros(2)
    return Track(motion, keys, np.array([0.0, 1.0]), clock, marks, 0.0, waves)
