"""The second stage of a video tokenizer: its decoder learns to make pictures that a critic takes for true ones.

Encoder and codes stay as they are, so tokens do too, and a transformer may be trained before, beside or after this.
Starts from the averaged weights of ``train-tokenizer``, and resumes where it was stopped as that does.

    python scripts/nano sharpen-tokenizer                                       # nano, as in `make nano-cpu`
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from cosmos_adapter.tokenizer.network import TokenizerNet
from scripts.nano.train.encode_clips import load_tokenizer_net
from scripts.nano.train.model_sizes import TOKENIZERS
from scripts.nano.train.tokenizer_losses import (
    Critic,
    LossWeights,
    PerceptualNet,
    add_weights,
    critic_loss,
    generator_loss,
    perceptual_distance,
    perceptual_features,
    random_frames,
    reconstruction_loss,
    weights_of,
)
from scripts.nano.train.train_tokenizer import tokenizer_loop
from scripts.nano.train.training_run import (
    Budget,
    TrainingRun,
    average_gradients,
    launch,
    training_arguments,
)
from vidjacobi.shapes import Pixels

BETAS = (0.5, 0.99)  # of both optimisers


class AdversarialObjective:
    """Like the true frames, and not to be told from them by a critic, which learns beside the decoder."""

    def __init__(self, net: TokenizerNet, weights: LossWeights, adversarial: float, rate: float) -> None:
        self.net, self.weights, self.adversarial = net, weights, adversarial
        device = next(net.parameters()).device
        self.perceptual, self.critic = PerceptualNet().to(device), Critic().to(device)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), rate, BETAS)

    def __call__(self, pixels: Pixels, generator: torch.Generator) -> tuple[Pixels, Tensor]:
        frames = random_frames(pixels, generator)
        with torch.no_grad():
            codes, _ = self.net.quantise(self.net.to_latent(pixels))
            true = perceptual_features(self.perceptual, pixels, frames)
        video = self.net.to_video(codes).float()
        shown = perceptual_features(self.perceptual, video, frames)
        self._train_critic(true, shown)
        distance = perceptual_distance(shown, true)
        loss = reconstruction_loss(video, pixels, self.weights) + self.weights.perceptual * distance
        return video, loss + self.adversarial * generator_loss(self.critic.requires_grad_(False), shown)

    def _train_critic(self, true: list[Tensor], shown: list[Tensor]) -> None:
        """One step of the critic."""
        loss = critic_loss(self.critic.requires_grad_(True), true, shown)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(list(self.critic.parameters()))
        self.optimizer.step()


def train(rank: int, arguments: argparse.Namespace) -> None:
    """One worker's training."""
    torch.manual_seed(arguments.seed)
    net = load_tokenizer_net(arguments.start).to(arguments.device)
    decoder = [*net.post_quant_conv.parameters(), *net.decoder.parameters()]
    for parameter in decoder:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(decoder, weight_decay=0.01, betas=BETAS, fused=True)
    weights = weights_of(arguments)
    objective = AdversarialObjective(net.train(), weights, arguments.adversarial, arguments.critic_rate)
    budget = Budget(arguments.steps, arguments.minutes)
    beside = {"critic": objective.critic, "learning": objective.optimizer}
    training = TrainingRun(arguments.out, net, optimizer, budget, beside)
    training.log(f"{weights}, adversarial {arguments.adversarial}")
    tokenizer_loop(training, arguments, rank, objective)


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = training_arguments(__doc__)
    options.add_argument("--model", choices=TOKENIZERS, default="nano")
    options.add_argument("--start", type=Path, help="runs/MODEL/tokenizer/last.pt by default")
    options.add_argument("--steps", type=int, default=4000, help="stop after so many steps")
    options.add_argument("--rate", type=float, default=1e-4)
    options.add_argument("--critic-rate", type=float, default=3e-4)
    options.add_argument("--adversarial", type=float, default=0.06, help="weight of the critic's scores")
    add_weights(options)
    return options


def run(arguments: argparse.Namespace) -> None:
    """Start the workers."""
    arguments.out = arguments.out or Path("runs") / arguments.model / "sharp"
    arguments.start = arguments.start or Path("runs") / arguments.model / "tokenizer" / "last.pt"
    launch(train, arguments)
