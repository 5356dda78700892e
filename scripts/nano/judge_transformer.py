"""Held-out loss of a world model that ships, for each latent frame, beside the entropy of the tokens alone.

    python scripts/nano/make_data.py --train 0                      # the held-out clips, half a minute
    python scripts/nano/judge_transformer.py                        # nano
    python scripts/nano/judge_transformer.py --model micro

Clips are encoded with the tokenizer that ships with it. FVD of its rollouts: ``vidjacobi eval`` (README).
"""

import argparse
from pathlib import Path

import torch
from clips import load_split
from losses import describe, heldout_losses
from specs import CONTEXT_FRAMES, MODELS
from token_counts import unigram_entropy

import vidjacobi
from vidjacobi.models.codec import fit


@torch.inference_mode()
def main() -> None:
    """Encode, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="nano")
    parser.add_argument("--data", type=Path, default=Path("runs/nano/data"))
    arguments = parser.parse_args()
    model, tokenizer = vidjacobi.load(arguments.model, "cpu", "float32")
    clips = load_split(arguments.data, "heldout")
    grids = [tokenizer.encode(fit(clip.frames, tokenizer.frame_size)[None])[0] for clip in clips]
    tokens = torch.stack([grid.flatten() for grid in grids])
    predicted = tokens[:, CONTEXT_FRAMES * model.network.spec.grid.frame_tokens :]
    print(
        f"{len(clips)} held-out clips, entropy of the predicted frames' tokens {unigram_entropy(predicted):.3f}"
    )
    print(describe(heldout_losses(model.network, tokens)))


if __name__ == "__main__":
    main()
