"""Rendered clips to tokens with the trained tokenizer, once for all trainings of a model.

``train-transformer`` does so itself before it trains. Run this beside it while make-data still renders: the
training takes up new tokens every minute.

    python scripts/nano encode-clips
"""

import argparse
import hashlib
import os
import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from scripts.nano.train.model_sizes import MODELS, frame_size
from scripts.nano.train.training_clips import StoredClips, load_split
from scripts.nano.train.training_run import launch, trained_state, working_arguments
from vidjacobi.errors import BadInput
from vidjacobi.models.codec import fit
from vidjacobi.shapes import Pixels

# Axes of [c T H W] that are flipped. Clips that look wrong backwards have no variants along TIME.
VARIANTS: dict[str, list[int]] = {"plain": [], "mirrored": [3], "backwards": [1], "both": [1, 3]}
TIME = 1
AT_ONCE = 4  # clips that are encoded together: about 0.5 GB
CHUNK = 32  # clips in a file: as many as in a shard, so that clips rendered later make new files


def load_tokenizer_net(checkpoint: Path) -> TokenizerNet:
    """The trained network, its weights rounded to bfloat16 as they are shipped, computing in float32.

    Raises BadInput if there is no checkpoint.
    """
    config, state = trained_state(checkpoint)
    net = TokenizerNet(TokenizerSpec.from_config(config))
    net.load_state_dict(state)
    rounded = net.to(torch.bfloat16).float()
    return rounded.to(memory_format=torch.channels_last_3d).eval().requires_grad_(False)


def encode_chunks(rank: int, arguments: argparse.Namespace, split: str, variants: list[str]) -> None:
    """One worker's part of a split: files ``SPLIT/VARIANT_SEED.npy`` of tokens, uint16 ``[n t*h*w]``.

    Files already there are kept.
    Raises BadInput if the files there are of another tokenizer.
    """
    net, size = load_tokenizer_net(arguments.tokenizer).to(arguments.device), frame_size(arguments.model)
    clips = load_split(arguments.data, split)
    folder = arguments.out / "tokens" / split
    claim_token_folder(folder, arguments.tokenizer)
    # with two workers, rank 0 takes the chunks 0, 2, 4 ..., rank 1 the others
    for start in range(rank * CHUNK, len(clips), arguments.workers * CHUNK):
        chunk = clips[start : start + CHUNK]
        paths = {variant: folder / f"{variant}_{chunk[0].seed:08d}.npy" for variant in variants}
        missing = {variant: path for variant, path in paths.items() if not path.exists()}
        pixels = [fit(clip.frames.to(arguments.device), size) for clip in chunk] if missing else []
        for variant, path in missing.items():
            chosen = clips_with(variant, chunk, pixels)
            if chosen:
                write_tokens(encode(net, torch.stack(chosen), VARIANTS[variant]), path)


def encode_splits(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's part of both splits."""
    encode_chunks(rank, arguments, "heldout", ["plain"])
    encode_chunks(rank, arguments, "train", arguments.variants)


def clips_with(variant: str, clips: StoredClips, pixels: list[Tensor]) -> list[Tensor]:
    """The pixels of those clips that have a variant."""
    pairs = zip(clips, pixels, strict=True)
    return [own for clip, own in pairs if TIME not in VARIANTS[variant] or clip.reversible]


def write_tokens(tokens: np.ndarray, path: Path) -> None:
    """Write a file of tokens, whole or not at all."""
    with path.with_suffix(".part").open("wb") as file:
        np.save(file, tokens)
    os.replace(path.with_suffix(".part"), path)
    print(f"{time.strftime('%H:%M:%S')} {path.name}: {len(tokens)} clips", flush=True)


def claim_token_folder(folder: Path, tokenizer: Path) -> None:
    """Note which weights a folder's tokens are of. Raises BadInput if it holds those of others."""
    folder.mkdir(parents=True, exist_ok=True)
    found = weights_digest(tokenizer)
    note = folder / "tokenizer.sha256"
    if note.exists() and note.read_text().strip() != found:
        raise BadInput(
            f"{folder} holds tokens of other weights than {tokenizer}: the tokenizer was trained further; "
            "choose another --out, or delete the tokens and the transformer trained on them"
        )
    note.write_text(found + "\n")


def weights_digest(tokenizer: Path) -> str:
    """sha256 of the averaged weights in a checkpoint."""
    _, state = trained_state(tokenizer)
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(state[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def encode(net: TokenizerNet, pixels: Pixels, flips: list[int]) -> np.ndarray:
    """Tokens of clips in raster order, uint16 ``[b t*h*w]``; ``flips`` are axes of a clip."""
    flipped = pixels.flip([1 + axis for axis in flips])
    tokens = torch.cat([net.quantise(net.to_latent(part))[1] for part in flipped.split(AT_ONCE)])
    return tokens.flatten(1).cpu().numpy().astype(np.uint16)


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """The options that say what is encoded, and with which tokenizer."""
    parser.add_argument("--model", choices=MODELS, default="nano")
    parser.add_argument("--tokenizer", type=Path, help="its last.pt, runs/MODEL/tokenizer/last.pt by default")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))


def with_paths(arguments: argparse.Namespace) -> argparse.Namespace:
    """The options, with the folders that follow from the model where none was given."""
    arguments.out = arguments.out or Path("runs") / arguments.model / "transformer"
    arguments.tokenizer = arguments.tokenizer or Path("runs") / arguments.model / "tokenizer" / "last.pt"
    return arguments


def load_tokens(folder: Path, split: str) -> Int[Tensor, "n p"]:
    """All encoded clips of a split, int64. Raises BadInput if there are none."""
    files = sorted((folder / "tokens" / split).glob("*.npy"))
    if not files:
        raise BadInput(
            f"no tokens in {folder / 'tokens' / split}: run train-transformer or encode-clips first"
        )
    return torch.from_numpy(np.concatenate([np.load(file) for file in files]).astype(np.int64))


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = working_arguments(__doc__)
    add_encoding(options)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    launch(encode_splits, with_paths(arguments))
