"""Frames to features: one fixed network and one fixed way of showing it the frames, both on record.

Only "i3d" gives FVD. The other networks' distances carry the network's name in every output, because their
values cannot be compared with any published FVD.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval import i3d, i3d_weights
from vidjacobi.eval.pytorchvideo_nets import load_network
from vidjacobi.registry import lookup
from vidjacobi.shapes import Frames

Clips = UInt8[Tensor, "b T H W 3"]
Picture = Float[Tensor, "1 c H W"]
Square = Float[Tensor, "1 c s s"]
Pixels = Float[Tensor, "c T s s"]  # s: the side of the network's input


@dataclass(frozen=True)
class FeatureSet:
    """A network to be had: what it is called and what it wants to see.

    Attributes:
        label: name of the distance in every output.
        source: what the network is.
        load: (weights named by the user or None) to (network, facts about its weights).
        side: of its square input.
        least_frames: fewer do not come through its poolings.
        mean, std: pixels are (value / 255 - mean) / std.
    """

    label: str
    source: str
    load: Callable[[Path | None], tuple[nn.Module, dict[str, Any]]]
    side: int
    least_frames: int
    mean: float = 0.45
    std: float = 0.225


@dataclass(frozen=True)
class Extractor:
    """A feature network with its protocol. ``load_extractor`` makes one.

    Attributes:
        label: "FVD" for the network that defines it, else a name that cannot be mistaken for it.
        protocol: everything that a feature depends on except the frames; goes into every report.
    """

    label: str
    protocol: dict[str, Any]
    network: nn.Module = field(repr=False)
    prepare: Callable[[Frames], Pixels] = field(repr=False)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def protocol_id(self) -> str:
        """Short hash of the protocol: features of equal ids may be mixed."""
        text = json.dumps(self.protocol, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @torch.no_grad()
    def __call__(self, frames: Clips) -> Float[Tensor, "b f"]:
        """Features (float32, on the CPU) of uint8 RGB clips. They do not depend on how clips are batched.

        Raises InvalidArgument for other tensors, BadInput for clips that are too short for the network.
        """
        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != torch.uint8 or 0 in frames.shape:
            raise InvalidArgument(
                f"clips must be uint8 [b T H W 3] and not empty, got {frames.dtype} {list(frames.shape)}"
            )
        least = self.protocol["least_frames"]
        if frames.shape[1] < least:
            raise BadInput(
                f"{self.label} needs clips of at least {least} frames, and these have {frames.shape[1]}"
            )
        # TF32 convolutions would make a GPU's features differ from a CPU's in the third digit
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            features = [self.network(self.prepare(clip.to(self.device))[None])[0].cpu() for clip in frames]
        return torch.stack(features)


def load_extractor(
    name: str = "i3d",
    weights: Path | None = None,
    resize: str = "squash",
    device: str | torch.device = "cpu",
) -> Extractor:
    """The feature set ``name`` of FEATURES, with weights found (i3d only) or named by the user.

    Raises InvalidArgument for an unknown name or rule, BadCheckpoint for weights that are missing or others.
    """
    features = lookup("feature set", name, FEATURES)
    rule = lookup("resize rule", resize, RESIZES)
    network, facts = features.load(weights)
    low, high = ((value - features.mean) / features.std for value in (0.0, 1.0))
    protocol = {
        "distance": features.label,
        "features": name,
        "network": features.source,
        **facts,
        "feature": f"{i3d.CLASSES} Kinetics logits in front of the softmax, averaged over time",
        "resize": f"{resize}: {rule.text.format(side=features.side)}",
        "range": f"[{low:.4g}, {high:.4g}]",
        "least_frames": features.least_frames,
        "dtype": "float32",
    }

    def prepare(frames: Frames) -> Pixels:
        pictures = [rule.apply(frame.permute(2, 0, 1)[None].float(), features.side)[0] for frame in frames]
        return (torch.stack(pictures, 1) / 255.0 - features.mean) / features.std

    chosen = torch.device(device)
    return Extractor(features.label, protocol, network.to(chosen), prepare, chosen)


def squash(picture: Picture, side: int) -> Square:
    """To ``side`` x ``side`` without keeping proportions, as FVD was defined.

    TensorFlow 1 sampled from corners instead of pixel centres, which no PyTorch implementation repeats: 10 real
    clips shown in the two ways are at a distance of 10 (1367 if their first frame is frozen).
    """
    return _bilinear(picture, (side, side))


def short_side(picture: Picture, side: int) -> Square:
    """The shorter side to ``side``, then the centre square."""
    height, width = picture.shape[2:]
    short = min(height, width)
    scaled = _bilinear(picture, (math.ceil(height * side / short), math.ceil(width * side / short)))
    top, left = (scaled.shape[2] - side) // 2, (scaled.shape[3] - side) // 2
    return scaled[:, :, top : top + side, left : left + side]


def _bilinear(picture: Picture, size: tuple[int, int]) -> Float[Tensor, "1 c h w"]:
    return F.interpolate(picture, size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Resize:
    """How a frame is made to fit the network, and its words in the protocol."""

    apply: Callable[[Picture, int], Square]
    text: str


HOW = "bilinear, no antialiasing, half-pixel centres"
RESIZES: dict[str, Resize] = {
    "squash": Resize(squash, f"{{side}}x{{side}} whatever the proportions, {HOW}"),
    "short_side": Resize(short_side, f"shorter side to {{side}}, {HOW}, then the centre square"),
}


def _load_i3d(weights: Path | None) -> tuple[nn.Module, dict[str, Any]]:
    found = i3d_weights.load(weights)
    facts = {"weights": found.format, "weights_sha256": found.sha256, "bn_eps": found.bn_eps}
    return found.network, facts


def _pytorchvideo(name: str, side: int, least_frames: int) -> FeatureSet:
    def load(weights: Path | None) -> tuple[nn.Module, dict[str, Any]]:
        network, sha256 = load_network(name, weights)
        return network, {"weights": "pytorchvideo", "weights_sha256": sha256}

    return FeatureSet(f"FVD-pv_{name}", f"pytorchvideo {name}, all frames", load, side, least_frames)


FEATURES: dict[str, FeatureSet] = {
    "i3d": FeatureSet(
        "FVD",
        "Inception-v1 I3D of the TF-hub module i3d-kinetics-400",
        _load_i3d,
        i3d.SIDE,
        i3d.LEAST_FRAMES,
        mean=0.5,
        std=0.5,
    ),
    "pv_i3d_r50": _pytorchvideo("i3d_r50", 224, 8),
    "pv_slow_r50": _pytorchvideo("slow_r50", 224, 8),
    "pv_c2d_r50": _pytorchvideo("c2d_r50", 224, 8),
    "pv_x3d_xs": _pytorchvideo("x3d_xs", 160, 4),
    "pv_x3d_s": _pytorchvideo("x3d_s", 160, 13),
    "pv_x3d_m": _pytorchvideo("x3d_m", 224, 16),
}
