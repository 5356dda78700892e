"""What token ids and their frequencies tell before any training: entropy, and which codes are neighbours."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def unigram_entropy(tokens: Int[Tensor, "n p"]) -> float:
    """Entropy in nats of the tokens' overall frequencies."""
    counts = torch.bincount(tokens.flatten()).double()
    return float(torch.distributions.Categorical(counts).entropy())


def digit_features(levels: tuple[int, ...]) -> Float[Tensor, "v f"]:
    """Smooth features of every token id: cosines of its FSQ digits, and their products over pairs of digits.

    Columns have mean 0 and variance 1, so that a random projection gives neighbouring codes similar vectors.
    """
    ids = torch.arange(int(np.prod(levels)))
    waves, basis = [], 1
    for level in levels:
        place = ((ids // basis) % level + 0.5) / level
        waves.append(torch.stack([torch.cos(torch.pi * k * place) for k in range(1, min(level, 5))], 1))
        basis *= level
    pairs = [waves[i][:, None, :2] * waves[j][:, :2, None] for i in range(len(levels)) for j in range(i)]
    columns = torch.cat([*waves, *(pair.flatten(1) for pair in pairs)], 1)
    return (columns - columns.mean(0)) / columns.std(0)
