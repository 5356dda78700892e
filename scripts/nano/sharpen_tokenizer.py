"""The second stage of a tokenizer: its decoder learns to make pictures that look true, beside being like them.

Encoder and codes stay as they are, so tokens do too, and a transformer may be trained before, beside or after this.
Starts from the averaged weights of ``train_tokenizer.py``; goes on where it was stopped, like that.

    python scripts/nano/sharpen_tokenizer.py                                        # nano, what `make nano-cpu` does
"""

import argparse
from pathlib import Path

import torch
from sharpening import BETAS, Truth
from specs import TOKENIZERS
from tokenizer_loop import loop
from tokenizer_losses import add_weights, weights_of
from tokens import load_net
from training import Budget, Run, launch, training_arguments


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's training."""
    torch.manual_seed(arguments.seed)
    net = load_net(arguments.start).to(arguments.device)
    learning = [*net.post_quant_conv.parameters(), *net.decoder.parameters()]
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learning, weight_decay=0.01, betas=BETAS, fused=True)
    weights = weights_of(arguments)
    truth = Truth(net.train(), weights, arguments.deceit, arguments.critic_rate)
    budget = Budget(arguments.steps, arguments.minutes)
    run = Run(arguments.out, net, optimizer, budget, {"critic": truth.critic, "learning": truth.optimizer})
    run.log(f"{weights}, deceit {arguments.deceit}")
    loop(run, arguments, rank, truth)


def main() -> None:
    """Parse the options and start the workers."""
    parser = training_arguments(__doc__)
    parser.add_argument("--model", choices=TOKENIZERS, default="nano")
    parser.add_argument("--start", type=Path, help="runs/MODEL/tokenizer/last.pt by default")
    parser.add_argument("--steps", type=int, default=4000, help="stop after so many steps")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--critic-rate", type=float, default=3e-4)
    parser.add_argument("--deceit", type=float, default=0.06, help="weight of the critic's opinion")
    add_weights(parser)
    arguments = parser.parse_args()
    arguments.out = arguments.out or Path("runs") / arguments.model / "sharp"
    arguments.start = arguments.start or Path("runs") / arguments.model / "tokenizer" / "last.pt"
    launch(train, arguments)


if __name__ == "__main__":
    main()
