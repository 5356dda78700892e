"""Checkpoints of random weights in the official layout, for tests and timings that depend on sizes only."""

import json
import shutil
from mmap import MAP_SHARED
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cosmos_adapter.checkpoint import without_weights
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.tokenizer.weights import save_tokenizer
from cosmos_adapter.transformer.network import CosmosTransformer, initialise
from cosmos_adapter.transformer.spec import ModelSpec
from cosmos_adapter.transformer.weights import CONFIG
from vidjacobi.errors import InvalidArgument

WEIGHTS = "model.pt"
TOKENIZER = "tokenizer"


def write_synthetic(
    folder: Path,
    spec: ModelSpec,
    codec: TokenizerSpec,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
) -> Path:
    """Write ``model.pt`` and ``config.json`` of a transformer, and ``tokenizer/`` of a video tokenizer.

    Names, shapes and dtype are those of a released checkpoint. The numbers are start values for training, so the
    probs of the model are nearly uniform. The transformer's weights are never in the memory of this process as a
    whole: the file is laid out without them and then filled in place through a memory map, page by page.

    Raises InvalidArgument if ``folder`` is not empty or the disk has no room.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument(f"{folder} exists and is not an empty folder: choose another or remove it")
    with without_weights():
        network, tokenizer = CosmosTransformer(spec).to(dtype), TokenizerNet(codec).to(dtype)
    wanted = sum(tensor.nbytes for net in (network, tokenizer) for tensor in net.state_dict().values())
    folder.mkdir(parents=True, exist_ok=True)
    # 1 % more than the tensors, for the names and headers of the files
    if (free := shutil.disk_usage(folder).free) < 1.01 * wanted:
        raise InvalidArgument(f"{folder} has room for {free / 1e9:.1f} GB, {wanted / 1e9:.1f} GB are needed")
    lay_out(network, folder / WEIGHTS)
    _fill(network, folder / WEIGHTS, seed)
    (folder / CONFIG).write_text(json.dumps(spec.to_config(), indent=2) + "\n", encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_tokenizer(TokenizerNet(codec).to(dtype), folder / TOKENIZER)
    return folder


def lay_out(network: CosmosTransformer, file: Path) -> None:
    """Write a ``torch.save`` file with the network's names and shapes, and with holes in place of its numbers.

    The holes read as zeros. The checksums in the zip file do not fit them, and PyTorch does not look at them.
    """
    shapes = {f"model.{name}": (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    with FakeTensorMode():
        state = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, file)


def _fill(network: CosmosTransformer, file: Path, seed: int) -> None:
    """Write start values into the file through a memory map."""
    # MAP_SHARED: what is written to the tensors goes to the file. The default mapping is private to the process.
    with torch.serialization.set_default_mmap_options(MAP_SHARED):
        state = torch.load(file, mmap=True, weights_only=True)
    network.load_state_dict({name.removeprefix("model."): t for name, t in state.items()}, assign=True)
    initialise(network.requires_grad_(False), seed=seed)
