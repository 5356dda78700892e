"""Train nano-image on the tokens of pictures, a class each; every tenth picture is seen without its class.

Held-out loss beside the entropy of the tokens alone goes to ``log.txt``, the weights to ``last.pt`` every minute; the
same call resumes where a stopped or killed one was, and takes up pictures that encode-pictures makes meanwhile.

    python scripts/nano encode-pictures
    python scripts/nano train-image --minutes 45 --workers 1
"""

import argparse
import time
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.nano.train.encode_clips import load_tokens
from scripts.nano.train.image_network import NO_CLASS, ImageTransformer, start_network
from scripts.nano.train.train_transformer import CombinedOptimizer, token_losses, unigram_entropy
from scripts.nano.train.training_run import Budget, TrainingRun, launch, training_arguments

DROPPED = 0.1  # share of the pictures whose class is not told, for guidance
FEW = 16  # held-out pictures that are looked at while it trains
AT_ONCE = 8  # pictures that are judged together


def build_optimizer(net: ImageTransformer) -> CombinedOptimizer:
    """Muon for the layers' matrices; AdamW for the rest: slower for nano's tables, faster for the classes."""
    layers = [p for p in net.layers.parameters() if p.ndim > 1]
    tables = [*net.tok_embeddings.parameters(), *net.output.parameters()]
    norms = [p for p in net.parameters() if p.ndim < 2]
    groups = [
        {"params": tables, "scale": 0.3},
        {"params": norms},
        {"params": [net.classes], "scale": 3.0},
    ]
    return CombinedOptimizer(
        torch.optim.Muon(layers, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.95), fused=True),
    )


def without_classes(pictures: Int[Tensor, "b p"], dropped: Tensor) -> Int[Tensor, "b p"]:
    """The pictures, some of them without their class."""
    return torch.cat([torch.where(dropped, NO_CLASS, pictures[:, 0])[:, None], pictures[:, 1:]], 1)


@torch.no_grad()
def picture_losses(net: ImageTransformer, pictures: Int[Tensor, "n p"]) -> Float[Tensor, " n"]:
    """Mean negative log-likelihood in nats a token of every picture."""
    device = next(net.parameters()).device
    parts = [token_losses(net, part.to(device)).mean(1).cpu() for part in pictures.split(AT_ONCE)]
    return torch.cat(parts)


def unigram_loss(train: Int[Tensor, "n p"], heldout: Int[Tensor, "m p"], vocab_size: int) -> float:
    """Held-out loss in nats of the training tokens' frequencies, each counted once more than seen."""
    counts = 1 + torch.bincount(train[:, 1:].flatten(), minlength=vocab_size).double()
    return float(-(counts / counts.sum()).log()[heldout[:, 1:].flatten()].mean())


def describe(net: ImageTransformer, pictures: Int[Tensor, "n p"]) -> str:
    """One line: the losses with the class and without."""
    blank = without_classes(pictures, torch.ones(len(pictures), dtype=torch.bool))
    known, unknown = picture_losses(net, pictures).mean(), picture_losses(net, blank).mean()
    return f"held-out ({len(pictures)} pictures): {known:.3f} nats, without the class {unknown:.3f}"


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker."""
    net = start_network(arguments.seed).to(arguments.device)
    budget = Budget(arguments.steps, arguments.minutes)
    training = TrainingRun(arguments.out, net, build_optimizer(net), budget)
    pictures, heldout = load_tokens(arguments.out, "train"), load_tokens(arguments.out, "heldout")
    few = heldout[:: max(1, len(heldout) // FEW)][:FEW]
    count = sum(p.numel() for p in net.parameters())
    training.log(f"{count:,} parameters, {len(pictures)} train pictures, {len(heldout)} held out")
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, budget.step)))
    reported = evaluated = time.time()
    while budget.progress < 1:
        chosen = pictures[torch.randint(len(pictures), (arguments.batch,), generator=generator)]
        dropped = torch.rand(arguments.batch, generator=generator) < DROPPED
        loss = token_losses(net, without_classes(chosen, dropped).to(arguments.device)).mean()
        training.step(loss, budget.learning_rate(arguments.rate, warmup=arguments.warmup))
        if time.time() - reported > 60:
            training.log(f"loss {loss.item():.4f} minutes {budget.seconds / 60:.1f}")
            training.save()
            pictures = load_tokens(arguments.out, "train")  # encode-pictures may still run beside this
            reported = time.time()
        if training.writes and time.time() - evaluated > 240:
            training.log(describe(training.average, few))
            evaluated = time.time()
    training.save()
    if training.writes:
        log_result(training, pictures, heldout)


def log_result(training: TrainingRun, pictures: Int[Tensor, "n p"], heldout: Int[Tensor, "m p"]) -> None:
    """Log the held-out loss of the averaged weights beside that of the tokens' frequencies."""
    alone = unigram_loss(pictures, heldout, training.average.spec.vocab_size)
    entropy = unigram_entropy(heldout[:, 1:])
    training.log(f"held-out: {alone:.3f} nats by frequencies of the train tokens, own entropy {entropy:.3f}")
    training.log(f"FINAL {describe(training.average, heldout)}")


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = training_arguments(__doc__)
    options.add_argument("--steps", type=int, default=1500, help="stop after so many steps")
    options.set_defaults(batch=8, out=Path("runs/nano_image"))
    options.add_argument("--rate", type=float, default=3e-3)
    options.add_argument("--warmup", type=int, default=30, help="steps")
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    launch(train, arguments)
