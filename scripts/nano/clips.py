"""The rendered clips as training batches."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from scenes import REVERSIBLE, draw_kind
from torch import Tensor

from vidjacobi.errors import BadInput
from vidjacobi.shapes import Frames, Pixels


@dataclass(frozen=True)
class RenderedClip:
    """One clip on disk, read when touched."""

    seed: int
    kind: str
    frames: np.ndarray  # uint8 [33 128 160 3]

    @property
    def reversible(self) -> bool:
        """Whether it looks as true when it runs backwards."""
        return self.kind in REVERSIBLE

    def read(self) -> Frames:
        """All of its frames."""
        return torch.from_numpy(self.frames.copy())


Clips = list[RenderedClip]


def load_split(data: Path, split: str) -> Clips:
    """The clips of a split ("train" or "heldout") in the order of their seeds.

    Raises BadInput if ``make_data.py`` has not written any.
    """
    note, shards = data / split / "kinds.json", sorted((data / split).glob("*.npy"))
    if not shards or not note.exists():
        raise BadInput(f"no {split} clips in {data}: run make_data.py first")
    mixture = json.loads(note.read_text())["mixture"]
    clips = []
    for shard in shards:
        for i, frames in enumerate(np.load(shard, mmap_mode="r")):
            seed = int(shard.stem) + i
            clips.append(RenderedClip(seed, draw_kind(seed, mixture), frames))
    return clips


def to_pixels(clips: UInt8[Tensor, "b T H W c"]) -> Pixels:
    """uint8 pictures to pixels in [-1, 1], channels in front."""
    return clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def stack(clips: Clips) -> UInt8[Tensor, "b T H W c"]:
    """Clips as one tensor."""
    return torch.from_numpy(np.stack([clip.frames for clip in clips]))


@dataclass(frozen=True)
class Cut:
    """How many pieces of which size a batch consists of."""

    count: int
    frames: int
    height: int
    width: int


def draw_batch(clips: Clips, cut: Cut, generator: torch.Generator) -> Pixels:
    """Pieces of random clips, half of them mirrored, half of the reversible ones run backwards, some contrasted."""
    return torch.stack([_piece(clips, cut, generator) for _ in range(cut.count)])


def _piece(clips: Clips, cut: Cut, generator: torch.Generator) -> Tensor:
    def draw(most: int) -> int:
        return int(torch.randint(most + 1, (), generator=generator))

    clip = clips[draw(len(clips) - 1)]
    size = (cut.frames, cut.height, cut.width)
    places = [slice(start, start + n) for start, n in zip(_starts(clip, size, draw), size, strict=True)]
    pixels = to_pixels(torch.from_numpy(clip.frames[tuple(places)].copy())[None])[0]
    chances = torch.rand(3, generator=generator)
    flips = [axis for axis, yes in ((3, chances[0] < 0.5), (1, clip.reversible and chances[1] < 0.5)) if yes]
    if chances[2] < 0.25:  # real clips have more contrast than most rendered ones
        gain = 0.8 + 0.8 * torch.rand((), generator=generator)
        middle = pixels.mean()
        pixels = (middle + gain * (pixels - middle)).clamp(-1, 1)
    return pixels.flip(flips)


def _starts(clip: RenderedClip, size: tuple[int, int, int], draw) -> list[int]:
    return [draw(whole - part) for whole, part in zip(clip.frames.shape[:3], size, strict=True)]
