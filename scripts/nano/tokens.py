"""Clips to tokens with the trained tokenizer, once for all trainings of a model."""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from clips import load_split
from jaxtyping import Int
from specs import MODELS, TOKENIZER, frame_size
from torch import Tensor

from cosmos_adapter.tokenizer_net import TokenizerNet
from vidjacobi.frames import fit

# Axes of [c T H W] that are flipped: every variant of a flight is a valid flight.
VARIANTS: dict[str, list[int]] = {"plain": [], "mirrored": [3], "backwards": [1], "both": [1, 3]}
CHUNK = 128  # clips in a file


def load_net(checkpoint: Path) -> TokenizerNet:
    """The trained network, its weights rounded to bfloat16 as they are shipped, computing in float32.

    Raises ``FileNotFoundError`` if there is no checkpoint.
    """
    if not checkpoint.exists():
        raise FileNotFoundError(f"no tokenizer in {checkpoint}; run train_tokenizer.py first")
    net = TokenizerNet(TOKENIZER)
    net.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    rounded = net.to(torch.bfloat16).float()
    return rounded.to(memory_format=torch.channels_last_3d).eval().requires_grad_(False)


def encode_chunks(rank: int, arguments: argparse.Namespace, split: str, variants: list[str]) -> None:
    """One worker's part of a split: files ``SPLIT/VARIANT_CHUNK.npy`` of tokens, uint16 ``[n t*h*w]``.

    Files already there are kept. Variants are done one after the other, so that the plain clips come first.
    """
    net, size = load_net(arguments.tokenizer), frame_size(MODELS[arguments.model])
    clips = load_split(arguments.data, split)
    folder = arguments.out / "tokens" / split
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(variant, start) for variant in variants for start in range(0, len(clips), CHUNK)]
    for variant, start in jobs[rank :: arguments.workers]:
        path = folder / f"{variant}_{start:06d}.npy"
        if path.exists():
            continue
        tokens = [encode(net, clip, size, VARIANTS[variant]) for clip in clips[start : start + CHUNK]]
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, np.stack(tokens))
        os.replace(path.with_suffix(".part"), path)
        print(f"{time.strftime('%H:%M:%S')} {path.name}: {len(tokens)} clips", flush=True)


def encode(net: TokenizerNet, clip: np.ndarray, size: tuple[int, int], flips: list[int]) -> np.ndarray:
    """Tokens of one clip in raster order, its frames scaled and cropped to ``size`` as a rollout does it."""
    pixels = fit(torch.from_numpy(clip.copy()), size).flip(flips)
    _, tokens = net.quantise(net.to_latent(pixels[None]))
    return tokens.flatten().numpy().astype(np.uint16)


def load_tokens(folder: Path, split: str) -> Int[Tensor, "n p"]:
    """All encoded clips of a split, int64. Raises ``FileNotFoundError`` if there are none."""
    files = sorted((folder / "tokens" / split).glob("*.npy"))
    if not files:
        raise FileNotFoundError(f"no tokens in {folder / 'tokens' / split}")
    return torch.from_numpy(np.concatenate([np.load(file) for file in files]).astype(np.int64))
