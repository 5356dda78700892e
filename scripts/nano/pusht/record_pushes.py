"""Record episodes of Push-T: shards of uint8 ``[n 41 64 64 3]`` and the actions and states beside them.

A frame of a shard is two steps of the simulator. Train seeds start at 0, held-out seeds at 1,000,000. Shards already
there are kept: a stopped run resumes, and a later call with a higher count adds episodes. Needs the extra ``pusht``.

    python scripts/nano pusht-data                           # 4,096 + 256 episodes, 2 GB
"""

import argparse
import multiprocessing
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vidjacobi.eval.policies.pushers import Maker, Pusher, Uniform, Wander
from vidjacobi.eval.policies.simulator import REACH, Simulator, distance_to_tee, inside
from vidjacobi.eval.pusht_poses import GOAL

FIRST_SEED = {"train": 0, "heldout": 1_000_000}
SHARD = 64  # episodes
STEPS = 80  # of the simulator
STRIDE = 2  # steps that a stored frame stands for
SIZE = 64  # pixels
NEAR = 0.25  # share of episodes that start near the goal, so that high coverage is seen too
SPREAD = np.array([30, 30, 0.3])  # of these starts
TRIES = 8  # of an episode until one does not leave the picture
# kinds of episodes, and how often each occurs
RECORDED: dict[str, tuple[float, Maker]] = {
    "good": (0.30, lambda rng: Pusher(rng, 60, 4.0)),
    "middle": (0.25, lambda rng: Pusher(rng, 24, 15.0, 5.0)),
    "weak": (0.15, lambda rng: Pusher(rng, 8, 35.0, 15.0)),
    "wander": (0.25, Wander),
    "uniform": (0.05, Uniform),
}


@dataclass(frozen=True)
class PushEpisode:
    """One episode, a frame and a state for each step and an action between them.

    Attributes:
        kind: key of ``RECORDED``.
        frames: before the first and after each step, or every ``stride``-th of them.
        actions: targets, 0 to 512.
        states: agent x, y, and the T's x, y, angle.
    """

    kind: str
    frames: UInt8[np.ndarray, "f s s 3"]
    actions: Float[np.ndarray, "n 2"]
    states: Float[np.ndarray, "m 5"]


def record(seed: int, stride: int = STRIDE, steps: int = STEPS) -> PushEpisode:
    """The episode of a seed. One in which the T or the agent leaves the picture is drawn again."""
    for attempt in range(TRIES):
        found = _record(np.random.default_rng([seed, attempt]), seed + attempt, stride, steps)
        if all(inside(state[2:], state[:2]) for state in found.states):
            break
    return found


def _record(rng: np.random.Generator, start: int, stride: int, steps: int) -> PushEpisode:
    names, parts = zip(*RECORDED.items(), strict=True)
    kind = names[rng.choice(len(names), p=[share for share, _ in parts])]
    policy, simulator = RECORDED[kind][1](rng), Simulator()
    simulator.reset(start)
    if rng.random() < NEAR:
        simulator.place(simulator.agent, GOAL + rng.normal(0, 1, 3) * SPREAD)
        if distance_to_tee(simulator.agent, simulator.pose) < REACH:
            simulator.place(40 + rng.uniform(0, 60, 2), simulator.pose)
    policy.reset()
    frames, actions, states = [], [], []
    for step in range(steps + 1):
        states.append(simulator.state)
        if step % stride == 0:
            frames.append(simulator.picture(SIZE))
        if step < steps:
            actions.append(policy.act(simulator.agent, simulator.pose))
            simulator.step(actions[-1])
    return PushEpisode(kind, np.stack(frames), np.array(actions, np.float32), np.array(states, np.float32))


def write_shard(folder: Path, seeds: range) -> str:
    """Record a shard, whole or not at all; one line about it."""
    begun = time.time()
    episodes = [record(seed) for seed in seeds]
    facts = {
        name: np.stack([getattr(episode, name) for episode in episodes]) for name in ("actions", "states")
    }
    facts["kinds"] = np.array([episode.kind for episode in episodes])
    moves, frames = shard_files(folder, seeds.start)
    for path, write in (
        (moves, lambda file: np.savez(file, **facts)),
        (frames, lambda file: np.save(file, np.stack([episode.frames for episode in episodes]))),
    ):
        with path.with_suffix(".part").open("wb") as file:
            write(file)
        os.replace(path.with_suffix(".part"), path)  # the frames last: a shard with frames is whole
    return f"{frames.name}: {len(episodes)} episodes, {(time.time() - begun) / len(episodes):.2f} s each"


def shard_files(folder: Path, first: int) -> tuple[Path, Path]:
    """(actions, states and kinds; frames) of the shard with this first seed."""
    return folder / f"{first:08d}_moves.npz", folder / f"{first:08d}.npy"


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--train", type=int, default=4096, help="episodes, rounded up to whole shards")
    options.add_argument("--heldout", type=int, default=256)
    options.add_argument("--out", type=Path, default=Path("runs/nano-pusht/data"))
    options.add_argument("--workers", type=int, default=2)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Record what is missing, the held-out episodes first. Raises BadInput without the simulator."""
    Simulator()  # says what is missing before any worker does
    counts = {"heldout": arguments.heldout, "train": arguments.train}
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for split, count in counts.items():
            folder, first = arguments.out / split, FIRST_SEED[split]
            folder.mkdir(parents=True, exist_ok=True)
            shards = [range(seed, seed + SHARD) for seed in range(first, first + count, SHARD)]
            missing = [seeds for seeds in shards if not shard_files(folder, seeds.start)[1].exists()]
            for line in pool.imap_unordered(partial(write_shard, folder), missing):
                print(f"{time.strftime('%H:%M:%S')} {split} {line}", flush=True)
