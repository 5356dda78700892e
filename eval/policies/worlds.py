"""Worlds that policies act in: the simulator, the model, and two that are broken on purpose."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8

from vidjacobi.eval.policies.rollouts import PushRollouts, context_of, encoded, shown
from vidjacobi.eval.policies.simulator import REACH, Simulator, distance_to_tee
from vidjacobi.eval.pusht_poses import GOAL, SIDE
from vidjacobi.families.pusht import PushT
from vidjacobi.sampling.probs import SamplingParams

NEAR = np.array([45, 45, 0.5])  # deviations of the starts from the goal
FIRST = 3_000_000  # seed of the first start: nano-pusht was never trained on these

Pictures = UInt8[np.ndarray, "b s s 3"]


@runtime_checkable
class World(Protocol):
    """Episodes that go on together, one from each start."""

    def pictures(self) -> Pictures:
        """Of now."""
        ...

    def step(self, targets: Float[np.ndarray, "b 2"]) -> None:
        """One frame, over which each target is held."""
        ...


@dataclass(frozen=True)
class Starts:
    """The starts that all worlds share.

    Attributes:
        count: of them.
        first: seed of the first one; the others follow.
        stride: steps of the simulator that a frame stands for.
        size: pixels of a picture's side.
    """

    count: int
    first: int
    stride: int
    size: int

    def simulators(self) -> list[Simulator]:
        """New ones, a start each. Raises BadInput without ``gym-pusht``."""
        return [start_of(self.first + number) for number in range(self.count)]

    @cached_property
    def pictures(self) -> Pictures:
        """Of the starts."""
        return np.stack([simulator.picture(self.size) for simulator in self.simulators()])

    @cached_property
    def agents(self) -> Float[np.ndarray, "b 2"]:
        """Where the agents are at the starts."""
        return np.stack([simulator.agent for simulator in self.simulators()])


def start_of(seed: int) -> Simulator:
    """A start near the goal."""
    rng, simulator = np.random.default_rng(seed), Simulator()
    simulator.place(rng.uniform(40, 470, 2), GOAL + rng.normal(0, 1, 3) * NEAR)
    if distance_to_tee(simulator.agent, simulator.pose) < REACH + 2:
        simulator.place(np.array([50.0, 50.0]), simulator.pose)
    return simulator


class TrueWorld:
    """Simulators, one for each start."""

    def __init__(self, starts: Starts) -> None:
        self._starts, self._simulators = starts, starts.simulators()

    def pictures(self) -> Pictures:
        """See World."""
        return np.stack([simulator.picture(self._starts.size) for simulator in self._simulators])

    def step(self, targets: Float[np.ndarray, "b 2"]) -> None:
        """See World."""
        for simulator, target in zip(self._simulators, targets, strict=True):
            for _ in range(self._starts.stride):
                simulator.step(target)


class ModelWorld:
    """The model from the same starts: frames of a picture in which nothing has moved before.

    Noise is keyed by the start and the frame alone, so that all policies meet the same dice.

    Args:
        turn: rows further are whose actions each row is told; 0 for its own.
    """

    def __init__(
        self, family: PushT, starts: Starts, sampling: SamplingParams, decoder: str, turn: int = 0
    ) -> None:
        frames = context_of(family)
        tokens = encoded(family, starts.pictures[:, None]).expand(-1, frames, -1)
        stay = torch.from_numpy(np.tile(starts.agents, (1, starts.stride))).float().clamp(0, SIDE)
        told = stay[:, None].expand(-1, frames - 1, -1)
        names = [f"start-{starts.first + number}" for number in range(starts.count)]
        self._family, self._stride, self._turn = family, starts.stride, turn
        self._rollouts = PushRollouts(family, tokens, told, names, decoder, sampling.seed, sampling)

    def pictures(self) -> Pictures:
        """See World."""
        return shown(self._family, self._rollouts.tokens[:, -1:])[:, 0]

    def step(self, targets: Float[np.ndarray, "b 2"]) -> None:
        """See World."""
        actions = torch.from_numpy(np.tile(targets, (1, self._stride))).float()
        # With a turn of 1 row 0 is told what the last row does.
        self._rollouts.advance(torch.roll(actions, self._turn, 0)[:, None])


class FrozenWorld:
    """Nothing moves."""

    def __init__(self, starts: Starts) -> None:
        self._pictures = starts.pictures

    def pictures(self) -> Pictures:
        """See World."""
        return self._pictures

    def step(self, targets: Float[np.ndarray, "b 2"]) -> None:
        """Nothing."""


TRUE, MODEL, FROZEN, OTHERS = "true", "model", "frozen", "other actions"
BROKEN = (FROZEN, OTHERS)  # on purpose: a ranking that they pass says nothing
Make = Callable[[], World]


def worlds_of(family: PushT, starts: Starts, sampling: SamplingParams, decoder: str) -> dict[str, Make]:
    """How each world is made anew, the true one first."""
    return {
        TRUE: lambda: TrueWorld(starts),
        MODEL: lambda: ModelWorld(family, starts, sampling, decoder),
        FROZEN: lambda: FrozenWorld(starts),
        OTHERS: lambda: ModelWorld(family, starts, sampling, decoder, turn=max(1, starts.count // 2)),
    }
