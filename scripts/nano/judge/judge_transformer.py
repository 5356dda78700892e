"""Held-out loss of a world model that ships, for each latent frame, beside the entropy of the tokens alone.

    python scripts/nano make-data --train 0                      # the held-out clips, half a minute
    python scripts/nano judge-transformer                        # nano
    python scripts/nano judge-transformer --model micro

Clips are encoded with the tokenizer that ships with it. FVD of its rollouts: ``vidjacobi eval``.
"""

import argparse
from pathlib import Path

import torch

import vidjacobi
from scripts.nano.train.model_sizes import CONTEXT_FRAMES, MODELS
from scripts.nano.train.train_transformer import describe_losses, heldout_losses, unigram_entropy
from scripts.nano.train.training_clips import load_split
from vidjacobi.models.codec import fit


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", choices=MODELS, default="nano")
    options.add_argument("--data", type=Path, default=Path("runs/nano/data"))
    return options


@torch.inference_mode()
def run(arguments: argparse.Namespace) -> None:
    """Encode, judge, print."""
    model, tokenizer = vidjacobi.load(arguments.model, "cpu", "float32")
    clips = load_split(arguments.data, "heldout")
    grids = [tokenizer.encode(fit(clip.frames, tokenizer.frame_size)[None])[0] for clip in clips]
    tokens = torch.stack([grid.flatten() for grid in grids])
    predicted = tokens[:, CONTEXT_FRAMES * model.network.spec.grid.frame_tokens :]
    print(
        f"{len(clips)} held-out clips, entropy of the predicted frames' tokens {unigram_entropy(predicted):.3f}"
    )
    print(describe_losses(heldout_losses(model.network, tokens)))
