"""V-JEPA 2 as a feature network, from a folder that the user names. Its distance is neither FVD nor JEDi.

JEDi (arXiv 2410.05203) compares the attentive pooler's output of the first V-JEPA (ViT-H, tuned on SSv2) by a
polynomial MMD. The same is done here with the networks that ``transformers`` has, so the numbers have another scale
than the paper's.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.eval.transformers_folder import open_network

POOLED = "VJEPA2ForVideoClassification"  # with an attentive pooler, whose output is the feature
PLAIN = "VJEPA2Model"  # without one: the mean of the encoder's tokens
# ImageNet's statistics, of which V-JEPA 2's own preprocessing makes use
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FEATURE = {
    POOLED: "output of the attentive pooler, before the classifier",
    PLAIN: "mean of the encoder's tokens",
}


class Pooled(nn.Module):
    """Pixels to one feature vector of a clip."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None, None])

    def forward(self, pixels: Float[Tensor, "b 3 T s s"]) -> Float[Tensor, "b f"]:
        """The feature of pixels in [0, 1]."""
        # transformers has frames before channels
        shown = ((pixels - self.mean) / self.std).transpose(1, 2)
        pooler = getattr(self.network, "pooler", None)
        encoder = self.network if pooler is None else self.network.vjepa2
        tokens = encoder(shown, skip_predictor=True).last_hidden_state
        return tokens.mean(1) if pooler is None else pooler(tokens)


def load_network(folder: Path | None) -> tuple[Pooled, dict[str, Any], int, int]:
    """(the network of a folder, facts about it, the side of its input in pixels, frames that it takes at once).

    Raises InvalidArgument without a folder, BadCheckpoint for a folder of another model and for weights that are
    missing or do not fit.
    """
    if folder is None:
        raise InvalidArgument(
            "features vjepa2 need a folder with a V-JEPA 2 of transformers (config.json, model.safetensors): "
            "download one, such as a vjepa2-vitl-fpc16-256-ssv2, and name it with --weights"
        )
    network, kind, sha256, config_sha256 = open_network(folder, "vjepa2", (PLAIN, POOLED), "V-JEPA 2")
    facts = {
        "weights": kind,
        "weights_sha256": sha256,
        "config_sha256": config_sha256,
        "feature": FEATURE[kind],
        "normalisation": "ImageNet's mean and deviation",
        "formula": "mmd",
    }
    config = network.config
    return (
        Pooled(network).eval().requires_grad_(False),
        facts,
        int(config.crop_size),
        int(config.tubelet_size),
    )
