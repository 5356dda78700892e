"""Train the nano world model on the tokens of the rendered clips, whole sequences of 1,600 tokens.

First encodes the clips (held-out, then train and its mirrored and backward variants; kept on disk), then
trains. Held-out loss per latent frame goes to ``log.txt``, the weights to ``last.pt``; the same call resumes.

    python scripts/nano/train_transformer.py --minutes 45
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from tokens import VARIANTS, digit_features, encode_chunks, load_tokens, unigram_entropy
from torch import Tensor
from training import Budget, Run, launch, training_arguments

from cosmos_adapter.spec import ModelSpec
from cosmos_adapter.transformer import CosmosTransformer, initialise

SPEC = ModelSpec(
    dim=256,
    n_layers=6,
    n_heads=4,
    n_kv_heads=2,
    ffn_hidden_size=704,
    vocab_size=4096,
    rope_theta=1000.0,
    video_latent_shape=(5, 16, 20),
    num_video_frames=33,
)
CONTEXT_FRAMES = 2  # latent frames given in a rollout; the others are the predicted ones


def build(seed: int) -> CosmosTransformer:
    """A fresh network; embedding and head start from smooth features of the FSQ digits."""
    net = CosmosTransformer(SPEC)
    initialise(net, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    features = digit_features()
    for weight, std in ((net.tok_embeddings.weight, 0.1), (net.output.weight, 0.03)):
        projection = torch.randn(features.shape[1], SPEC.dim, generator=generator)
        weight.data.copy_(features @ projection * (std / features.shape[1] ** 0.5))
    return net


def losses(net: CosmosTransformer, tokens: Int[Tensor, "b p"]) -> Float[Tensor, "b p2"]:
    """Negative log-likelihood in nats of every token but the first."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(tokens[:, :-1])
    flat = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return flat.view(len(tokens), -1)


@torch.no_grad()
def heldout_losses(net: CosmosTransformer, tokens: Int[Tensor, "n p"]) -> Float[Tensor, " t"]:
    """Mean loss of each latent frame (of the first one, without its first token)."""
    per_token = torch.cat([losses(net, clip) for clip in tokens.split(1)]).mean(0)
    frames = torch.cat([per_token[:1], per_token]).view(SPEC.grid.t, -1)
    return torch.cat([frames[:1, 1:].mean(1), frames[1:].mean(1)])


def describe(per_frame: Float[Tensor, " t"]) -> str:
    """One line: the predicted frames' mean and every frame."""
    predicted = per_frame[CONTEXT_FRAMES:].mean()
    return f"predicted frames {predicted:.3f} nats, frames {' '.join(f'{x:.3f}' for x in per_frame)}"


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
    net = build(arguments.seed)
    budget = Budget(arguments.steps, arguments.minutes)
    run = Run(arguments.out, net, optimizer_of(net), budget)
    clips, heldout = load_tokens(arguments.out, "train"), load_tokens(arguments.out, "heldout")
    predicted = heldout[:, CONTEXT_FRAMES * SPEC.grid.frame_tokens :]
    run.log(f"{sum(p.numel() for p in net.parameters()):,} parameters, {len(clips)} train sequences")
    run.log(
        f"unigram entropy: train {unigram_entropy(clips):.3f}, held-out predicted {unigram_entropy(predicted):.3f}"
    )
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


def main() -> None:
    """Parse the options and start the workers."""
    parser = training_arguments(__doc__, "runs/nano/transformer")
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/nano/tokenizer/last.pt"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--batch", type=int, default=2, help="clips of one worker's step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=60, help="steps")
    launch(train, parser.parse_args())


if __name__ == "__main__":
    main()
