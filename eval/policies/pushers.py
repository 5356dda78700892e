"""Scripted policies of graded skill: they look at the agent's place and the T's pose and say the next target."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidjacobi.eval.policies.simulator import Simulator, centre_of, distance_to_tee
from vidjacobi.eval.pusht_poses import CORNERS, SIDE, distance_to_goal, to_world, turned

PUSHES = (12.0, 35.0, 80.0)  # lengths that are tried
APART = 18.5  # of the agent's centre from the edge that it is about to push
ORBIT = 108.0  # radius of the way round the T
EDGE = 18.0  # ways keep so far from the walls
WALK, PATIENCE, PUSHING = (
    24.0,
    40,
    14,
)  # units a step along a push; steps until a way is given up; steps of a push


class Pushes(Protocol):
    """What acts on where the agent is and how the T lies."""

    def reset(self) -> None:
        """Before an episode."""
        ...

    def act(self, agent: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """The next target (x, y)."""
        ...


def contacts() -> list[tuple[np.ndarray, np.ndarray]]:
    """Points from which an edge can be pushed and the directions, in the T's own frame, of centres that are free."""
    still = np.zeros(3)
    found = []
    for start, end in zip(CORNERS, np.roll(CORNERS, -1, 0), strict=True):
        length = float(np.linalg.norm(end - start))
        along = (end - start) / length
        inward = np.array([-along[1], along[0]])
        # One unit along it from the middle of the edge one is inside the T (distance 0), or it points outwards.
        if distance_to_tee((start + end) / 2 + inward, still) > 0:
            inward = -inward
        for share in (0.5,) if length < 40 else (0.12, 0.35, 0.65, 0.88):
            point = start + share * (end - start) - APART * inward
            if distance_to_tee(point, still) > 15.2:
                found.append((point, inward))
    return found


CONTACTS = contacts()


@dataclass
class Push:
    """What a pusher is about to do: go to ``start``, then push by ``length`` along ``along``."""

    start: np.ndarray
    along: np.ndarray
    length: float
    left: int
    going: bool = True


class Pusher:
    """Tries pushes in a simulator of its own, goes round the T to the best one and pushes.

    Args:
        candidates: pushes that are tried, of about 48 that there are.
        noise: deviation that is added to its targets.
        blind: deviation of the pose that it sees; a hundredth of it in radians.
        lead: targets are at most so far from the agent.
    """

    def __init__(
        self, rng: np.random.Generator, candidates: int, noise: float, blind: float = 0.0, lead: float = 36.0
    ) -> None:
        self.rng, self.candidates, self.noise, self.blind, self.lead = rng, candidates, noise, blind, lead
        self._simulator = Simulator()
        self._push: Push | None = None

    def reset(self) -> None:
        """See Pushes."""
        self._push = None

    def act(self, agent: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """See Pushes."""
        if self.blind:
            pose = pose + self.rng.normal(0, 1, 3) * [self.blind, self.blind, self.blind / 100]
        push = self._push = self._push or self._best(agent, pose)
        push.left -= 1
        if push.going and np.linalg.norm(push.start - agent) < 6:
            push.going, push.left = False, PUSHING
        target = self._way(push, agent, pose) if push.going else self._pushed(push, agent)
        step = target - agent
        if (length := np.linalg.norm(step)) > self.lead:
            target = agent + step / length * self.lead
        if self.noise:
            target = target + self.rng.normal(0, self.noise, 2)
        return target.clip(0, SIDE)

    def _best(self, agent: np.ndarray, pose: np.ndarray) -> Push:
        """The push after which the T is nearest to its goal, near ones first where they are alike."""
        options = [(number, length) for number in range(len(CONTACTS)) for length in PUSHES]
        self.rng.shuffle(options)
        hurry = min(distance_to_goal(pose) / 10, 1)  # short pushes where the T is nearly there
        found: list[tuple[float, Push]] = []
        for number, length in options[: self.candidates]:
            point, inward = CONTACTS[int(number)]
            start, along = to_world(point[None], pose)[0], turned(float(pose[2])) @ inward
            if not ((start > 8) & (start < SIDE - 8)).all():
                continue
            self._simulator.place(start, pose)
            self._simulator.push(along, length + 3.5)
            walk = 0.03 * np.linalg.norm(start - agent) * (length / 80 + 0.2)
            cost = distance_to_goal(self._simulator.pose) + walk + 0.2 * (80 - length) / 80 * hurry
            found.append((float(cost), Push(start, along, length, PATIENCE)))
        if not found:
            return Push(self.rng.uniform(60, 450, 2), np.zeros(2), 5.0, PATIENCE)
        return min(found, key=lambda pair: pair[0])[1]

    def _way(self, push: Push, agent: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """The next target on the way to the push, round the T where it is in between."""
        if push.left <= 0:
            self._push = None
            return agent + self.rng.normal(0, 30, 2)
        between = np.linspace(agent, push.start, 24)
        if distance_to_tee(between, pose).min() > 16.5:
            return push.start
        centre = centre_of(pose)
        here, there = (math.atan2(*(point - centre)[::-1]) for point in (agent, push.start))
        turn = (there - here + math.pi) % (2 * math.pi) - math.pi
        if abs(turn) < 0.25:
            return push.start
        angle = here + math.copysign(min(0.55, abs(turn)), turn)
        return (centre + ORBIT * np.array([math.cos(angle), math.sin(angle)])).clip(EDGE, SIDE - EDGE)

    def _pushed(self, push: Push, agent: np.ndarray) -> np.ndarray:
        """The next target of a push, and the end of it."""
        # What is left along the push alone counts: an agent that has slipped sideways is not pulled back.
        rest = push.start + push.along * (push.length + 4) - agent
        ahead = float(rest @ push.along)
        if push.left <= 0 or ahead < 3:
            self._push = None
        return agent + min(float(np.linalg.norm(rest)), WALK) * push.along if ahead > 0 else agent


class Wander:
    """Smooth random motion; ``drawn`` is the share of its goals that lie near the T."""

    def __init__(self, rng: np.random.Generator, drawn: float = 0.65) -> None:
        self.rng, self.drawn = rng, drawn
        self.reset()

    def reset(self) -> None:
        """See Pushes."""
        self._goal: np.ndarray | None = None
        self._lead = 30.0

    def act(self, agent: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """See Pushes."""
        if self._goal is None or np.linalg.norm(self._goal - agent) < 15 or self.rng.random() < 0.06:
            near = self.rng.random() < self.drawn
            near_goal, far_goal = centre_of(pose) + self.rng.normal(0, 45, 2), self.rng.uniform(20, 492, 2)
            self._goal = near_goal if near else far_goal
            self._lead = float(self.rng.choice([15, 30, 60, 120]))
        step = self._goal - agent
        length = float(np.linalg.norm(step)) + 1e-6
        target = agent + step / length * min(length, self._lead) + self.rng.normal(0, 6, 2)
        return target.clip(0, SIDE)


class Still:
    """Stays where it is."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """See Pushes."""
        self._place: np.ndarray | None = None

    def act(self, agent: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """See Pushes."""
        if self._place is None:
            self._place = agent.copy()
        return self._place


class Uniform:
    """A target anywhere, every step."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def reset(self) -> None:
        """See Pushes."""

    def act(self, agent: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """See Pushes."""
        return self.rng.uniform(0, SIDE, 2)


Maker = Callable[[np.random.Generator], Pushes]
# judged in the simulator and in the model, from bad to good
JUDGED: dict[str, Maker] = {
    "still": lambda rng: Still(),
    "wander": Wander,
    "poor": lambda rng: Pusher(rng, 6, 60.0, 25.0),
    "weak": lambda rng: Pusher(rng, 8, 40.0, 15.0),
    "fair": lambda rng: Pusher(rng, 16, 30.0, 10.0),
    "middle": lambda rng: Pusher(rng, 24, 20.0, 5.0),
    "good": lambda rng: Pusher(rng, 99, 3.0),
}
