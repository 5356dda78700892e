"""Recorded episodes of Push-T to tokens with the trained tokenizer, as they are and mirrored.

``pusht-transformer`` does so itself before it trains.

    python scripts/nano pusht-encode
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from cosmos_adapter.checkpoint import field_values
from scripts.nano.pusht.push_store import PushStore, load_store, mirrored_pictures, mirrored_places
from scripts.nano.pusht.pusht_sizes import RUNS
from scripts.nano.train.encode_clips import claim_token_folder, write_tokens
from scripts.nano.train.training_run import launch, trained_state, working_arguments
from vidjacobi.errors import BadInput
from vidjacobi.families.pusht_pixels import PatchNetwork, PatchSpec

AT_ONCE = 128  # pictures
VARIANTS = {"heldout": ("plain",), "train": ("plain", "mirrored")}


@dataclass(frozen=True)
class TokenStore:
    """Encoded episodes.

    Attributes:
        tokens: of all frames ``[e f p]``, raster order.
        actions: that lead from each frame to the next ``[e f-1 k]``, in the simulator's units.
        states: agent and T at each frame ``[e f 5]``; those of mirrored episodes are not mirrored.
        touching: where the agent is at the T ``[e f]``.
    """

    tokens: Int[Tensor, "e f p"]
    actions: Float[Tensor, "e g k"]
    states: Float[np.ndarray, "e f 5"]
    touching: np.ndarray


def load_patch_network(checkpoint: Path) -> PatchNetwork:
    """The trained network with weights rounded to bfloat16, as they ship, computing in float32. Raises BadInput."""
    config, state = trained_state(checkpoint)
    net = PatchNetwork(PatchSpec(**field_values(PatchSpec, config)))
    net.load_state_dict(state)
    rounded = net.to(torch.bfloat16).float()
    return rounded.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def encode_splits(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's shards: files ``SPLIT/SHARD_VARIANT.npy`` of tokens, uint16 ``[n f p]``; those there are kept."""
    net = load_patch_network(arguments.tokenizer)
    for split, variants in VARIANTS.items():
        store, folder = load_store(arguments.data, split), arguments.out / "tokens" / split
        claim_token_folder(folder, arguments.tokenizer)
        for number in range(rank, len(store.shards), arguments.workers):
            for variant in variants:
                path = token_file(folder, number, variant)
                if not path.exists():
                    write_tokens(encode(net, store.shards[number], variant), path)


def token_file(folder: Path, shard: int, variant: str) -> Path:
    """Of the n-th shard."""
    return folder / f"{shard:06d}_{variant}.npy"


@torch.inference_mode()
def encode(net: PatchNetwork, shard: UInt8[np.ndarray, "n f s s 3"], variant: str) -> np.ndarray:
    """Tokens of a shard's frames, uint16 ``[n f p]``."""
    pictures = torch.from_numpy(np.array(shard)).flatten(0, 1)
    if variant == "mirrored":
        pictures = mirrored_pictures(pictures)
    codes = []
    for part in pictures.split(AT_ONCE):
        pixels = part.permute(0, 3, 1, 2).float() / 127.5 - 1
        codes.append(net.codes_of(pixels.to(memory_format=torch.channels_last)))
    return torch.cat(codes).flatten(1).unflatten(0, shard.shape[:2]).numpy().astype(np.uint16)


def load_token_store(data: Path, out: Path, split: str) -> TokenStore:
    """All encoded episodes of a split, plain ones before mirrored ones. Raises BadInput where there are none."""
    store, folder = load_store(data, split), out / "tokens" / split
    parts = [_variant(store, folder, variant) for variant in VARIANTS[split]]
    tokens, actions, kept = zip(*parts, strict=True)
    return TokenStore(
        tokens=torch.cat(tokens),
        actions=torch.cat(actions),
        states=np.concatenate([store.states[rows] for rows in kept]),
        touching=np.concatenate([store.touching[rows] for rows in kept]),
    )


def _variant(store: PushStore, folder: Path, variant: str) -> tuple[Tensor, Tensor, np.ndarray]:
    """(tokens, actions, numbers of episodes) of the shards that are encoded; others may have been recorded since."""
    there = [n for n in range(len(store.shards)) if token_file(folder, n, variant).exists()]
    if not there:
        raise BadInput(f"no {variant} tokens in {folder}: run pusht-transformer or pusht-encode first")
    tokens = np.concatenate([np.load(token_file(folder, number, variant)) for number in there])
    rows = np.concatenate([np.arange(store.starts[n], store.starts[n + 1]) for n in there])
    actions = torch.from_numpy(store.actions[rows])
    return (
        torch.from_numpy(tokens.astype(np.int64)),
        mirrored_places(actions) if variant == "mirrored" else actions,
        rows,
    )


def add_folders(options: argparse.ArgumentParser) -> None:
    """The options that say where things are."""
    options.add_argument("--tokenizer", type=Path, default=RUNS / "tokenizer" / "last.pt", help="its last.pt")
    options.set_defaults(data=RUNS / "data", out=RUNS / "transformer")


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = working_arguments(__doc__)
    add_folders(options)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    launch(encode_splits, arguments)
