"""The loop that both stages of a tokenizer's training run: batches, steps, reports."""

import argparse
import time
from collections.abc import Callable

import torch
from clips import Clips, Cut, draw_batch, load_split, stack, to_pixels
from torch import Tensor
from training import Run

from cosmos_adapter.tokenizer.network import TokenizerNet
from vidjacobi.shapes import Pixels

PIECES, WHOLE = (17, 64, 96), (33, 128, 160)
PIECES_A_CLIP = 4  # so many pieces take as long to compute as a whole clip: four times as many sights
WHOLE_SHARE = 0.25  # of the steps
AUTOCAST = torch.bfloat16

# (pixels, for the choice of frames to look at) to (the network's video, its loss)
Objective = Callable[[Pixels, torch.Generator], tuple[Pixels, Tensor]]


def loop(run: Run, arguments: argparse.Namespace, rank: int, objective: Objective) -> None:
    """Train until the budget is used up, going on with the batches that would have come next."""

    def split(name: str) -> Clips:
        return load_split(arguments.data, name, arguments.device)

    clips, heldout = split("train"), split("heldout")
    few = heldout[:: max(1, len(heldout) // 8)][:8]
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, run.budget.step)))
    reported = evaluated = time.time()
    recent: list[Tensor] = []
    whole, pieces = Cut(arguments.batch, *WHOLE), Cut(PIECES_A_CLIP * arguments.batch, *PIECES)
    while run.budget.progress < 1:
        cut = whole if torch.rand((), generator=generator) < WHOLE_SHARE else pieces
        pixels = draw_batch(clips, cut, generator)
        with torch.autocast(arguments.device, AUTOCAST):
            video, loss = objective(pixels, generator)
        run.step(loss, run.budget.learning_rate(arguments.rate, warmup=100))
        recent.append(-10 * ((video.detach() - pixels) / 2).square().mean().log10())
        if time.time() - reported > 60:
            run.log(f"train PSNR {torch.stack(recent).mean():.2f} dB, {run.budget.seconds / 60:.1f} minutes")
            run.save()
            clips = split("train")  # rendering may still go on
            reported, recent = time.time(), []
        if time.time() - evaluated > 300:
            if run.writes:
                psnr, entropy = heldout_psnr(run.average, few)
                run.log(f"held-out PSNR {psnr:.2f} dB ({len(few)} clips), entropy {entropy:.2f}")
            evaluated = time.time()
    run.save()
    if run.writes:
        psnr, entropy = heldout_psnr(run.average, heldout)
        run.log(f"FINAL held-out PSNR {psnr:.2f} dB ({len(heldout)} clips), token entropy {entropy:.2f} nats")


@torch.no_grad()
def heldout_psnr(net: TokenizerNet, clips: Clips) -> tuple[float, float]:
    """Mean PSNR of the clips in dB, and the entropy of their tokens in nats."""
    psnrs, counts = [], torch.zeros(net.spec.vocab_size)
    for clip in clips:
        pixels = to_pixels(stack([clip]))
        with torch.autocast(pixels.device.type, AUTOCAST):
            video, tokens = net(pixels)
        error = (video.float().clamp(-1, 1) - pixels) / 2
        psnrs.append(float(-10 * error.square().mean().log10()))
        counts += torch.bincount(tokens.flatten().long(), minlength=net.spec.vocab_size).cpu()
    return sum(psnrs) / len(psnrs), float(torch.distributions.Categorical(counts).entropy())
