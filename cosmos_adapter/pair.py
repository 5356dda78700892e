"""A transformer and the video tokenizer whose tokens it models."""

from functools import partial
from importlib import resources
from pathlib import Path

from torch import nn

from cosmos_adapter.tokenizer.model import CosmosTokenizer, NetCodec
from cosmos_adapter.tokenizer.weights import load_tokenizer
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.weights import load_model
from vidjacobi.errors import BadCheckpoint, InvalidArgument, number_of
from vidjacobi.runtime import Runtime


def load_shipped(name: str, runtime: Runtime) -> tuple[CosmosModel, CosmosTokenizer]:
    """A bundled world model of ``vidjacobi/assets``: nano, or micro, which has another grid and vocabulary."""
    with resources.as_file(resources.files("vidjacobi") / "assets" / name) as folder:
        return load_pair(folder, folder / "tokenizer", runtime)


load_nano, load_micro = partial(load_shipped, "nano"), partial(load_shipped, "micro")


def load_pair(
    weights: Path, codec: Path, runtime: Runtime, run_torchscript: bool = False
) -> tuple[CosmosModel, CosmosTokenizer]:
    """The model in a checkpoint folder (or file) and the tokenizer in a folder, as a pair that fits together.

    The checkpoint may be in a folder ``transformer`` inside ``weights``. Raises BadCheckpoint where files are missing
    or damaged, or where the two do not fit together.
    """
    model = load_transformer(weights, runtime)
    tokenizer = load_tokenizer(codec, runtime.device, runtime.dtype, run_torchscript)
    # They fit together if a latent frame has as many tokens, out of the same vocabulary, on both sides.
    grid = model.grid_for(tokenizer.max_frames)
    height, width = (side // tokenizer.stride_space for side in tokenizer.frame_size)
    if (grid.h, grid.w) != (height, width) or model.vocab_size != tokenizer.vocab_size:
        raise BadCheckpoint(
            f"{weights} and {codec} do not belong together: the model reads "
            f"{grid.h}x{number_of(grid.w, 'token')} a latent "
            f"frame out of {model.vocab_size}, the tokenizer makes {height}x{width} out of {tokenizer.vocab_size}"
        )
    return model, tokenizer


def load_transformer(weights: Path, runtime: Runtime) -> CosmosModel:
    """The model in a checkpoint folder, in its folder ``transformer``, or in a file. Raises BadCheckpoint."""
    inner = weights / "transformer"
    return load_model(inner if inner.is_dir() else weights, runtime.device, runtime.dtype)


def modules_of(model: CosmosModel, tokenizer: CosmosTokenizer) -> tuple[nn.Module, nn.Module]:
    """The two modules that hold all weights of a pair.

    Raises InvalidArgument for a tokenizer that runs TorchScript files, whose constants cannot be moved.
    """
    if not isinstance(tokenizer.codec, NetCodec):
        raise InvalidArgument(
            "a tokenizer that runs TorchScript files cannot be offloaded: leave out --run-torchscript or --offload"
        )
    return model.network, tokenizer.codec.net
