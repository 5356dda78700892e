"""The first stage of a video tokenizer: reconstruct rendered clips, random crops mixed with whole clips.

Held-out PSNR goes to ``log.txt`` every few minutes, the weights to ``last.pt`` every minute; the same call resumes
where a stopped or killed one was, on any number of workers. More ``--steps`` than before lengthen the training.
``sharpen-tokenizer`` is the second stage.

    python scripts/nano train-tokenizer                                         # nano, as in `make nano-cpu`
    python scripts/nano train-tokenizer --model codes3780 --steps 300 --workers 1      # a trial of other codes
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cosmos_adapter.tokenizer.network import TokenizerNet
from scripts.nano.train.model_sizes import TOKENIZERS
from scripts.nano.train.tokenizer_losses import (
    LossWeights,
    PerceptualNet,
    add_weights,
    perceptual_distance,
    perceptual_features,
    random_frames,
    reconstruction_loss,
    weights_of,
)
from scripts.nano.train.tokenizer_start import initialise
from scripts.nano.train.training_clips import (
    Crops,
    StoredClips,
    draw_batch,
    load_split,
    stack,
    to_pixels,
)
from scripts.nano.train.training_run import (
    Budget,
    TrainingRun,
    launch,
    trained_state,
    training_arguments,
)
from vidjacobi.shapes import Pixels

CROP, WHOLE = (17, 64, 96), (33, 128, 160)  # frames, height, width
CROPS_A_CLIP = 4  # so many crops take as long to compute as a whole clip, and show four times as many scenes
WHOLE_SHARE = 0.25  # of the steps
AUTOCAST = torch.bfloat16

# (pixels, for the choice of frames to compare) to (the network's video, its loss)
Objective = Callable[[Pixels, torch.Generator], tuple[Pixels, Tensor]]


class ReconstructionObjective:
    """Like the true frames, by pixels and by perceptual features."""

    def __init__(self, net: TokenizerNet, weights: LossWeights) -> None:
        self.net, self.weights = net, weights
        self.perceptual = PerceptualNet().to(next(net.parameters()).device)

    def __call__(self, pixels: Pixels, generator: torch.Generator) -> tuple[Pixels, Tensor]:
        video = self.net(pixels)[0].float()
        frames = random_frames(pixels, generator)
        with torch.no_grad():
            true = perceptual_features(self.perceptual, pixels, frames)
        distance = perceptual_distance(perceptual_features(self.perceptual, video, frames), true)
        return video, reconstruction_loss(video, pixels, self.weights) + self.weights.perceptual * distance


def tokenizer_loop(
    training: TrainingRun, arguments: argparse.Namespace, rank: int, objective: Objective
) -> None:
    """The loop of both stages, until the budget is used up.

    Resumed, it draws batches of its own: the seed of the draws includes the step that it resumes from.
    """

    def split(name: str) -> StoredClips:
        return load_split(arguments.data, name, arguments.device)

    clips, heldout = split("train"), split("heldout")
    few = heldout[:: max(1, len(heldout) // 8)][:8]
    budget = training.budget
    generator = torch.Generator().manual_seed(hash((arguments.seed, rank, budget.step)))
    reported = evaluated = time.time()
    recent: list[Tensor] = []
    whole, cropped = Crops(arguments.batch, *WHOLE), Crops(CROPS_A_CLIP * arguments.batch, *CROP)
    while budget.progress < 1:
        size = whole if torch.rand((), generator=generator) < WHOLE_SHARE else cropped
        pixels = draw_batch(clips, size, generator)
        with torch.autocast(arguments.device, AUTOCAST):
            video, loss = objective(pixels, generator)
        training.step(loss, budget.learning_rate(arguments.rate, warmup=100))
        recent.append(-10 * ((video.detach() - pixels) / 2).square().mean().log10())
        if time.time() - reported > 60:
            training.log(f"train PSNR {torch.stack(recent).mean():.2f} dB, {budget.seconds / 60:.1f} minutes")
            training.save()
            clips = split("train")  # make-data may still run beside this
            reported, recent = time.time(), []
        if time.time() - evaluated > 300:
            if training.writes:
                psnr, entropy = heldout_psnr(training.average, few)
                training.log(f"held-out PSNR {psnr:.2f} dB ({len(few)} clips), entropy {entropy:.2f}")
            evaluated = time.time()
    training.save()
    if training.writes:
        psnr, entropy = heldout_psnr(training.average, heldout)
        training.log(
            f"FINAL held-out PSNR {psnr:.2f} dB ({len(heldout)} clips), token entropy {entropy:.2f} nats"
        )


@torch.no_grad()
def heldout_psnr(net: TokenizerNet, clips: StoredClips) -> tuple[float, float]:
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


def start_net(arguments: argparse.Namespace) -> TokenizerNet:
    """The network with its start values, or those of ``--start``, unless there is a checkpoint to resume from."""
    torch.manual_seed(arguments.seed)
    net = TokenizerNet(TOKENIZERS[arguments.model])
    if arguments.start:
        net.load_state_dict(trained_state(arguments.start)[1])
    elif not (arguments.out / "last.pt").exists():
        clips = load_split(arguments.data, "train")
        initialise(net, to_pixels(stack(clips[:: max(1, len(clips) // 8)][:8])))
    return net.to(arguments.device, memory_format=torch.channels_last_3d)


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's training."""
    net, weights = start_net(arguments), weights_of(arguments)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    training = TrainingRun(arguments.out, net, optimizer, Budget(arguments.steps, arguments.minutes))
    training.log(f"{sum(p.numel() for p in net.parameters()):,} parameters, {weights}")
    tokenizer_loop(training, arguments, rank, ReconstructionObjective(net, weights))


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = training_arguments(__doc__)
    options.add_argument("--model", choices=TOKENIZERS, default="nano")
    options.add_argument("--start", type=Path, help="weights to begin with, a last.pt; computed by default")
    options.add_argument("--steps", type=int, default=5000, help="stop after so many steps")
    options.add_argument("--rate", type=float, default=3e-4)
    add_weights(options)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    arguments.out = arguments.out or Path("runs") / arguments.model / "tokenizer"
    launch(train, arguments)
