"""From frames to features, with a fixed network and a fixed way to show it the frames. Every report names both.

Only "i3d" gives FVD. Distances of other networks have the name of the network in every output, because their values
cannot be compared with any published FVD or JEDi.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.eval import i3d, i3d_weights, vjepa2
from vidjacobi.eval.pytorchvideo_nets import load_network
from vidjacobi.registry import lookup
from vidjacobi.shapes import Frames

Clips = UInt8[Tensor, "b T H W 3"]
Picture = Float[Tensor, "1 c H W"]
Square = Float[Tensor, "1 c s s"]
Pixels = Float[Tensor, "c T s s"]  # s: the side of the network's input


class Loaded(NamedTuple):
    """A network with its weights.

    Attributes:
        network: from pixels [b c T s s] to features [b f].
        facts: what the protocol says of it, the hash of its weights among them.
        side: of its square input in pixels, where the weights decide it.
        group: it takes frames in groups of so many.
    """

    network: nn.Module
    facts: dict[str, Any]
    side: int | None = None
    group: int = 1


@dataclass(frozen=True)
class FeatureSet:
    """An entry of FEATURES: a network, and what it expects to see.

    Attributes:
        label: name of the distance in every output.
        source: what the network is.
        load: from the weights that the user named, or None, to the network.
        side: side of its square input in pixels, unless the weights decide it.
        least_frames: fewest frames that its poolings leave something of.
        mean, std: the network sees (value / 255 - mean) / std.
    """

    label: str
    source: str
    load: Callable[[Path | None], Loaded]
    side: int
    least_frames: int
    mean: float = 0.45
    std: float = 0.225


@dataclass(frozen=True)
class Extractor:
    """A feature network with its protocol, made by ``load_extractor``.

    Attributes:
        label: "FVD" for the network that defines it, or a name that cannot be mistaken for it.
        protocol: everything that a feature depends on except the frames. It goes into every report.
        network: from pixels [1 c T s s] to features [1 f].
        prepare: from uint8 frames to the pixels that the network sees.
        device: where the network is.
    """

    label: str
    protocol: dict[str, Any]
    network: nn.Module = field(repr=False)
    prepare: Callable[[Frames], Pixels] = field(repr=False)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def protocol_id(self) -> str:
        """A short hash of the protocol. Features with the same one may be used together."""
        text = json.dumps(self.protocol, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check_frames(self, count: int) -> None:
        """Raise BadInput where clips of so many frames are none that the network takes."""
        least, group = self.protocol["least_frames"], self.protocol.get("frames_in_groups_of", 1)
        if count < least:
            raise BadInput(
                f"{self.label} needs clips of at least {number_of(least, 'frame')}, and these have {count}"
            )
        if count % group:
            # its first convolution would leave the last frames out without a word
            raise BadInput(
                f"{self.label} takes frames in groups of {group}, and these clips have {count}: show "
                f"{count - count % group}"
            )

    @torch.no_grad()
    def __call__(self, frames: Clips) -> Float[Tensor, "b f"]:
        """Features (float32, on the CPU) of uint8 RGB clips, computed one by one, so that batches have no influence.

        Raises InvalidArgument for other tensors, BadInput for clips that are too short for the network.
        """
        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != torch.uint8 or 0 in frames.shape:
            raise InvalidArgument(
                f"clips must be uint8 [b T H W 3] and not empty, got {frames.dtype} {list(frames.shape)}"
            )
        self.check_frames(frames.shape[1])
        # TF32 convolutions would make the features of a GPU differ from those of a CPU in the third digit.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            features = [self.network(self.prepare(clip.to(self.device))[None])[0].cpu() for clip in frames]
        return torch.stack(features)


def load_extractor(
    name: str = "i3d",
    weights: Path | None = None,
    resize: str = "squash",
    device: str | torch.device = "cpu",
) -> Extractor:
    """The feature set ``name`` of FEATURES, with weights that are found (i3d only) or that the user names.

    Raises InvalidArgument for an unknown name or rule, BadCheckpoint for weights that are missing or wrong.
    """
    features = lookup("feature set", name, FEATURES)
    rule = lookup("resize rule", resize, RESIZES)
    network, facts, side, group = features.load(weights)
    side = side or features.side
    # the range of what the network sees, from black to white: [-1, 1] for FVD
    low, high = ((value - features.mean) / features.std for value in (0.0, 1.0))
    protocol = {
        "distance": features.label,
        "features": name,
        "network": features.source,
        "feature": f"{i3d.CLASSES} Kinetics logits before the softmax, averaged over time",
        **facts,
        "resize": f"{resize}: {rule.text.format(side=side)}",
        "range": f"[{low:.4g}, {high:.4g}]",
        "least_frames": features.least_frames,
        "dtype": "float32",
    } | ({"frames_in_groups_of": group} if group > 1 else {})

    # Frame by frame, so that the float copy of a large clip is never in memory as a whole.
    def prepare(frames: Frames) -> Pixels:
        pictures = [rule.apply(frame.permute(2, 0, 1)[None].float(), side)[0] for frame in frames]
        return (torch.stack(pictures, 1) / 255.0 - features.mean) / features.std

    chosen = torch.device(device)
    return Extractor(features.label, protocol, network.to(chosen), prepare, chosen)


def squash(picture: Picture, side: int) -> Square:
    """A picture of ``side`` x ``side`` whatever its proportions were, as FVD was defined.

    TensorFlow 1 sampled from the corners of pixels instead of their centres, which no PyTorch implementation
    repeats. The same 10 real clips, resized in the two ways, are at a distance of 10 from each other. For
    comparison, it is 1367 if the first frame is repeated instead.
    """
    return _bilinear(picture, (side, side))


def short_side(picture: Picture, side: int) -> Square:
    """A picture whose shorter side was scaled to ``side``, cut to the square in its centre."""
    height, width = picture.shape[2:]
    short = min(height, width)
    scaled = _bilinear(picture, (math.ceil(height * side / short), math.ceil(width * side / short)))
    top, left = (scaled.shape[2] - side) // 2, (scaled.shape[3] - side) // 2
    return scaled[:, :, top : top + side, left : left + side]


def _bilinear(picture: Picture, size: tuple[int, int]) -> Float[Tensor, "1 c h w"]:
    return F.interpolate(picture, size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Resize:
    """How a frame is made to fit the network, and what the protocol says about it."""

    apply: Callable[[Picture, int], Square]
    text: str


# what both rules share, as the protocol says it
HOW = "bilinear, no antialiasing, half-pixel centres"
RESIZES: dict[str, Resize] = {
    "squash": Resize(squash, f"{{side}}x{{side}} whatever the proportions, {HOW}"),
    "short_side": Resize(short_side, f"shorter side to {{side}}, {HOW}, then the centre square"),
}


def _load_i3d(weights: Path | None) -> Loaded:
    found = i3d_weights.load(weights)
    facts = {"weights": found.format, "weights_sha256": found.sha256, "bn_eps": found.bn_eps}
    return Loaded(found.network, facts)


def _load_vjepa2(weights: Path | None) -> Loaded:
    return Loaded(*vjepa2.load_network(weights))


# Distances of these networks are called FVD-pv_NAME, so that nobody takes them for FVD.
def _pytorchvideo(name: str, side: int, least_frames: int) -> FeatureSet:
    def load(weights: Path | None) -> Loaded:
        network, sha256 = load_network(name, weights)
        return Loaded(network, {"weights": "pytorchvideo", "weights_sha256": sha256})

    return FeatureSet(f"FVD-pv_{name}", f"pytorchvideo {name}, all frames", load, side, least_frames)


# name on the command line -> network; the last numbers are its side in pixels and its fewest frames
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
    # a folder of transformers; side and fewest frames are those of its configuration
    "vjepa2": FeatureSet(
        "MMD-vjepa2", "V-JEPA 2 of transformers, all frames", _load_vjepa2, 256, 2, mean=0.0, std=1.0
    ),
    "pv_i3d_r50": _pytorchvideo("i3d_r50", 224, 8),
    "pv_slow_r50": _pytorchvideo("slow_r50", 224, 8),
    "pv_c2d_r50": _pytorchvideo("c2d_r50", 224, 8),
    "pv_x3d_xs": _pytorchvideo("x3d_xs", 160, 4),
    "pv_x3d_s": _pytorchvideo("x3d_s", 160, 13),
    "pv_x3d_m": _pytorchvideo("x3d_m", 224, 16),
}
