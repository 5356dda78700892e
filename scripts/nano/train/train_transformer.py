"""Train the transformer of a world model on the tokens of the rendered clips, whole clips as sequences.

First encodes the clips (held-out, then train and its mirrored and backward variants; kept on disk), then
trains. Held-out loss per latent frame goes to ``log.txt``, the weights to ``last.pt`` every minute; the same call
resumes where a stopped or killed one was, on any number of workers. Clips rendered since are encoded first.

    python scripts/nano train-transformer                               # nano, as in `make nano-cpu`
    python scripts/nano train-transformer --model micro --steps 1200
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cosmos_adapter.transformer.network import CosmosTransformer, initialise
from scripts.nano.train.encode_clips import add_encoding, encode_splits, load_tokens, with_paths
from scripts.nano.train.model_sizes import CONTEXT_FRAMES, MODELS, TOKENIZERS
from scripts.nano.train.training_run import Budget, TrainingRun, launch, training_arguments


def digit_features(levels: tuple[int, ...]) -> Float[Tensor, "v f"]:
    """Smooth features of every token id: cosines of its FSQ digits, and their products over pairs of digits.

    Columns have mean 0 and variance 1, so that a random projection gives neighbouring codes similar vectors.
    """
    ids = torch.arange(int(np.prod(levels)))
    waves, place_value = [], 1
    for level in levels:
        # FSQ numbers its codes in mixed radix: with levels (8, 5), id 19 has the digits 3 and 2
        digit = ((ids // place_value) % level + 0.5) / level
        waves.append(torch.stack([torch.cos(torch.pi * k * digit) for k in range(1, min(level, 5))], 1))
        place_value *= level
    pairs = [waves[i][:, None, :2] * waves[j][:, :2, None] for i in range(len(levels)) for j in range(i)]
    columns = torch.cat([*waves, *(pair.flatten(1) for pair in pairs)], 1)
    return (columns - columns.mean(0)) / columns.std(0)


def build_transformer(name: str, seed: int) -> CosmosTransformer:
    """A fresh network; embedding and head start from smooth features of the FSQ digits."""
    spec = MODELS[name]
    net = CosmosTransformer(spec)
    initialise(net, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    features = digit_features(TOKENIZERS[name].levels)
    for weight, std in ((net.tok_embeddings.weight, 0.1), (net.output.weight, 0.03)):
        projection = torch.randn(features.shape[1], spec.dim, generator=generator)
        weight.data.copy_(features @ projection * (std / features.shape[1] ** 0.5))
    return net


class CombinedOptimizer:
    """Several optimisers, each of its own parameters, in the place of one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        # torch replaces the groups when it loads them: the old ones would no longer set the rate
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def build_optimizer(net: nn.Module) -> CombinedOptimizer:
    """Muon for the layers' matrices, at AdamW's rates; AdamW without decay for all else.

    After 160 steps of nano the held-out loss is 5.55 nats, with AdamW for everything 6.10; a step takes as long.
    Source: Jordan et al. 2024, "Muon"; scale of updates: Liu et al. 2025, "Muon is Scalable for LLM Training".
    """
    inside = [(".layers." in f".{name}" and p.ndim > 1, p) for name, p in net.named_parameters()]
    layers, others = ([p for is_layer, p in inside if is_layer is wanted] for wanted in (True, False))
    return CombinedOptimizer(
        torch.optim.Muon(layers, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, weight_decay=0.0, betas=(0.9, 0.95), fused=True),
    )


def token_losses(net: CosmosTransformer, tokens: Int[Tensor, "b p"]) -> Float[Tensor, "b p2"]:
    """Negative log-likelihood in nats of every token but the first."""
    with torch.autocast(tokens.device.type, torch.bfloat16):
        logits = net(tokens[:, :-1])
    flat = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return flat.view(len(tokens), -1)


@torch.no_grad()
def heldout_losses(net: CosmosTransformer, tokens: Int[Tensor, "n p"]) -> Float[Tensor, " t"]:
    """Mean loss of each latent frame (of the first one, without its first token)."""
    device = next(net.parameters()).device
    per_token = torch.cat([token_losses(net, clip.to(device)) for clip in tokens.split(1)]).mean(0).cpu()
    # the first token has no loss: a value stands in its place so that the rest falls into frames, and is left out
    frames = torch.cat([per_token[:1], per_token]).view(net.spec.grid.t, -1)
    return torch.cat([frames[:1, 1:].mean(1), frames[1:].mean(1)])


def describe_losses(per_frame: Float[Tensor, " t"]) -> str:
    """One line: the predicted frames' mean and every frame."""
    predicted = per_frame[CONTEXT_FRAMES:].mean()
    return f"predicted frames {predicted:.3f} nats, frames {' '.join(f'{x:.3f}' for x in per_frame)}"


def unigram_entropy(tokens: Int[Tensor, "n p"]) -> float:
    """Entropy in nats of the tokens' overall frequencies: the loss of a model that sees no context."""
    counts = torch.bincount(tokens.flatten()).double()
    return float(torch.distributions.Categorical(counts).entropy())


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker: encode its share, then train."""
    encode_splits(rank, arguments)
    torch.distributed.barrier()
    net = build_transformer(arguments.model, arguments.seed).to(arguments.device)
    budget = Budget(arguments.steps, arguments.minutes)
    training = TrainingRun(arguments.out, net, build_optimizer(net), budget)
    clips, heldout = load_tokens(arguments.out, "train"), load_tokens(arguments.out, "heldout")
    few = heldout[:: max(1, len(heldout) // 16)][:16]
    log_sizes(training, clips, heldout[:, CONTEXT_FRAMES * net.spec.grid.frame_tokens :])
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, budget.step)))
    reported = evaluated = time.time()
    while budget.progress < 1:
        chosen = torch.randint(len(clips), (arguments.batch,), generator=generator)
        loss = token_losses(net, clips[chosen].to(arguments.device, non_blocking=True)).mean()
        training.step(loss, budget.learning_rate(arguments.rate, warmup=arguments.warmup))
        if time.time() - reported > 60:
            training.log(f"loss {loss.item():.4f} minutes {budget.seconds / 60:.1f}")
            training.save()
            clips = load_tokens(arguments.out, "train")  # encode-clips may still run beside this
            reported = time.time()
        if training.writes and time.time() - evaluated > 300:
            found = describe_losses(heldout_losses(training.average, few))
            training.log(f"held-out ({len(few)} clips): {found}")
            evaluated = time.time()
    training.save()
    if training.writes:
        found = describe_losses(heldout_losses(training.average, heldout))
        training.log(f"FINAL held-out ({len(heldout)} clips): {found}")


def log_sizes(training: TrainingRun, clips: Int[Tensor, "n p"], predicted: Int[Tensor, "m p2"]) -> None:
    """Log the sizes of network and data, and the entropies of the train and the predicted held-out tokens."""
    count = sum(p.numel() for p in training.model.parameters())
    training.log(f"{count:,} parameters, {len(clips)} train sequences")
    entropies = unigram_entropy(clips), unigram_entropy(predicted)
    training.log("unigram entropy: train {:.3f}, held-out predicted {:.3f}".format(*entropies))


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = training_arguments(__doc__)
    add_encoding(options)
    options.add_argument("--steps", type=int, default=8000, help="stop after so many steps")
    options.set_defaults(batch=2)
    options.add_argument("--rate", type=float, default=3e-3)
    options.add_argument("--warmup", type=int, default=60, help="steps")
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    launch(train, with_paths(arguments))
