"""Train the transformer of a world model on the tokens of the rendered clips, whole clips as sequences.

First encodes the clips (held-out, then train and its mirrored and backward variants; kept on disk), then
trains. Held-out loss per latent frame goes to ``log.txt``, the weights to ``last.pt``; the same call resumes.

    python scripts/nano/train_transformer.py --minutes 45
    python scripts/nano/train_transformer.py --model micro --minutes 50     # frames of 96x128: 960 tokens
"""

import argparse
import time
from pathlib import Path

import torch
from losses import describe, heldout_losses, losses
from specs import CONTEXT_FRAMES, MODELS
from token_counts import digit_features, unigram_entropy
from tokens import VARIANTS, encode_chunks, load_tokens
from training import Budget, Run, launch, training_arguments

from cosmos_adapter.spec import ModelSpec
from cosmos_adapter.transformer import CosmosTransformer, initialise


def build(spec: ModelSpec, seed: int) -> CosmosTransformer:
    """A fresh network; embedding and head start from smooth features of the FSQ digits."""
    net = CosmosTransformer(spec)
    initialise(net, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    features = digit_features()
    for weight, std in ((net.tok_embeddings.weight, 0.1), (net.output.weight, 0.03)):
        projection = torch.randn(features.shape[1], spec.dim, generator=generator)
        weight.data.copy_(features @ projection * (std / features.shape[1] ** 0.5))
    return net


def optimizer_of(net: CosmosTransformer) -> torch.optim.Optimizer:
    """AdamW; no decay on norms, embedding and head."""
    layers = [p for name, p in net.named_parameters() if p.ndim > 1 and name.startswith("layers.")]
    others = [p for name, p in net.named_parameters() if p.ndim < 2 or not name.startswith("layers.")]
    groups = [{"params": layers, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker: encode its share, then train."""
    encode_chunks(rank, arguments, "heldout", ["plain"])
    encode_chunks(rank, arguments, "train", arguments.variants)
    torch.distributed.barrier()
    net = build(MODELS[arguments.model], arguments.seed)
    budget = Budget(arguments.steps, arguments.minutes)
    run = Run(arguments.out, net, optimizer_of(net), budget)
    clips, heldout = load_tokens(arguments.out, "train"), load_tokens(arguments.out, "heldout")
    report_data(run, clips, heldout[:, CONTEXT_FRAMES * net.spec.grid.frame_tokens :])
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, budget.step)))
    reported = evaluated = time.time()
    while budget.progress < 1:
        chosen = torch.randint(len(clips), (arguments.batch,), generator=generator)
        loss = losses(net, clips[chosen]).mean()
        run.step(loss, budget.learning_rate(arguments.rate, warmup=arguments.warmup))
        if time.time() - reported > 60:
            run.log(f"loss {loss.item():.4f} minutes {budget.seconds / 60:.1f}")
            run.save()
            reported = time.time()
        if run.writes and time.time() - evaluated > 300:
            run.log(f"held-out (16 clips): {describe(heldout_losses(net, heldout[:16]))}")
            evaluated = time.time()
    run.save()
    if run.writes:
        run.log(f"FINAL held-out ({len(heldout)} clips): {describe(heldout_losses(net, heldout))}")


def report_data(run: Run, clips: torch.Tensor, predicted: torch.Tensor) -> None:
    """Log the sizes of network and data, and the entropies of the train and the predicted held-out tokens."""
    count = sum(p.numel() for p in run.model.parameters())
    run.log(f"{count:,} parameters, {len(clips)} train sequences")
    entropies = unigram_entropy(clips), unigram_entropy(predicted)
    run.log("unigram entropy: train {:.3f}, held-out predicted {:.3f}".format(*entropies))


def main() -> None:
    """Parse the options and start the workers."""
    parser = training_arguments(__doc__)
    parser.add_argument("--model", choices=MODELS, default="nano")
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/nano/tokenizer/last.pt"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--batch", type=int, default=2, help="clips of one worker's step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=60, help="steps")
    arguments = parser.parse_args()
    arguments.out = arguments.out or Path("runs") / arguments.model / "transformer"
    launch(train, arguments)


if __name__ == "__main__":
    main()
