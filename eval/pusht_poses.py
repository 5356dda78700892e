"""Push-T pictures to numbers: where the agent is, how the T lies, and how much of the goal it covers.

Units are the simulator's: a square of 512, y down, whatever the size of the picture. A pose is (x, y, angle): the
middle of the outer edge of the T's bar, and radians. Colours are those of ``gym_pusht``: white, the goal, the T and
the agent are four colours, so a pixel is a mixture of them, which three channels and "shares add up to 1" tell.

The agent is the centroid of its share. The T is drawn at a pose until it looks like its share (Gauss-Newton); what is
left over, the *residual*, is about 0.11 on true pictures of 64x64 and above 0.2 where a model has melted it. On true
pictures of 64x64 the agent's error is 0.5 (median) and 1.4 (99 %), the T's 0.7 and 2.4, that of the coverage 0.003 on
average (docs/log/pusht.md).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

SIDE = 512.0  # of the world
GOAL = np.array([256.0, 256.0, math.pi / 4])
BOXES = ((-60.0, 60.0, 0.0, 30.0), (-15.0, 15.0, 30.0, 120.0))  # bar and stem: x from, to, y from, to
CORNERS = np.array(
    [(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], float
)
AREA = sum((right - left) * (bottom - top) for left, right, top, bottom in BOXES)
MIDDLE = 45.0  # from a pose's point to the T's centre of gravity, along the stem
COLOURS = np.array([[255, 255, 255], [144, 238, 144], [143, 163, 184], [72, 118, 255]], float)
LEAST_AGENT, LEAST_TEE = 190.0, 1500.0  # square units that must be seen; an agent has 707, a T 6,300
NOISE = 0.12  # shares of the T below this are none
STEPS = np.array([1.0, 1.0, 0.02])  # finite differences of a pose
POOR = 0.3  # a fit that is looked for anew

Poses = Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Reading:
    """What is seen in n pictures; NaN where nothing is.

    Attributes:
        agent: its centre.
        tee: poses of the T.
        residual: squared differences between the T seen and the T drawn, over the share seen.
    """

    agent: Float[np.ndarray, "n 2"]
    tee: Poses
    residual: Float[np.ndarray, " n"]

    @property
    def lost(self) -> np.ndarray:
        """Where no agent is seen."""
        return np.isnan(self.agent[:, 0])


def to_world(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Points ``[n 2]`` of the T's own frame to the world."""
    return np.asarray(points) @ turned(float(pose[2])).T + pose[:2]


def turned(angle: float) -> Float[np.ndarray, "2 2"]:
    """The rotation by an angle."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def coverage(pose: np.ndarray) -> float:
    """The share of the T's area, 0 to 1, that lies on the goal; NaN for a pose that is none."""
    if not np.isfinite(pose).all():
        return math.nan
    ours, goals = boxes_at(pose), boxes_at(GOAL)
    return sum(shared_area(one, other) for one in ours for other in goals) / AREA


def boxes_at(pose: np.ndarray) -> list[np.ndarray]:
    """The corners of bar and stem in the world."""
    return [to_world(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), pose) for x0, x1, y0, y1 in BOXES]


def shared_area(one: np.ndarray, other: np.ndarray) -> float:
    """The area that two convex polygons share, both ``[n 2]`` in the order of ``boxes_at``.

    The first is cut at each edge of the second in turn (Sutherland and Hodgman 1974).
    """
    corners = list(one)
    for start, end in zip(other, np.roll(other, -1, 0), strict=True):
        edge = end - start
        inside = [cross(edge, corner - start) for corner in corners]
        kept = []
        for number, corner in enumerate(corners):
            before, depth = corners[number - 1], inside[number - 1]
            if (depth >= 0) != (inside[number] >= 0):
                kept.append(before + (corner - before) * (depth / (depth - inside[number])))
            if inside[number] >= 0:
                kept.append(corner)
        corners = kept
    return sum(cross(corners[i - 1], corners[i]) for i in range(len(corners))) / 2


def cross(one: np.ndarray, other: np.ndarray) -> float:
    """The z of the cross product of two plane vectors."""
    return float(one[0] * other[1] - one[1] * other[0])


def distance_to_goal(pose: np.ndarray) -> float:
    """How far the T's corners are from the goal's, on average."""
    return float(np.linalg.norm(to_world(CORNERS, pose) - to_world(CORNERS, GOAL), axis=1).mean())


def shares(frames: UInt8[np.ndarray, "n s s 3"]) -> tuple[Float[np.ndarray, "n s s"], ...]:
    """The T's and the agent's share of each pixel."""
    mixing = np.concatenate([COLOURS.T, np.full((1, 4), 255.0)])
    whole = np.concatenate([frames.astype(float), np.full((*frames.shape[:-1], 1), 255.0)], -1)
    found = (whole @ np.linalg.inv(mixing).T).clip(0, 1.2)
    return found[..., 2], found[..., 3]


def agents(share: Float[np.ndarray, "n s s"], unit: float) -> Float[np.ndarray, "n 2"]:
    """Centroids of the agent's share; ``unit`` is the size of a pixel. NaN where too little is seen."""
    seen = np.where(share > 0.25, share, 0)
    seen[:, [0, -1]] = np.where(seen[:, [0, -1]] > 0.5, seen[:, [0, -1]], 0)  # walls are grey-blue too
    middle, mass = (np.arange(share.shape[1]) + 0.5) * unit, seen.sum((1, 2))
    with np.errstate(all="ignore"):
        found = np.stack([(seen.sum(axis) * middle).sum(1) / mass for axis in (1, 2)], 1)
    found[mass * unit**2 < LEAST_AGENT] = np.nan
    return found


def drawn_tees(centred: Float[Tensor, "n 3"], size: int, soft: float = 0.5) -> Float[Tensor, "n s s"]:
    """The T's share of each pixel, drawn at (centre of gravity x, y, angle), with edges of one pixel."""
    unit = SIDE / size
    middle = (torch.arange(size) + 0.5) * unit
    across, down = middle - centred[:, 0, None, None], middle[:, None] - centred[:, 1, None, None]
    cos, sin = centred[:, 2, None, None].cos(), centred[:, 2, None, None].sin()
    x, y = cos * across + sin * down, cos * down - sin * across + MIDDLE
    outside = [
        torch.maximum((x - (x0 + x1) / 2).abs() - (x1 - x0) / 2, (y - (y0 + y1) / 2).abs() - (y1 - y0) / 2)
        for x0, x1, y0, y1 in BOXES
    ]
    return (soft - torch.minimum(*outside) / unit).clamp(0, 1)


class TeeFit:
    """Poses that make drawn Ts look like the shares seen, ``[n s s]``, by damped Gauss-Newton steps.

    Pixels of the agent, and those of the border, do not count.
    """

    def __init__(self, tee: Tensor, agent: Tensor) -> None:
        self.seen = torch.where(tee > NOISE, tee, 0).float()
        self.weight = 1 - (agent * 2).clamp(0, 1).float()
        self.weight[:, [0, -1]] = 0
        self.weight[:, :, [0, -1]] = 0
        self.mass = (self.seen * self.weight).sum((1, 2)).clamp(min=1e-6)

    def centres(self) -> Float[Tensor, "n 2"]:
        """Centroids of what is seen."""
        middle = (torch.arange(self.seen.shape[1]) + 0.5) * (SIDE / self.seen.shape[1])
        counted = self.seen * self.weight
        return torch.stack([(counted.sum(axis) * middle).sum(1) / self.mass for axis in (1, 2)], 1)

    def best(self, starts: Float[Tensor, "n k 3"], steps: int) -> tuple[Float[Tensor, "n 3"], Tensor]:
        """The best of k fits of each picture and its residual."""
        rows = torch.arange(len(starts)).repeat_interleave(starts.shape[1])
        found, errors = self.descend(starts.flatten(0, 1), rows, steps)
        errors = errors.view(starts.shape[:2])
        chosen = errors.argmin(1) + torch.arange(len(starts)) * starts.shape[1]
        return found[chosen], errors.amin(1) / self.mass

    def descend(self, poses: Float[Tensor, "m 3"], rows: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Poses after some steps and their errors; a step that makes an error larger is taken back."""
        seen, weight, size = self.seen[rows], self.weight[rows], self.seen.shape[1]
        scale = torch.tensor(STEPS, dtype=torch.float32)
        offsets = torch.diag(scale)
        drawn, damping = drawn_tees(poses, size), torch.full((len(poses),), 1e-2)
        errors = (weight * (drawn - seen).square()).sum((1, 2))
        for _ in range(steps):
            slopes = torch.stack(
                [(drawn_tees(poses + step, size) - drawn_tees(poses - step, size)) / 2 for step in offsets],
                -1,
            )
            weighted = slopes * weight[..., None]
            normal = torch.einsum("nijk,nijl->nkl", weighted, slopes)
            pull = torch.einsum("nijk,nij->nk", weighted, seen - drawn)
            diagonal = torch.diagonal(normal, dim1=1, dim2=2) + 1e-3
            normal = normal + damping[:, None, None] * torch.diag_embed(diagonal)
            moved = poses + torch.linalg.solve(normal, pull).clamp(-12, 12) * scale
            redrawn = drawn_tees(moved, size)
            changed = (weight * (redrawn - seen).square()).sum((1, 2))
            better = changed < errors
            poses = torch.where(better[:, None], moved, poses)
            drawn = torch.where(better[:, None, None], redrawn, drawn)
            errors = torch.where(better, changed, errors)
            damping = torch.where(better, damping * 0.4, damping * 5).clamp(1e-4, 1e3)
        return poses, errors


def read_pictures(frames: UInt8[np.ndarray, "n s s 3"], at_once: int = 32) -> Reading:
    """Agent and T in n pictures, each looked at anew: about 70 ms a picture."""
    parts = [_read(frames[first : first + at_once]) for first in range(0, len(frames), at_once)]
    return Reading(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))


FIELDS = ("agent", "tee", "residual")


def _read(frames: UInt8[np.ndarray, "n s s 3"], angles: int = 8) -> Reading:
    unit = SIDE / frames.shape[1]
    tee, agent = shares(frames)
    found, residual = np.full((len(frames), 3), np.nan), np.full(len(frames), np.nan)
    there = np.where(tee > POOR, tee, 0).sum((1, 2)) * unit**2 > LEAST_TEE
    if there.any():
        fit = TeeFit(torch.from_numpy(tee[there]), torch.from_numpy(agent[there]))
        turns = torch.arange(angles) * (2 * math.pi / angles)
        starts = torch.cat(
            [
                fit.centres()[:, None].expand(-1, angles, -1),
                turns[None, :, None].expand(int(there.sum()), -1, 1),
            ],
            -1,
        )
        rough, _ = fit.best(starts, 8)
        poses, residuals = fit.best(rough[:, None], 8)
        found[there], residual[there] = from_centred(poses), residuals.numpy()
    return Reading(agents(agent, unit), found, residual)


def track_pictures(frames: UInt8[np.ndarray, "n s s 3"], before: Poses) -> Reading:
    """As ``read_pictures``, from the poses of the pictures before: about 10 ms a picture. Poor fits begin anew."""
    tee, agent = shares(frames)
    fit = TeeFit(torch.from_numpy(tee), torch.from_numpy(agent))
    starts = to_centred(np.nan_to_num(before))[:, None] + torch.tensor(
        [[0, 0, 0], [0, 0, 0.25], [0, 0, -0.25]], dtype=torch.float32
    )
    poses, residual = fit.best(starts, 7)
    found, left = from_centred(poses), residual.numpy().astype(float)
    lost = ~np.isfinite(before).all(1) | (left > POOR)
    if lost.any():
        anew = read_pictures(frames[lost])
        better = ~(anew.residual >= left[lost]) | ~np.isfinite(before[lost]).all(1)
        rows = np.flatnonzero(lost)[better]
        found[rows], left[rows] = anew.tee[better], anew.residual[better]
    return Reading(agents(agent, SIDE / frames.shape[1]), found, left)


def from_centred(centred: Float[Tensor, "n 3"]) -> Poses:
    """Poses as the simulator has them, of (centre of gravity, angle)."""
    found = centred.double().numpy().copy()
    found[:, :2] -= MIDDLE * np.stack([-np.sin(found[:, 2]), np.cos(found[:, 2])], 1)
    return found


def to_centred(poses: Poses) -> Float[Tensor, "n 3"]:
    """The inverse of ``from_centred``."""
    found = np.array(poses, float)
    found[:, :2] += MIDDLE * np.stack([-np.sin(found[:, 2]), np.cos(found[:, 2])], 1)
    return torch.from_numpy(found).float()


def angle_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The difference of angles, 0 to pi."""
    return np.abs((one - other + np.pi) % (2 * np.pi) - np.pi)
