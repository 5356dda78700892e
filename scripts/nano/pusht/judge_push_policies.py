"""Rank scripted policies in the simulator and in nano-pusht: do they rank alike?

Policies see frames alone (poses are read off them) and act alike in both worlds: from the same starts near the goal,
each action held for the two steps that a frame stands for. Prints the mean over the starts of the largest coverage
read off the frames, Spearman's rank correlation of the two worlds with its bootstrap interval over the starts, and
its ceiling: two disjoint halves of the true episodes. Two worlds that are broken on purpose stand beside: frozen, and
with the actions of another start. Needs the extra ``pusht``.

    python scripts/nano judge-pusht-policies                     # 7 policies, 30 starts, 24 frames: about 20 minutes
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from scripts.nano.pusht.judge_pushes import encoded
from scripts.nano.pusht.push_rollouts import PushRollouts, shown
from scripts.nano.pusht.pushers import JUDGED
from scripts.nano.pusht.pusht_sizes import CONTEXT
from scripts.nano.pusht.record_pushes import REACH, SIZE, STRIDE
from scripts.nano.pusht.simulator import Simulator, distance_to_tee
from vidjacobi.eval.pusht_poses import GOAL, Reading, coverage, read_pictures, track_pictures
from vidjacobi.families.pusht import PushT, load
from vidjacobi.runtime import choose

NEAR = np.array([45, 45, 0.5])  # deviations of the starts from the goal
FIRST = 3_000_000  # seed of the first start: never trained on
DRAWS = 2000
Act = Callable[[int, Reading], np.ndarray]  # (frame, what is seen) to targets [b 2]


class TrueWorld:
    """Simulators, one for each start."""

    def __init__(self, starts: int) -> None:
        self.simulators = [start_of(FIRST + number) for number in range(starts)]

    def pictures(self) -> UInt8[np.ndarray, "b s s 3"]:
        """Of now."""
        return np.stack([simulator.picture(SIZE) for simulator in self.simulators])

    def step(self, targets: Float[np.ndarray, "b 2"]) -> None:
        """One frame."""
        for simulator, target in zip(self.simulators, targets, strict=True):
            for _ in range(STRIDE):
                simulator.step(target)


class ModelWorld:
    """The model from the same starts; ``turn`` rows further are whose actions it is told, 0 for its own."""

    def __init__(self, family: PushT, starts: int, name: str, turn: int = 0) -> None:
        pictures = TrueWorld(starts).pictures()
        tokens = encoded(family, pictures[:, None]).expand(-1, CONTEXT, -1)  # nothing has moved before
        agents = np.stack([start_of(FIRST + number).agent for number in range(starts)])
        stay = torch.from_numpy(np.tile(agents, (1, STRIDE))).float().clamp(0, 512)
        told = stay[:, None].expand(-1, CONTEXT - 1, -1)
        self.family, self.turn = family, turn
        self.rollouts = PushRollouts(family, tokens, told, [f"{name}-{number}" for number in range(starts)])

    def pictures(self) -> UInt8[np.ndarray, "b s s 3"]:
        """Of now."""
        return shown(self.family, self.rollouts.tokens[:, -1:])[:, 0]

    def step(self, targets: Float[np.ndarray, "b 2"]) -> None:
        """One frame."""
        actions = torch.from_numpy(np.tile(targets, (1, STRIDE))).float()
        self.rollouts.advance(torch.roll(actions, self.turn, 0)[:, None])


class FrozenWorld:
    """Nothing moves."""

    def __init__(self, starts: int) -> None:
        self._pictures = TrueWorld(starts).pictures()

    def pictures(self) -> UInt8[np.ndarray, "b s s 3"]:
        """Of now, as ever."""
        return self._pictures

    def step(self, targets: Float[np.ndarray, "b 2"]) -> None:
        """Nothing."""


World = TrueWorld | ModelWorld | FrozenWorld


def start_of(seed: int) -> Simulator:
    """A start near the goal."""
    rng, simulator = np.random.default_rng(seed), Simulator()
    simulator.place(rng.uniform(40, 470, 2), GOAL + rng.normal(0, 1, 3) * NEAR)
    if distance_to_tee(simulator.agent, simulator.pose) < REACH + 2:
        simulator.place(np.array([50.0, 50.0]), simulator.pose)
    return simulator


def run_policy(name: str, world: World, starts: int, frames: int) -> Float[np.ndarray, "b f"]:
    """Coverage read off the frames of each start."""
    policies = [JUDGED[name](np.random.default_rng([FIRST, number])) for number in range(starts)]
    for policy in policies:
        policy.reset()
    start = read_pictures(TrueWorld(starts).pictures())  # of the true frame that both worlds begin with
    agents, tees = start.agent, start.tee
    rows = [[coverage(pose) for pose in read_pictures(world.pictures()).tee]]
    for _ in range(frames):
        targets = [
            policy.act(agent, pose) for policy, agent, pose in zip(policies, agents, tees, strict=True)
        ]
        world.step(np.stack(targets))
        reading = track_pictures(world.pictures(), tees)
        # what is lost from sight is where it was
        agents = np.where(reading.lost[:, None], agents, reading.agent)
        tees = np.where(np.isnan(reading.tee), tees, reading.tee)
        rows.append([coverage(pose) for pose in reading.tee])
    return np.array(rows).T


def ranks_alike(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of the policies' means over starts ``[policies starts]``."""
    from scipy.stats import spearmanr

    return float(spearmanr(one.mean(1), other.mean(1)).statistic)


def with_interval(one: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """The correlation and its 95 % bootstrap interval over the starts, which are shared by all policies."""
    rng, count = np.random.default_rng(0), one.shape[1]
    drawn = [rng.integers(0, count, count) for _ in range(DRAWS)]
    found = np.array([ranks_alike(one[:, rows], other[:, rows]) for rows in drawn])
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return {"spearman": ranks_alike(one, other), "interval": [float(low), float(high)]}


def ceiling(true: np.ndarray) -> dict[str, float]:
    """How alike two disjoint halves of the true episodes rank: mean and 5 % quantile."""
    rng, half = np.random.default_rng(0), true.shape[1] // 2
    orders = [rng.permutation(true.shape[1]) for _ in range(DRAWS // 4)]
    found = [ranks_alike(true[:, order[:half]], true[:, order[half : 2 * half]]) for order in orders]
    return {"mean": float(np.mean(found)), "p5": float(np.percentile(found, 5)), "starts": half}


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", type=Path, default=Path("out/nano-pusht"))
    options.add_argument("--starts", type=int, default=30)
    options.add_argument("--frames", type=int, default=24, help="two steps of the simulator each")
    options.add_argument("--out", type=Path, default=Path("runs/nano-pusht/judged"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Run all policies in all worlds. Raises BadInput without the simulator."""
    torch.set_num_threads(1)
    family = load(arguments.model, choose("cpu", "float32"))
    starts, frames = arguments.starts, arguments.frames
    worlds: dict[str, Callable[[str], World]] = {
        "true": lambda name: TrueWorld(starts),
        "model": lambda name: ModelWorld(family, starts, name),
        "frozen": lambda name: FrozenWorld(starts),
        "other actions": lambda name: ModelWorld(family, starts, name, turn=starts // 2),
    }
    best: dict[str, np.ndarray] = {}
    for world, make in worlds.items():
        rows = [run_policy(name, make(name), starts, frames) for name in JUDGED]
        best[world] = np.stack([np.nanmax(row, 1) for row in rows])
        means = ", ".join(f"{name} {x:.3f}" for name, x in zip(JUDGED, best[world].mean(1), strict=True))
        print(f"{world}: mean of the largest coverage: {means}", flush=True)
    found: dict[str, Any] = {
        name: with_interval(best["true"], own) for name, own in best.items() if name != "true"
    }
    found["ceiling"] = ceiling(best["true"])
    found["means"] = {
        name: dict(zip(JUDGED, own.mean(1).tolist(), strict=True)) for name, own in best.items()
    }
    print(json.dumps(found, indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "policies.json").write_text(json.dumps(found, indent=2) + "\n")
