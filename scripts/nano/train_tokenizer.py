"""Train a nano video tokenizer on rendered clips: small pieces of clips mixed with whole ones.

Held-out PSNR goes to ``log.txt`` every few minutes, the weights to ``last.pt`` every minute; the same call goes on
where a stopped or killed one was, on any number of workers. More ``--steps`` than before lengthen the training.

    python scripts/nano/train_tokenizer.py                                          # nano2, what `make nano` does
    python scripts/nano/train_tokenizer.py --model codes4096 --steps 300 --workers 1      # a trial of other codes
"""

import argparse
import time
from pathlib import Path

import torch
from clips import Clips, Cut, draw_batch, load_split, stack, to_pixels
from perceptual import Looks, looks_error
from specs import TOKENIZERS
from start_values import initialise
from tokenizer_losses import Weights, reconstruction_loss
from training import Budget, Run, launch, training_arguments

from cosmos_adapter.tokenizer_net import TokenizerNet

PIECES = Cut(4, 17, 64, 96)  # as long to compute as a whole clip, and four times as many sights
WHOLE = Cut(1, 33, 128, 160)
WHOLE_SHARE = 0.25  # of the steps
LOOKED_AT = 6  # frames of a step that the perceptual term compares
AUTOCAST = torch.bfloat16


@torch.no_grad()
def heldout_psnr(net: TokenizerNet, clips: Clips) -> tuple[float, float]:
    """Mean PSNR of the clips in dB, and the entropy of their tokens in nats."""
    psnrs, counts = [], torch.zeros(net.spec.vocab_size)
    for clip in clips:
        pixels = to_pixels(stack([clip]))
        with torch.autocast("cpu", AUTOCAST):
            video, tokens = net(pixels)
        error = (video.float().clamp(-1, 1) - pixels) / 2
        psnrs.append(float(-10 * error.square().mean().log10()))
        counts += torch.bincount(tokens.flatten().long(), minlength=net.spec.vocab_size)
    return sum(psnrs) / len(psnrs), float(torch.distributions.Categorical(counts).entropy())


def start(arguments: argparse.Namespace, clips: Clips) -> TokenizerNet:
    """The network with its start values, unless there is a checkpoint to go on from."""
    torch.manual_seed(arguments.seed)
    net = TokenizerNet(TOKENIZERS[arguments.model])
    if not (arguments.out / "last.pt").exists():
        initialise(net, to_pixels(stack(clips[:: max(1, len(clips) // 8)][:8])))
    return net.to(memory_format=torch.channels_last_3d)


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's training loop."""
    clips, heldout = load_split(arguments.data, "train"), load_split(arguments.data, "heldout")
    few = heldout[:: max(1, len(heldout) // 8)][:8]
    net = start(arguments, clips)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    budget = Budget(arguments.steps, arguments.minutes)
    run = Run(arguments.out, net, optimizer, budget)
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, budget.step)))
    weights, looks = Weights(arguments.square, arguments.edge, arguments.contrast, arguments.looks), Looks()
    run.log(f"{sum(p.numel() for p in net.parameters()):,} parameters, {len(clips)} train clips, {weights}")
    reported = evaluated = time.time()
    recent: list[float] = []
    while budget.progress < 1:
        cut = WHOLE if torch.rand((), generator=generator) < WHOLE_SHARE else PIECES
        pixels = draw_batch(clips, cut, generator)
        looked = torch.randperm(cut.frames, generator=generator)[: max(1, LOOKED_AT // cut.count)]
        with torch.autocast("cpu", AUTOCAST):
            video, _ = net(pixels)
            video = video.float()
            loss = reconstruction_loss(video, pixels, weights)
            loss = loss + weights.looks * looks_error(looks, video, pixels, looked)
        run.step(loss, budget.learning_rate(arguments.rate, warmup=100))
        recent.append(-10 * float(((video.detach() - pixels) / 2).square().mean().log10()))
        if time.time() - reported > 60:
            run.log(f"train PSNR {sum(recent) / len(recent):.2f} dB, {budget.seconds / 60:.1f} minutes")
            run.save()
            reported, recent = time.time(), []
        if time.time() - evaluated > 600:
            clips = load_split(arguments.data, "train")  # rendering may still go on
            if run.writes:
                run.log(
                    "held-out PSNR {:.2f} dB (8 clips), entropy {:.2f}".format(
                        *heldout_psnr(run.average, few)
                    )
                )
            evaluated = time.time()
    run.save()
    if run.writes:
        psnr, entropy = heldout_psnr(run.average, heldout)
        run.log(f"FINAL held-out PSNR {psnr:.2f} dB ({len(heldout)} clips), token entropy {entropy:.2f} nats")


def main() -> None:
    """Parse the options and start the workers."""
    parser = training_arguments(__doc__)
    parser.add_argument("--model", choices=TOKENIZERS, default="nano2")
    parser.add_argument("--steps", type=int, default=20_000, help="stop after so many steps")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--square", type=float, default=Weights.square, help="weight of the squared error")
    parser.add_argument("--edge", type=float, default=Weights.edge, help="weight of the edges' error")
    parser.add_argument(
        "--contrast", type=float, default=Weights.contrast, help="weight of local contrast's error"
    )
    parser.add_argument("--looks", type=float, default=Weights.looks, help="weight of the perceptual error")
    arguments = parser.parse_args()
    arguments.out = arguments.out or Path("runs") / arguments.model / "tokenizer"
    launch(train, arguments)


if __name__ == "__main__":
    main()
