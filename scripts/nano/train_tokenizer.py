"""Train the nano video tokenizer on rendered clips: 8x8x8 compression, FSQ (8, 8, 8, 8), L1 + L2.

Held-out PSNR goes to ``log.txt`` every few minutes, the weights to ``last.pt``; the same call resumes.

    python scripts/nano/train_tokenizer.py --minutes 35
"""

import argparse
import time
from pathlib import Path

import torch
from clips import Clips, draw_batch, load_split, stack, to_pixels
from specs import TOKENIZER
from start_values import initialise
from training import Budget, Run, launch, training_arguments

from cosmos_adapter.tokenizer_net import TokenizerNet


@torch.no_grad()
def heldout_psnr(net: TokenizerNet, clips: Clips) -> tuple[float, float]:
    """Mean PSNR of the clips in dB, and the entropy of their tokens in nats."""
    psnrs, counts = [], torch.zeros(TOKENIZER.vocab_size)
    for clip in clips:
        pixels = to_pixels(stack([clip]))
        with torch.autocast("cpu", torch.bfloat16):
            video, tokens = net(pixels)
        error = (video.float().clamp(-1, 1) - pixels) / 2
        psnrs.append(float(-10 * error.square().mean().log10()))
        counts += torch.bincount(tokens.flatten().long(), minlength=TOKENIZER.vocab_size)
    return sum(psnrs) / len(psnrs), float(torch.distributions.Categorical(counts).entropy())


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's training loop."""
    torch.manual_seed(arguments.seed)
    clips, heldout = load_split(arguments.data, "train"), load_split(arguments.data, "heldout")
    net = TokenizerNet(TOKENIZER)
    initialise(net, to_pixels(stack(clips[:: max(1, len(clips) // 8)])))
    net = net.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    budget = Budget(arguments.steps, arguments.minutes)
    run = Run(arguments.out, net, optimizer, budget)
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, budget.step)))
    run.log(f"{sum(p.numel() for p in net.parameters()):,} parameters, {len(clips)} train clips")
    reported = evaluated = time.time()
    recent: list[float] = []
    while budget.progress < 1:
        pixels = draw_batch(clips, arguments.batch, generator)
        with torch.autocast("cpu", torch.bfloat16):
            video, _ = net(pixels)
        error = video.float() - pixels
        loss = error.abs().mean() + error.square().mean()
        run.step(loss, budget.learning_rate(arguments.rate, warmup=100))
        recent.append(-10 * float((error.detach() / 2).square().mean().log10()))
        if time.time() - reported > 60:
            run.log(f"train PSNR {sum(recent) / len(recent):.2f} dB, {budget.seconds / 60:.1f} minutes")
            run.save()
            reported, recent = time.time(), []
        if time.time() - evaluated > 300:
            clips = load_split(arguments.data, "train")  # rendering may still go on
            if run.writes:
                psnr, entropy = heldout_psnr(net, heldout[:8])
                run.log(f"held-out PSNR {psnr:.2f} dB (8 clips), token entropy {entropy:.2f} nats")
            evaluated = time.time()
    run.save()
    if run.writes:
        psnr, entropy = heldout_psnr(net, heldout)
        run.log(f"FINAL held-out PSNR {psnr:.2f} dB ({len(heldout)} clips), token entropy {entropy:.2f} nats")


def main() -> None:
    """Parse the options and start the workers."""
    parser = training_arguments(__doc__, Path("runs/nano/tokenizer"))
    parser.add_argument("--batch", type=int, default=1, help="clips of one worker's step")
    parser.add_argument("--rate", type=float, default=1e-4)
    launch(train, parser.parse_args())


if __name__ == "__main__":
    main()
