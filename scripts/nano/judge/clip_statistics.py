"""How textured, bright and restless clips are: numbers that tell rendered clips from real ones.

    python scripts/nano clip-statistics FOLDER_OF_VIDEOS ...           # real clips, cut to 128x160
    python scripts/nano clip-statistics --kinds house tabletop --seeds 16

Columns, means over the clips (pixels in 0..255): mean and standard deviation of the brightness; mean length of
the brightness gradient; mean absolute difference of neighbouring frames; PSNR in dB of the clip against the
means of its 8x8x8 blocks, what a tokenizer that only stored averages would reach.
"""

import argparse
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from scripts.nano.render.scenes import KINDS, render_clip
from vidjacobi.models.codec import as_seen, fit
from vidjacobi.shapes import Frames

COLUMNS = ("brightness", "contrast", "gradient", "difference", "block PSNR")
LUMA = torch.tensor([0.299, 0.587, 0.114])


def statistics(frames: Frames) -> tuple[float, ...]:
    """The numbers of ``COLUMNS`` of one clip of at least two frames."""
    grey = frames.float() @ LUMA
    down, across = grey.diff(dim=1)[:, :, :-1], grey.diff(dim=2)[:, :-1]
    gradient = (down.square() + across.square()).sqrt().mean()
    difference = frames.float().diff(dim=0).abs().mean()
    contrast = grey.flatten(1).std(1).mean()
    return tuple(float(x) for x in (grey.mean(), contrast, gradient, difference, block_psnr(frames)))


def block_psnr(frames: Frames) -> torch.Tensor:
    """PSNR in dB against the means of 8x8x8 blocks, cut to whole blocks."""
    pixels = frames[: max(1, len(frames) // 8) * 8].permute(3, 0, 1, 2)[None].float() / 255
    block = (min(8, pixels.shape[2]), 8, 8)
    means = F.interpolate(F.avg_pool3d(pixels, block), scale_factor=[float(b) for b in block])
    return -10 * (means - pixels).square().mean().log10()


def report(name: str, clips: list[Frames]) -> None:
    """One line: the means over the clips."""
    rows = torch.tensor([statistics(clip) for clip in clips]).mean(0)
    print(f"{name:24}{len(clips):6} {''.join(f'{x:12.2f}' for x in rows)}", flush=True)


def read_start(path: Path, frames: int) -> Frames:
    """The first frames of a video."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), frames)]
    return torch.from_numpy(np.stack(pictures))


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folders", nargs="*", type=Path)
    options.add_argument("--kinds", nargs="*", choices=KINDS, default=[])
    options.add_argument("--seeds", type=int, default=16, help="clips of each kind")
    options.add_argument("--frames", type=int, default=33)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Measure folders of videos and rendered kinds."""
    size = (128, 160)
    print(f"{'':24}{'clips':>6} {''.join(f'{column:>12}' for column in COLUMNS)}")
    for folder in arguments.folders:
        videos = [read_start(path, arguments.frames) for path in sorted(folder.rglob("*.mp4"))]
        report(folder.name, [as_seen(fit(frames, size)) for frames in videos])
    for kind in arguments.kinds:
        clips = [render_clip(seed, arguments.frames, size, kind).frames for seed in range(arguments.seeds)]
        report(kind, clips)
