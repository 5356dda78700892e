"""Render the training and held-out clips: shards of uint8 ``[n 33 128 160 3]``, named by their first seed.

Train seeds start at 0, held-out seeds at 1,000,000 and the sample clip's at 2,000,000, so that no clip is seen twice.
Shards already there are kept: a stopped run resumes, and a later call with a higher count adds clips. A folder
holds one mixture of kinds of one softness (scenes.py), which are written into its ``kinds.json``. Photographs are
for training only: the other splits leave them out.

    python scripts/nano make-data                           # 8 GB; about ten minutes on 2 cores
    python scripts/nano make-data --kinds plain_room --out runs/plain           # the first generator's rooms alone
"""

import argparse
import json
import multiprocessing
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.nano.render.photos import PHOTOS, load_photo
from scripts.nano.render.scenes import MIXTURE, SOFTNESS, draw_kind, render_clip
from vidjacobi.errors import BadInput

FIRST_SEED = {"train": 0, "heldout": 1_000_000, "sample": 2_000_000}
SHARD = 32
FRAMES = 33
TRAIN_ONLY = "photo"
# glibc gives large arrays back at every free, and the faults of new pages take a fifth of the time. A worker reads
# this when it starts; other C libraries do not know it.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 31)}


def shard_seeds(split: str, count: int) -> list[range]:
    """The seeds of each shard of a split of ``count`` clips, rounded up to whole shards.

    Raises ``ValueError`` if the split would run into another one's seeds.
    """
    if not 0 <= count <= 1_000_000:
        raise ValueError(
            f"a split holds 0 to 1,000,000 clips, got {count}: more would run into another split"
        )
    first = FIRST_SEED[split]
    return [range(i, i + SHARD) for i in range(first, first + count, SHARD)]


def split_mixture(split: str, kinds: list[str]) -> dict[str, float]:
    """The kinds of a split and how often each occurs; only "train" has photographs, unless there is nothing else."""
    kept = [kind for kind in kinds if split == "train" or kind != TRAIN_ONLY] or kinds
    return {kind: MIXTURE[kind] for kind in MIXTURE if kind in kept}


def claim_folder(folder: Path, recipe: dict[str, Any]) -> None:
    """Note what a folder's clips are. Raises BadInput if they are something else, or older than this note."""
    note = folder / "kinds.json"
    folder.mkdir(parents=True, exist_ok=True)
    known = json.loads(note.read_text()) if note.exists() else None
    if known is None and any(folder.glob("*.npy")):
        raise BadInput(f"{folder} holds clips of unknown kinds: choose another --out, or delete them")
    if known is not None and known != recipe:
        raise BadInput(
            f"{folder} holds clips of another recipe, {known}: choose another --out, or delete them"
        )
    note.write_text(json.dumps(recipe) + "\n")


def render_shard(seeds: range, folder: Path, mixture: dict[str, float]) -> int:
    """Write one shard unless it is there; whole or not at all. Returns the number of clips rendered."""
    path = folder / f"{seeds.start:08d}.npy"
    if path.exists():
        return 0
    torch.set_num_threads(1)
    clips = np.stack(
        [render_clip(seed, FRAMES, kind=draw_kind(seed, mixture)).frames.numpy() for seed in seeds]
    )
    partial_path = path.with_suffix(".part")
    with partial_path.open("wb") as file:
        np.save(file, clips)
    os.replace(partial_path, path)
    return len(seeds)


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--train", type=int, default=3776)
    options.add_argument("--heldout", type=int, default=128)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--kinds", nargs="+", choices=MIXTURE, default=list(MIXTURE), metavar="KIND")
    options.add_argument("--out", type=Path, default=Path("runs/nano/data"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Render what is missing, shard by shard."""
    if TRAIN_ONLY in arguments.kinds:
        for number in range(len(PHOTOS)):  # a missing package is better found now than in an hour
            load_photo(number)
    start = time.time()
    os.environ.update(KEEP_MEMORY)
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for split in ("heldout", "train"):
            folder = arguments.out / split
            mixture = split_mixture(split, arguments.kinds)
            claim_folder(folder, {"mixture": mixture, "softness": SOFTNESS})
            done = 0
            job = partial(render_shard, folder=folder, mixture=mixture)
            for count in pool.imap_unordered(job, shard_seeds(split, getattr(arguments, split))):
                done += count
                print(f"{split}: {done} clips rendered, {time.time() - start:.0f} s", flush=True)
