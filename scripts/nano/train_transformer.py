"""Train the transformer of a world model on the tokens of the rendered clips, whole clips as sequences.

First encodes the clips (held-out, then train and its mirrored and backward variants; kept on disk), then
trains. Held-out loss per latent frame goes to ``log.txt``, the weights to ``last.pt`` every minute; the same call
goes on where a stopped or killed one was, on any number of workers. Clips rendered since are encoded first.

    python scripts/nano/train_transformer.py                                # nano, what `make nano-cpu` does
    python scripts/nano/train_transformer.py --model micro --steps 1200
"""

import argparse
import time

import torch
from losses import describe, heldout_losses, losses
from specs import CONTEXT_FRAMES
from token_counts import unigram_entropy
from tokens import add_encoding, encode_splits, load_tokens, with_paths
from training import Budget, Run, launch, training_arguments
from transformer_setup import build, optimizer_of


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker: encode its share, then train."""
    encode_splits(rank, arguments)
    torch.distributed.barrier()
    net = build(arguments.model, arguments.seed).to(arguments.device)
    budget = Budget(arguments.steps, arguments.minutes)
    run = Run(arguments.out, net, optimizer_of(net), budget)
    clips, heldout = load_tokens(arguments.out, "train"), load_tokens(arguments.out, "heldout")
    few = heldout[:: max(1, len(heldout) // 16)][:16]
    report_data(run, clips, heldout[:, CONTEXT_FRAMES * net.spec.grid.frame_tokens :])
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, budget.step)))
    reported = evaluated = time.time()
    while budget.progress < 1:
        chosen = torch.randint(len(clips), (arguments.batch,), generator=generator)
        loss = losses(net, clips[chosen].to(arguments.device, non_blocking=True)).mean()
        run.step(loss, budget.learning_rate(arguments.rate, warmup=arguments.warmup))
        if time.time() - reported > 60:
            run.log(f"loss {loss.item():.4f} minutes {budget.seconds / 60:.1f}")
            run.save()
            clips = load_tokens(arguments.out, "train")  # encode_clips.py may still go on
            reported = time.time()
        if run.writes and time.time() - evaluated > 300:
            run.log(f"held-out ({len(few)} clips): {describe(heldout_losses(run.average, few))}")
            evaluated = time.time()
    run.save()
    if run.writes:
        run.log(f"FINAL held-out ({len(heldout)} clips): {describe(heldout_losses(run.average, heldout))}")


def report_data(run: Run, clips: torch.Tensor, predicted: torch.Tensor) -> None:
    """Log the sizes of network and data, and the entropies of the train and the predicted held-out tokens."""
    count = sum(p.numel() for p in run.model.parameters())
    run.log(f"{count:,} parameters, {len(clips)} train sequences")
    entropies = unigram_entropy(clips), unigram_entropy(predicted)
    run.log("unigram entropy: train {:.3f}, held-out predicted {:.3f}".format(*entropies))


def main() -> None:
    """Parse the options and start the workers."""
    parser = training_arguments(__doc__)
    add_encoding(parser)
    parser.add_argument("--steps", type=int, default=8000, help="stop after so many steps")
    parser.set_defaults(batch=2)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=60, help="steps")
    launch(train, with_paths(parser.parse_args()))


if __name__ == "__main__":
    main()
