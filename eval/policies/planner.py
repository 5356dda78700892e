"""A planner for Push-T: pushes are imagined in the model, and the one that covers the goal best is done."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8

from vidjacobi.eval.policies.contract import Act, Policy, Seen, Target
from vidjacobi.eval.policies.pushers import CONTACTS, EDGE, ORBIT
from vidjacobi.eval.policies.simulator import centre_of, distance_to_tee
from vidjacobi.eval.pusht_poses import SIDE, coverage, distance_to_goal, read_pictures, to_world, turned
from vidjacobi.families.pusht import SAMPLING, PushT
from vidjacobi.session import Choice, Session, best_of
from vidjacobi.shapes import Frames

WALK, PUSH = 45.0, 28.0  # units a frame, round the T and along a push
LENGTHS = (15.0, 40.0, 80.0, 120.0)  # of pushes
FREE = 16.5  # ways that come nearer to the T than this push it
CONTEXT = 2  # frames that a plan begins with
Paths = Float[np.ndarray, "k f 2"]  # targets of each candidate


def score(frames: Frames) -> float:
    """What a candidate is worth by the last of its frames."""
    (pose,) = read_pictures(frames[-1:].numpy()).tee
    return worth(pose)


def worth(pose: Float[np.ndarray, "3"]) -> float:
    """Coverage of the goal; where poses cover alike, the one nearer to it is worth more. -1 where no T is seen."""
    if not np.isfinite(pose).all():
        return -1.0
    return coverage(pose) - distance_to_goal(pose) / 1000


def candidates_of(
    agent: Float[np.ndarray, "2"],
    pose: Float[np.ndarray, "3"],
    count: int,
    frames: int,
    rng: np.random.Generator,
) -> Paths:
    """Targets of different pushes: to an edge of the T, round it where it is in between, and on.

    The agent is one frame behind its target (a controller of 10 Hz and critical damping), so targets are one frame
    ahead of the way. The first candidate stays where it is.
    """
    options = [(number, length) for number in range(len(CONTACTS)) for length in LENGTHS]
    rng.shuffle(options)
    found = [np.tile(agent, (frames, 1))]
    for number, length in options:
        point, inward = CONTACTS[int(number)]
        start, along = to_world(point[None], pose)[0], turned(float(pose[2])) @ inward
        if len(found) == count:
            break
        if ((start > 8) & (start < SIDE - 8)).all():
            found.append(path(agent, start, start + along * (length + 4), pose, frames))
    while len(found) < count:  # a T in a corner leaves few edges
        found.append(path(agent, agent, rng.uniform(EDGE, SIDE - EDGE, 2), pose, frames))
    return np.stack(found).clip(0, SIDE)


def path(
    agent: np.ndarray, start: np.ndarray, end: np.ndarray, pose: np.ndarray, frames: int
) -> Float[np.ndarray, "f 2"]:
    """Targets, one for each frame, of a way to ``start`` and a push to ``end``."""
    points = [agent]
    for corner, speed in [*((corner, WALK) for corner in way(agent, start, pose)), (end, PUSH)]:
        gap = corner - points[-1]
        steps = max(1, math.ceil(float(np.linalg.norm(gap)) / speed))
        points += [points[-1] + gap * (step / steps) for step in range(1, steps + 1)]
    # The agent stands at the first point and lags a frame: to be at the second next, it is told the third.
    ahead = points[2 : frames + 2]
    return np.array([*ahead, *[end] * (frames - len(ahead))])


def way(agent: np.ndarray, start: np.ndarray, pose: np.ndarray) -> Iterator[np.ndarray]:
    """Corners of a way that leaves the T alone: straight, or on a circle round it."""
    if distance_to_tee(np.linspace(agent, start, 24), pose).min() < FREE:
        centre = centre_of(pose)
        # The shorter way round: from 3 to -3 radians it is 0.283, not -6.
        here, there = (math.atan2(*(point - centre)[::-1]) for point in (agent, start))
        turn = (there - here + math.pi) % (2 * math.pi) - math.pi
        for share in np.linspace(0, 1, max(2, math.ceil(abs(turn) / 0.55)) + 1)[1:]:
            angle = here + share * turn
            corner = centre + ORBIT * np.array([math.cos(angle), math.sin(angle)])
            yield corner.clip(EDGE, SIDE - EDGE)
    yield start


@dataclass
class Planner:
    """Plans from frames alone, does what it chose, and plans again.

    Attributes:
        family: the model.
        candidates: sequences that are imagined.
        frames: of each.
        done: of the chosen one before the next plan, at most ``frames``.
        plans: what was chosen so far, in all episodes.
    """

    family: PushT
    candidates: int = 32
    frames: int = 10
    done: int = 10
    plans: list[Choice] = field(default_factory=list)

    def policy(self) -> Policy:
        """As a policy that can be judged."""
        return Policy("planner", self._make)

    def _make(self, start: int, seed: int) -> Act:
        rng, waiting = np.random.default_rng([seed, start]), list[Target]()
        told = list[Target]()  # of all frames so far

        def act(seen: Seen) -> Target:
            if not waiting:
                number = len(told)
                paths = candidates_of(seen.agent, seen.tee, self.candidates, self.frames, rng)
                choice = self.plan(seen.frames, told, paths, f"{start}/{number}")
                waiting.extend(paths[choice.index][: self.done])
            told.append(waiting.pop(0))
            return told[-1]

        return act

    def plan(self, seen: UInt8[np.ndarray, "n s s 3"], told: list[Target], paths: Paths, name: str) -> Choice:
        """Imagine paths and choose. ``told``: the targets between the frames seen; ``name`` keys the noise."""
        frames = np.concatenate([seen[:1]] * (CONTEXT - 1) + [seen])[
            -CONTEXT:
        ]  # before the first nothing moved
        points = self.family.network.spec.action_points
        before = ([paths[0][0]] * (CONTEXT - 1) + told)[-(CONTEXT - 1) :]
        session = Session(
            self.family.world(),
            self.family.tokenizer,
            torch.from_numpy(frames.copy()),
            sampling=SAMPLING,
            names=[name],
            condition=stacked,
            context_actions=[list(actions_of(np.stack(before), points))],
        )
        choice = best_of(session, [list(actions_of(way_, points)) for way_ in paths], score)
        self.plans.append(choice)
        return choice


def stacked(actions: Sequence[torch.Tensor]) -> torch.Tensor:
    """The condition of a clip: its actions, a row each."""
    return torch.stack(list(actions))


def actions_of(targets: Float[np.ndarray, "f 2"], points: int) -> Float[torch.Tensor, "f k"]:
    """Actions of the model: a target held for all steps that a frame stands for."""
    return torch.from_numpy(np.tile(targets, (1, points))).float()
