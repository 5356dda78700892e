"""Render pictures of every kind of scene and encode them with nano's tokenizer, as it ships. Only tokens are kept.

Files ``tokens/SPLIT/SEED.npy``, uint16 ``[n 321]``: the id of the class, then the 16x20 tokens of the picture in
raster order. A seed is a scene of the class ``seed % classes``; there are ``VIEWS`` pictures of each.
Files already there are kept: a stopped run resumes, and a later call with a higher count adds pictures.

    python scripts/nano encode-pictures                     # 4,000 scenes of four pictures: 40 minutes of one core
"""

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cosmos_adapter.tokenizer.network import TokenizerNet
from scripts.nano.render.make_data import FIRST_SEED
from scripts.nano.render.scene_pictures import LABELS, render_views
from scripts.nano.render.scenes import SOFTNESS
from scripts.nano.train.encode_clips import encode, write_tokens
from scripts.nano.train.image_network import IMAGE
from scripts.nano.train.training_clips import to_pixels
from vidjacobi.errors import BadInput

VIEWS = 4
SHARD = 32  # scenes in a file: as many of each class


def load_net() -> TokenizerNet:
    """nano's tokenizer, computing in float32."""
    import vidjacobi

    _, tokenizer = vidjacobi.load("nano", "cpu", "float32")
    return tokenizer.codec.net


def class_of(seed: int) -> int:
    """The number of a seed's class."""
    return seed % len(LABELS)


def encode_shard(seeds: range, folder: Path) -> int:
    """Write the tokens of one file of scenes unless it is there. Returns the number of pictures made."""
    path = folder / f"{seeds.start:08d}.npy"
    if path.exists():
        return 0
    torch.set_num_threads(1)
    net, names, rows = load_net(), list(LABELS), []
    for seed in seeds:
        pictures = render_views(seed, names[class_of(seed)], VIEWS)
        with torch.no_grad():
            tokens = encode(net, to_pixels(pictures[:, None]), [])
        classes = np.full((VIEWS, 1), IMAGE.vocab_size + class_of(seed), np.uint16)
        rows.append(np.concatenate([classes, tokens], 1))
    write_tokens(np.concatenate(rows), path)
    return len(seeds) * VIEWS


def claim_folder(folder: Path) -> None:
    """Note what a folder's tokens are of. Raises BadInput if they are of something else."""
    folder.mkdir(parents=True, exist_ok=True)
    note, found = folder / "classes.txt", f"{' '.join(LABELS)}; {VIEWS} views, softness {SOFTNESS}\n"
    if note.exists() and note.read_text() != found:
        known = note.read_text().strip()
        raise BadInput(
            f"{folder} holds pictures of another recipe, {known}: choose another --out, or delete them"
        )
    note.write_text(found)


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--train", type=int, default=4000, help="scenes")
    options.add_argument("--heldout", type=int, default=64, help="scenes")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--out", type=Path, default=Path("runs/nano_image"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Render and encode what is missing, file by file."""
    start = time.time()
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for split in ("heldout", "train"):
            folder = arguments.out / "tokens" / split
            claim_folder(folder)
            first, count = FIRST_SEED[split], getattr(arguments, split)
            shards = [range(i, i + SHARD) for i in range(first, first + count, SHARD)]
            done = 0
            for made in pool.imap(partial(encode_shard, folder=folder), shards):
                done += made
                print(f"{split}: {done} pictures, {time.time() - start:.0f} s", flush=True)
