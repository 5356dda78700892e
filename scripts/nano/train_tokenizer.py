"""Train a nano video tokenizer on rendered clips: small pieces of clips mixed with whole ones.

Held-out PSNR goes to ``log.txt`` every few minutes, the weights to ``last.pt`` every minute; the same call goes on
where a stopped or killed one was, on any number of workers. More ``--steps`` than before lengthen the training.
``sharpen_tokenizer.py`` is the second stage.

    python scripts/nano/train_tokenizer.py                                          # nano, what `make nano-cpu` does
    python scripts/nano/train_tokenizer.py --model codes3780 --steps 300 --workers 1      # a trial of other codes
"""

import argparse
from pathlib import Path

import torch
from clips import load_split, stack, to_pixels
from perceptual import Looks, looks_error, looks_of, some_frames
from specs import TOKENIZERS
from start_values import initialise
from tokenizer_loop import loop
from tokenizer_losses import Weights, add_weights, reconstruction_loss, weights_of
from torch import Tensor
from training import Budget, Run, launch, trained_state, training_arguments

from cosmos_adapter.tokenizer.network import TokenizerNet
from vidjacobi.shapes import Pixels


class Likeness:
    """The objective: like the true frames, by the terms of tokenizer_losses.py and perceptual.py."""

    def __init__(self, net: TokenizerNet, weights: Weights) -> None:
        self.net, self.weights = net, weights
        self.looks = Looks().to(next(net.parameters()).device)

    def __call__(self, pixels: Pixels, generator: torch.Generator) -> tuple[Pixels, Tensor]:
        video = self.net(pixels)[0].float()
        looked = some_frames(pixels, generator)
        with torch.no_grad():
            true = looks_of(self.looks, pixels, looked)
        error = looks_error(looks_of(self.looks, video, looked), true)
        return video, reconstruction_loss(video, pixels, self.weights) + self.weights.looks * error


def start(arguments: argparse.Namespace) -> TokenizerNet:
    """The network with its start values, or those of ``--start``, unless there is a checkpoint to go on from."""
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
    net, weights = start(arguments), weights_of(arguments)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    run = Run(arguments.out, net, optimizer, Budget(arguments.steps, arguments.minutes))
    run.log(f"{sum(p.numel() for p in net.parameters()):,} parameters, {weights}")
    loop(run, arguments, rank, Likeness(net, weights))


def main() -> None:
    """Parse the options and start the workers."""
    parser = training_arguments(__doc__)
    parser.add_argument("--model", choices=TOKENIZERS, default="nano")
    parser.add_argument("--start", type=Path, help="weights to begin with, a last.pt; computed by default")
    parser.add_argument("--steps", type=int, default=5000, help="stop after so many steps")
    parser.add_argument("--rate", type=float, default=3e-4)
    add_weights(parser)
    arguments = parser.parse_args()
    arguments.out = arguments.out or Path("runs") / arguments.model / "tokenizer"
    launch(train, arguments)


if __name__ == "__main__":
    main()
