"""The networks whose features of pictures are compared. Their weights are files that the user names.

Only "inception" gives FID (arXiv 1706.08500). Its network and its way to resize are those of ``torch-fidelity``,
which has the weights of the TensorFlow graph that FID was defined with.
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.eval.tensor_files import read_tensors
from vidjacobi.eval.transformers_folder import open_network
from vidjacobi.registry import lookup

Pictures = UInt8[Tensor, "b 3 H W"]
Features = Float[Tensor, "b f"]
POOL = "2048"  # torch-fidelity's name of the last pooling layer, whose output FID compares
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = (
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # pytorch-fid's has it too
)
SIDE = 224  # of what DINOv2 sees
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which DINOv2 was trained with


class LoadedNetwork(NamedTuple):
    """A network with its weights, from uint8 pictures [b 3 H W] to features [b f]; and the hash of its weights.

    ``other``: why its distance may not have the entry's label, empty where it may. ``config_sha256``: of the file
    that says how the network is made, where there is one.
    """

    network: nn.Module
    sha256: str
    other: str = ""
    config_sha256: str = ""


@dataclass(frozen=True)
class PictureNetwork:
    """An entry of NETWORKS.

    Attributes:
        label: name of the distance in every output.
        other_label: its name with weights that are not those that the label stands for.
        source: what the network is, and which of its layers is compared.
        resize: how a picture is made to fit it.
        load: from the weights that the user named.
    """

    label: str
    other_label: str
    source: str
    resize: str
    load: Callable[[Path], LoadedNetwork]


class _Pooled(nn.Module):
    """Inception's last pooling layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Pictures) -> Features:
        """Features of pictures of any size."""
        found: tuple[Features, ...] = self.network(pictures)
        return found[0]


class _Class(nn.Module):
    """DINOv2's class token behind the last norm."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, pictures: Pictures) -> Features:
        """Features of pictures of any size."""
        from torchvision.transforms.v2.functional import InterpolationMode, resize

        squares = resize(pictures, [SIDE, SIDE], InterpolationMode.BICUBIC, antialias=True)
        found: Features = self.network((squares.float() / 255 - self.mean) / self.std).pooler_output
        return found


def load_network(name: str, weights: Path | None, device: str | torch.device) -> LoadedNetwork:
    """The network ``name`` of NETWORKS on a device, with the weights that the user named.

    Raises InvalidArgument for an unknown name and without weights, BadCheckpoint for weights that do not fit.
    """
    found = lookup("network of pictures", name, NETWORKS)
    if weights is None:
        raise InvalidArgument(f"{found.label} needs --weights: {NEEDED[name]}")
    loaded = found.load(weights)
    return loaded._replace(network=loaded.network.eval().requires_grad_(False).to(device))


def _inception(path: Path) -> LoadedNetwork:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise InvalidArgument(f"FID needs torch-fidelity ({error}): pip install torch-fidelity") from error
    if not path.is_file():
        raise BadCheckpoint(f"{path}: no such file; FID needs {NEEDED['inception']}")
    content = path.read_bytes()
    # torch-fidelity would run whatever a file holds: it is given tensors that were read and written here
    tensors = dict(read_tensors(content, path))
    with tempfile.TemporaryDirectory() as folder:
        torch.save(tensors, copy := Path(folder) / "tensors.pth")
        try:
            network = FeatureExtractorInceptionV3(
                "inception", [POOL], feature_extractor_weights_path=str(copy)
            )
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BadCheckpoint(f"{path}: no weights of torch-fidelity's Inception ({reason})") from None
    sha256, other = hashlib.sha256(content).hexdigest(), ""
    if sha256 != INCEPTION_SHA256:
        other = f"{path.name} is not {INCEPTION_FILE} (sha256 {sha256[:8]}), so its distance is not FID"
    return LoadedNetwork(_Pooled(network), sha256, other)


def _dinov2(folder: Path) -> LoadedNetwork:
    network, _, sha256, config_sha256 = open_network(folder, "dinov2", ("Dinov2Model",), "DINOv2")
    return LoadedNetwork(_Class(network), sha256, config_sha256=config_sha256)


NEEDED = {
    "inception": f"{INCEPTION_FILE} of torch-fidelity's release v0.2.0",
    "dinov2": "a folder with a DINOv2 of transformers (config.json, model.safetensors), such as facebook's "
    "dinov2-large",
}
NETWORKS: dict[str, PictureNetwork] = {
    "inception": PictureNetwork(
        "FID",
        "FD-Inception",
        "Inception v3 of 2015-12-05 (torch-fidelity), last pooling layer",
        "to 299x299 as TensorFlow 1 does, whatever the proportions",
        _inception,
    ),
    # arXiv 2306.04675
    "dinov2": PictureNetwork(
        "FD-DINOv2",
        "FD-DINOv2",
        "DINOv2 of transformers, class token behind the last norm",
        f"to {SIDE}x{SIDE}, bicubic with antialiasing, whatever the proportions",
        _dinov2,
    ),
}
