"""The rendered clips as training batches, on the device that trains: memory maps on a CPU, copies on a GPU."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from scripts.nano.render.scenes import REVERSIBLE, draw_kind
from vidjacobi.errors import BadInput
from vidjacobi.shapes import Frames, Pixels


@dataclass(frozen=True)
class StoredClip:
    """One rendered clip as ``make-data`` stored it; on a CPU it is read from disk when touched."""

    seed: int
    kind: str
    frames: Frames  # [33 128 160 3]

    @property
    def reversible(self) -> bool:
        """Whether it looks as true when it runs backwards."""
        return self.kind in REVERSIBLE


StoredClips = list[StoredClip]


def load_split(data: Path, split: str, device: str = "cpu") -> StoredClips:
    """The clips of a split ("train" or "heldout") in the order of their seeds.

    Raises BadInput if ``make-data`` has not written any.
    """
    note, shards = data / split / "kinds.json", sorted((data / split).glob("*.npy"))
    if not shards or not note.exists():
        raise BadInput(f"no {split} clips in {data}: run make-data first")
    mixture = json.loads(note.read_text())["mixture"]
    clips = []
    for shard in shards:
        for i, frames in enumerate(_read_shard(shard, device)):
            seed = int(shard.stem) + i
            clips.append(StoredClip(seed, draw_kind(seed, mixture), frames))
    return clips


@cache
def _read_shard(shard: Path, device: str) -> UInt8[Tensor, "n T H W c"]:
    """A shard, read once in a process. Copy-on-write, because torch wants memory that it could write to."""
    return torch.from_numpy(np.load(shard, mmap_mode="c")).to(device)


def to_pixels(clips: UInt8[Tensor, "b T H W c"]) -> Pixels:
    """uint8 pictures to pixels in [-1, 1], channels before the axes of a clip."""
    return clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def stack(clips: StoredClips) -> UInt8[Tensor, "b T H W c"]:
    """Clips as one tensor."""
    return torch.stack([clip.frames for clip in clips])


@dataclass(frozen=True)
class Crops:
    """How many crops of which size a batch consists of."""

    count: int
    frames: int
    height: int
    width: int


def draw_batch(clips: StoredClips, crops: Crops, generator: torch.Generator) -> Pixels:
    """Random crops: half are mirrored, half of the reversible ones run backwards, a quarter gets more contrast."""
    pixels = to_pixels(torch.stack([_crop(clips, crops, generator) for _ in range(crops.count)]))
    # real clips have more contrast than most rendered ones: distances from the mean grow by 0.8 to 1.6
    gains, chances = torch.rand(2, crops.count, generator=generator)
    gains = torch.where(chances < 0.25, 0.8 + 0.8 * gains, 1.0).to(pixels.device, non_blocking=True)
    middles = pixels.mean((1, 2, 3, 4), keepdim=True)
    return (middles + gains.view(-1, 1, 1, 1, 1) * (pixels - middles)).clamp(-1, 1)


def _crop(clips: StoredClips, crops: Crops, generator: torch.Generator) -> UInt8[Tensor, "T H W c"]:
    def draw(largest: int) -> int:
        return int(torch.randint(largest + 1, (), generator=generator))

    clip = clips[draw(len(clips) - 1)]
    size = (crops.frames, crops.height, crops.width)
    starts = [draw(whole - part) for whole, part in zip(clip.frames.shape[:3], size, strict=True)]
    crop = clip.frames[tuple(slice(start, start + n) for start, n in zip(starts, size, strict=True))]
    chances = torch.rand(2, generator=generator)
    flips = [axis for axis, yes in ((2, chances[0] < 0.5), (0, clip.reversible and chances[1] < 0.5)) if yes]
    return crop.flip(flips)
