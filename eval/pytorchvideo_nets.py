"""Kinetics networks of pytorchvideo, for users who have one of its ``.pyth`` files. Their distances are not FVD."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.eval.tensor_files import read_tensors


def load_network(name: str, path: Path | None) -> tuple[nn.Module, str]:
    """(the hub network ``name`` with the weights in ``path``, which returns logits; the sha256 of the file).

    Raises InvalidArgument without a path or without pytorchvideo, BadCheckpoint for a file that does not fit.
    """
    if path is None:
        raise InvalidArgument(
            f"features pv_{name} need the network's weights: download the .pyth file of {name} from "
            "pytorchvideo's model zoo and name it"
        )
    if not path.is_file():
        raise BadCheckpoint(f"{path}: no such file")
    network = build_network(name)
    content = path.read_bytes()
    # training checkpoints: the weights are beside the state of the optimiser
    state = read_tensors(content, path).get("model_state")
    if not isinstance(state, Mapping):
        raise BadCheckpoint(f"{path} has no `model_state`, so it is not a file of pytorchvideo's model zoo")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BadCheckpoint(f"{path} does not fit {name}: {reason}") from None
    return network.eval().requires_grad_(False), hashlib.sha256(content).hexdigest()


def build_network(name: str) -> nn.Module:
    """The hub network with random weights, without the softmax at the end of some of them. Fetches nothing."""
    try:
        from pytorchvideo.models import hub
    except ImportError as error:
        raise InvalidArgument(
            f"features pv_{name} need pytorchvideo ({error}): pip install pytorchvideo"
        ) from error
    network = getattr(hub, name)(pretrained=False)
    network.blocks[-1].activation = None  # the last block is the classifier
    return network
