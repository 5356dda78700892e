"""Feature networks as TorchScript programs, in the form of StyleGAN-V's file of FVD's network."""

from pathlib import Path

import torch
from torch import Tensor, nn

from vidjacobi.eval.i3d_weights import ANSWER


class Detector(nn.Module):
    """Any network with the calling convention of StyleGAN-V's TorchScript file."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, rescale: bool, resize: bool, return_features: bool) -> Tensor:
        if rescale:
            x = x / 255 * 2 - 1
        if resize:
            x = nn.functional.interpolate(x, (x.shape[2], 224, 224), mode="trilinear")
        logits = self.network(x)
        return logits if return_features else logits.softmax(1)


class Fixed(nn.Module):
    """A network with the same logits for every clip."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(x.shape[0], -1)


def right_logits() -> Tensor:
    logits = torch.zeros(1, 400)
    logits[0, :: 400 // len(ANSWER)] = torch.tensor(ANSWER)
    return logits


def save_script(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path
