"""Finished batches, made without a model."""

from pathlib import Path
from typing import Any

import torch
from clip_files import encode, moving
from robot_sets import FPS, LENGTHS

from vidjacobi.batch.future_files import FutureContent, open_out
from vidjacobi.batch.manifest import ManifestRow, new_log
from vidjacobi.batch.settings import load_plan
from vidjacobi.batch.workers import listing
from vidjacobi.datasets import Episode
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.models.codec import as_seen, fit

CONTEXT, FRAMES = 5, 3
MODEL_SIZE = (32, 48)


def write_batch(
    out: Path, data: Path, starts: tuple[int, ...] = (0,), samples: int = 2, **flags: Any
) -> Path:
    """A batch as a run leaves it. Its futures show the true frames; what is not there is the last frame again."""
    flags = {"context": CONTEXT, "frames": FRAMES, "samples": samples, **flags}
    plan = load_plan("default", {"data": str(data), "output": "videos", **flags})
    files, log = open_out(out, plan), new_log(out)
    for episode in listing(plan.config):
        assert isinstance(episode, Episode)
        for start in starts:
            there = min(CONTEXT + FRAMES, episode.frames.count() - start)
            clip = episode.frames.read(start, there)
            frames = as_seen(fit(clip.frames, MODEL_SIZE))
            frames = torch.cat([frames, frames[-1:].expand(CONTEXT + FRAMES - there, -1, -1, -1)])
            for sample in range(samples):
                tokens = torch.zeros(2, 4, 6, dtype=torch.int32)
                content = FutureContent(tokens, 1, frames, episode.fps or clip.fps)
                row = ManifestRow(
                    episode.id, start, sample, starts=len(starts), tokens_sha256=hash_tokens([tokens[1:]])
                )
                log.append(files.write(row, content))
    log.close()
    return out


def write_clips(folder: Path) -> Path:
    """Two plain videos."""
    folder.mkdir(parents=True)
    for name, length in zip("ab", LENGTHS, strict=True):
        encode(folder / f"{name}.mp4", moving(length, 48, 64), rate=FPS)
    return folder
