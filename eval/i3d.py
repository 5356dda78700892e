"""Inception-v1 I3D (Carreira & Zisserman 2017) as in the TF-hub module i3d-kinetics-400, the network of FVD.

Where TensorFlow and PyTorch differ, TensorFlow's rules hold: SAME padding with the odd row at the end, and batch
norm without a scale and with epsilon 1e-3. Attributes have the names of pytorch-i3d, so that its state dicts fit as
they are.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

BN_EPS = 1e-3
SIDE = 224
LEAST_FRAMES = 9  # eight leave a single time step before the last pooling, which needs two
CLASSES = 400

Volume = Float[Tensor, "b c t h w"]
Other = Float[Tensor, "b k t h w"]  # the same places, other channels
Resized = Float[Tensor, "b k T H W"]

# Channels of the four branches of each Inception block: 1x1 | 1x1, 3x3 | 1x1, 3x3 | pooling, 1x1.
BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class I3D(nn.Module):
    """Pixels to the 400 Kinetics logits, averaged over time: the features of FVD."""

    def __init__(self, bn_eps: float = BN_EPS) -> None:
        super().__init__()
        # The layers in order: names of modules, and (kernel, stride) of poolings.
        self.stem = (
            *("Conv3d_1a_7x7", ((1, 3, 3), (1, 2, 2)), "Conv3d_2b_1x1", "Conv3d_2c_3x3"),
            ((1, 3, 3), (1, 2, 2)),
            *("Mixed_3b", "Mixed_3c", ((3, 3, 3), (2, 2, 2))),
            *("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", ((2, 2, 2), (2, 2, 2))),
            *("Mixed_5b", "Mixed_5c"),
        )
        self.add_module("Conv3d_1a_7x7", Unit(3, 64, 7, 2, bn_eps))
        self.add_module("Conv3d_2b_1x1", Unit(64, 64, 1, 1, bn_eps))
        self.add_module("Conv3d_2c_3x3", Unit(64, 192, 3, 1, bn_eps))
        channels = 192
        for name, widths in BLOCKS.items():
            self.add_module(name, Inception(channels, widths, bn_eps))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = Head(channels)

    def forward(self, pixels: Float[Tensor, "b 3 T 224 224"]) -> Float[Tensor, "b 400"]:
        """Logits of pixels in [-1, 1], of at least 9 frames."""
        hidden = pixels
        for step in self.stem:
            hidden = self.get_submodule(step)(hidden) if isinstance(step, str) else max_pool(hidden, *step)
        hidden = F.avg_pool3d(hidden, (2, 7, 7), stride=1)
        return self.logits(hidden)[..., 0, 0].mean(2)


class Unit(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, eps: float) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = Shift(outputs, eps)

    def forward(self, hidden: Volume) -> Resized:
        return F.relu(self.bn(self.conv3d(pad_same(hidden, self.kernel, self.stride))))


class Shift(nn.Module):
    """Batch norm with stored statistics, with a bias and without a scale."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, hidden: Volume) -> Volume:
        return F.batch_norm(hidden, self.running_mean, self.running_var, None, self.bias, eps=self.eps)


class Inception(nn.Module):
    """An Inception block: four branches whose channels are joined."""

    def __init__(self, inputs: int, widths: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.b0 = Unit(inputs, widths[0], 1, 1, eps)
        self.b1a = Unit(inputs, widths[1], 1, 1, eps)
        self.b1b = Unit(widths[1], widths[2], 3, 1, eps)
        self.b2a = Unit(inputs, widths[3], 1, 1, eps)
        self.b2b = Unit(widths[3], widths[4], 3, 1, eps)
        self.b3b = Unit(inputs, widths[5], 1, 1, eps)

    def forward(self, hidden: Volume) -> Other:
        pooled = max_pool(hidden, (3, 3, 3), (1, 1, 1))
        branches = (
            self.b0(hidden),
            self.b1b(self.b1a(hidden)),
            self.b2b(self.b2a(hidden)),
            self.b3b(pooled),
        )
        return torch.cat(branches, 1)


class Head(nn.Module):
    """The classifier, a 1x1 convolution with a bias."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, CLASSES, 1)

    def forward(self, hidden: Volume) -> Other:
        return self.conv3d(hidden)


Triple = tuple[int, int, int]


def pad_same(
    hidden: Volume, kernel: Triple, stride: Triple, value: float = 0.0
) -> Float[Tensor, "b c T H W"]:
    """Pad so that each axis has ceil(length / stride) outputs. An odd row of padding goes to the end."""
    # Length 10, kernel 3, stride 2: ceil(10 / 2) = 5 outputs reach over (5 - 1) * 2 + 3 = 11 places, so one row is
    # added, at the end. PyTorch's own padding would add one at both ends and shift all windows.
    pads: list[int] = []
    for length, k, s in zip(reversed(hidden.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-length // s) - 1) * s + k - length, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(hidden, pads, value=value) if any(pads) else hidden


def max_pool(hidden: Volume, kernel: Triple, stride: Triple) -> Float[Tensor, "b c T H W"]:
    """Max pooling with SAME padding, where padded places are never the maximum."""
    return F.max_pool3d(pad_same(hidden, kernel, stride, -torch.inf), kernel, stride)
