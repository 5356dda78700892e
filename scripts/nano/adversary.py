"""A critic that learns to tell decoded pictures from true ones, so that a decoder learns to make them alike.

Small heads on the features of perceptual.py, one for each stage; only they are trained, which takes far fewer
pictures than a critic from nothing. Source: Sauer et al. 2021, "Projected GANs Converge Faster"; hinge losses as in
Lim and Ye 2017, "Geometric GAN". The network of FVD has no part in it. Heads that see two neighbouring frames were
no better (LOG.md).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (16, 24, 40, 80, 112)  # channels of the stages
HIDDEN = 64
LEAK = 0.2
Scalar = Float[Tensor, ""]


class Critic(nn.Module):
    """How true each place of some pictures looks: one map of scores for each stage of features."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(width) for width in WIDTHS)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        # unit features of n channels have components of about 1 / sqrt(n)
        return [head(f * f.shape[1] ** 0.5) for head, f in zip(self.heads, features, strict=True)]


def _head(width: int) -> nn.Sequential:
    first, last = nn.Conv2d(width, HIDDEN, 3, padding=1), nn.Conv2d(HIDDEN, 1, 1)
    return nn.Sequential(spectral_norm(first), nn.LeakyReLU(LEAK), spectral_norm(last))


def critic_loss(critic: Critic, true: list[Tensor], shown: list[Tensor]) -> Scalar:
    """Hinge: scores of true pictures above 1, of shown ones below -1; ``shown`` without gradient."""
    pairs = zip(critic(true), critic([f.detach() for f in shown]), strict=True)
    losses = [F.relu(1 - above).mean() + F.relu(1 + below).mean() for above, below in pairs]
    return torch.stack(losses).mean()


def deceit_loss(critic: Critic, shown: list[Tensor]) -> Scalar:
    """What the decoder lowers: minus the mean score of its pictures."""
    return -torch.stack([scores.mean() for scores in critic(shown)]).mean()
