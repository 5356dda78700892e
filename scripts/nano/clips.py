"""The rendered clips as training batches."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidjacobi.shapes import Pixels

Clips = list[np.ndarray]  # uint8 [33 128 160 3] each, read from disk when touched


def load_split(data: Path, split: str) -> Clips:
    """The clips of a split ("train" or "heldout") in the order of their seeds.

    Raises ``FileNotFoundError`` if ``make_data.py`` has not written any.
    """
    shards = sorted((data / split).glob("*.npy"))
    if not shards:
        raise FileNotFoundError(f"no {split} clips in {data}; run make_data.py first")
    return [clip for shard in shards for clip in np.load(shard, mmap_mode="r")]


def to_pixels(clips: UInt8[Tensor, "b T H W c"]) -> Pixels:
    """uint8 pictures to pixels in [-1, 1], channels in front."""
    return clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def stack(clips: Clips) -> UInt8[Tensor, "b T H W c"]:
    """Clips as one tensor."""
    return torch.from_numpy(np.stack(clips))


def draw_batch(clips: Clips, size: int, generator: torch.Generator) -> Pixels:
    """Random clips as pixels; half of them mirrored, half of them run backwards (both are valid flights)."""
    chosen = torch.randint(len(clips), (size,), generator=generator)
    pixels = to_pixels(stack([clips[i] for i in chosen]))
    for clip in pixels:
        axes = [axis for axis in (1, 3) if torch.rand((), generator=generator) < 0.5]
        clip.copy_(clip.flip(axes))
    return pixels
