"""A policy in a world: what is seen, what is done, and the coverage read off the frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vidjacobi.errors import BadInput
from vidjacobi.eval.policies.contract import Policy, Seen
from vidjacobi.eval.policies.worlds import Pictures, World
from vidjacobi.eval.pusht_poses import coverage, read_pictures, track_pictures
from vidjacobi.output.atomic import replacing

MELTED = 0.2  # a residual above this is of no T of the simulator


@dataclass(frozen=True)
class Episodes:
    """The episodes of a policy in a world, one from each start; f frames after the first one.

    Attributes:
        coverage: read off each frame, 0 to 1; NaN where no T is seen.
        residual: of the fit of the T, NaN where none is seen.
        agent_seen: whether an agent is.
        frames: of the first k starts.
    """

    coverage: Float[np.ndarray, "b g"]
    residual: Float[np.ndarray, "b g"]
    agent_seen: np.ndarray
    frames: UInt8[np.ndarray, "k g s s 3"]

    @property
    def best(self) -> Float[np.ndarray, " b"]:
        """The largest coverage of each episode, which begins with a frame that shows a T."""
        return np.nanmax(self.coverage, 1)

    @property
    def melted(self) -> float:
        """The share of frames, the first left out, in which no T of the simulator is seen."""
        later = self.residual[:, 1:]
        return float((~(later <= MELTED)).mean())

    @property
    def lost(self) -> float:
        """The share of frames, the first left out, in which no agent is seen."""
        return float((~self.agent_seen[:, 1:]).mean())

    def save(self, path: Path, source: str) -> None:
        """Write them, whole or not at all. ``source``: of the policy. Raises BadOutput."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, source=np.array(source), **vars(self))


def load(path: Path) -> tuple[Episodes, str]:
    """What ``save`` wrote: the episodes and the source. Raises BadInput."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            parts = [stored[name] for name in ("coverage", "residual", "agent_seen", "frames")]
            return Episodes(*parts), str(stored["source"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: holds no episodes ({error})") from error


def play(policy: Policy, world: World, first: Pictures, frames: int, seed: int, shown: int) -> Episodes:
    """Run a policy from all starts.

    Args:
        world: at its start.
        first: the true pictures of the starts, by which every world is told where things are: a model may draw the
            first one badly.
        frames: how many the policy acts for.
        seed: of what policies draw.
        shown: how many starts' frames are kept.

    Raises BadInput where a policy of a user's own fails.
    """
    acting = [policy.make(start, seed) for start in range(len(first))]
    start = read_pictures(first)
    agents, tees = start.agent, start.tee
    pictures = [world.pictures()]
    readings = [read_pictures(pictures[0])]
    for _ in range(frames):
        films = np.stack(pictures, 1)
        targets = [
            act(Seen(film, agent, tee))
            for act, film, agent, tee in zip(acting, films, agents, tees, strict=True)
        ]
        world.step(np.stack(targets))
        pictures.append(world.pictures())
        reading = track_pictures(pictures[-1], tees)
        agents = np.where(reading.lost[:, None], agents, reading.agent)
        tees = np.where(np.isnan(reading.tee), tees, reading.tee)
        readings.append(reading)
    covered = np.array([[coverage(pose) for pose in reading.tee] for reading in readings]).T
    covered[:, 0] = [coverage(pose) for pose in start.tee]  # the same in every world
    return Episodes(
        covered,
        np.stack([reading.residual for reading in readings], 1),
        np.stack([~reading.lost for reading in readings], 1),
        np.stack(pictures, 1)[:shown],
    )
