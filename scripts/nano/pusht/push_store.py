"""The recorded episodes as training batches, and the scene's mirror.

The scene (goal, walls) is the same when x and y are exchanged and both are turned round: (x, y) becomes
(512 - y, 512 - x), and a picture is transposed along its other diagonal.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scripts.nano.pusht.record_pushes import STRIDE, shard_files
from vidjacobi.errors import BadInput
from vidjacobi.eval.policies.simulator import distance_to_tee
from vidjacobi.eval.pusht_poses import SIDE

TOUCH = 26.0  # the agent's centre is so near to the T that both are in one patch or touch


@dataclass(frozen=True)
class PushStore:
    """All episodes of a split; frames are memory maps of their shards.

    Attributes:
        shards: frames ``[n f s s 3]`` of each shard.
        actions: of the steps between two frames ``[e f-1 2*stride]``, 0 to 512.
        states: at the frames ``[e f 5]``.
        touching: where agent and T are close together ``[e f]``.
        kinds: names of policies ``[e]``.
    """

    shards: tuple[UInt8[np.ndarray, "n f s s 3"], ...]
    actions: Float[np.ndarray, "e g k"]
    states: Float[np.ndarray, "e f 5"]
    touching: np.ndarray
    kinds: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """The first episode of each shard."""
        return np.cumsum([0, *map(len, self.shards)])

    def frames(self, episodes: np.ndarray, times: np.ndarray) -> UInt8[np.ndarray, "b s s 3"]:
        """One frame of each of some episodes."""
        shard = np.searchsorted(self.starts, episodes, side="right") - 1
        rows = episodes - self.starts[shard]
        return np.stack([self.shards[s][r, t] for s, r, t in zip(shard, rows, times, strict=True)])


def load_store(data: Path, split: str) -> PushStore:
    """The episodes of a split. Raises BadInput if ``pusht-data`` has not recorded any."""
    folder = data / split
    firsts = sorted(int(path.stem) for path in folder.glob("*.npy"))
    if not firsts:
        raise BadInput(f"no {split} episodes in {data}: run pusht-data first")
    files = [shard_files(folder, first) for first in firsts]
    moves = [np.load(path) for path, _ in files]
    states = np.concatenate([part["states"] for part in moves])[:, ::STRIDE]
    actions = np.concatenate([part["actions"] for part in moves])
    return PushStore(
        shards=tuple(np.load(path, mmap_mode="r") for _, path in files),
        actions=actions.reshape(len(actions), -1, STRIDE * 2),
        states=states,
        touching=distance_to_tee(states[..., :2], states[..., 2:]) < TOUCH,
        kinds=np.concatenate([part["kinds"] for part in moves]),
    )


def mirrored_pictures(frames: UInt8[Tensor, "*b s s 3"]) -> UInt8[Tensor, "*b s s 3"]:
    """Pictures of the mirrored scene."""
    return frames.transpose(-3, -2).flip(-3, -2)


def mirrored_places(places: Float[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
    """Points or actions, pairs (x, y) one after the other, of the mirrored scene."""
    pairs = places.unflatten(-1, (-1, 2))
    return (SIDE - pairs.flip(-1)).flatten(-2)


def draw_pictures(
    store: PushStore, count: int, contact: float, rng: np.random.Generator
) -> Float[Tensor, "b 3 s s"]:
    """Pictures in [-1, 1], a share of them where the agent touches the T, half of them mirrored."""
    episodes, times = np.nonzero(store.touching)
    chosen = rng.integers(0, len(episodes), count)
    anywhere = rng.random(count) >= contact
    where = (
        np.where(anywhere, rng.integers(0, len(store.states), count), episodes[chosen]),
        np.where(anywhere, rng.integers(0, store.states.shape[1], count), times[chosen]),
    )
    frames = torch.from_numpy(store.frames(*where))
    flipped = torch.from_numpy(rng.random(count) < 0.5)[:, None, None, None]
    frames = torch.where(flipped, mirrored_pictures(frames), frames)
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1
