"""The objective of a tokenizer's second stage: like the true frames, and not to be told from them by a critic."""

import torch
from adversary import Critic, critic_loss, deceit_loss
from perceptual import Looks, looks_error, looks_of, some_frames
from tokenizer_losses import Weights, reconstruction_loss
from torch import Tensor
from training import average_gradients

from cosmos_adapter.tokenizer.network import TokenizerNet
from vidjacobi.shapes import Pixels

BETAS = (0.5, 0.99)


class Truth:
    """The objective: like the true frames, and not to be told from them by a critic that learns to."""

    def __init__(self, net: TokenizerNet, weights: Weights, deceit: float, rate: float) -> None:
        self.net, self.weights, self.deceit = net, weights, deceit
        device = next(net.parameters()).device
        self.looks, self.critic = Looks().to(device), Critic().to(device)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), rate, BETAS)

    def __call__(self, pixels: Pixels, generator: torch.Generator) -> tuple[Pixels, Tensor]:
        looked = some_frames(pixels, generator)
        with torch.no_grad():
            codes, _ = self.net.quantise(self.net.to_latent(pixels))
            true = looks_of(self.looks, pixels, looked)
        video = self.net.to_video(codes).float()
        shown = looks_of(self.looks, video, looked)
        self._learn(true, shown)
        like = reconstruction_loss(video, pixels, self.weights) + self.weights.looks * looks_error(
            shown, true
        )
        return video, like + self.deceit * deceit_loss(self.critic.requires_grad_(False), shown)

    def _learn(self, true: list[Tensor], shown: list[Tensor]) -> None:
        """A step of the critic."""
        loss = critic_loss(self.critic.requires_grad_(True), true, shown)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(list(self.critic.parameters()))
        self.optimizer.step()
