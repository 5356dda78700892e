"""A transformer and the video tokenizer whose tokens it models: with their weights, and without, for estimates."""

from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

import torch
from torch import nn

from cosmos_adapter.checkpoint import without_weights
from cosmos_adapter.tokenizer.model import CosmosTokenizer, NetCodec
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.tokenizer.stream_state import StreamState
from cosmos_adapter.tokenizer.weights import load_tokenizer, read_spec
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import PRESETS, ModelSpec
from cosmos_adapter.transformer.weights import find_spec, find_weights, load_model, read_weights
from vidjacobi.errors import BadCheckpoint, InvalidArgument, number_of
from vidjacobi.invariance import BLOCK
from vidjacobi.models.outline import Arithmetic, Outline
from vidjacobi.runtime import Runtime

TEXT_LENGTH = 512  # vectors that the released text encoder returns, padding included
META = torch.device("meta")


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


# Without weights: the same networks on torch's meta device.


def released(name: str, dtype: torch.dtype) -> Outline:
    """A released model by its size, 4b, 5b, 12b or 13b, with the 720p tokenizer."""
    return outline_of(name, PRESETS[name.upper()].spec, TokenizerSpec(), dtype)


def published(repository: str, dtype: torch.dtype) -> Outline | None:
    """A released model by its Hugging Face repository, which is not contacted; None for any other repository."""
    sizes = [size for size, preset in PRESETS.items() if repository in preset.repositories]
    return replace(released(sizes[0], dtype), name=repository) if sizes else None


def shipped(name: str, dtype: torch.dtype) -> Outline:
    """A bundled model: nano or micro."""
    with resources.as_file(resources.files("vidjacobi") / "assets" / name) as folder:
        return in_folder(name, folder, folder / "tokenizer", dtype)


def folder(path: str, dtype: torch.dtype) -> Outline:
    """The checkpoint in a folder, and the tokenizer beside it or, where there is none, the sizes of the released one.

    Tensors are memory-mapped and not read. Raises BadCheckpoint.
    """
    return in_folder(path, Path(path), Path(path) / "tokenizer", dtype)


def in_folder(name: str, weights: Path, codec: Path, dtype: torch.dtype) -> Outline:
    """A checkpoint folder and a tokenizer folder, for frames of the size that the transformer's grid asks for."""
    inner = weights / "transformer"
    files = find_weights(inner if inner.is_dir() else weights)
    spec = find_spec(read_weights(files), files[0].parent)
    return outline_of(name, spec, read_spec(codec), dtype)


def outline_of(name: str, spec: ModelSpec, codec: TokenizerSpec, dtype: torch.dtype) -> Outline:
    """A transformer and a tokenizer of these sizes, in ``dtype``."""
    with without_weights():
        network, tokenizer = CosmosTransformer(spec), TokenizerNet(codec)
    network.requires_grad_(False).to(dtype)
    tokenizer.requires_grad_(False).to(dtype).to(memory_format=torch.channels_last_3d)
    resident = {"weights": tensor_bytes(network), "position tables": network.tables.nbytes(META, dtype)}
    model = CosmosModel(network)
    text = 0
    if spec.insert_cross_attn:
        entries = network.context_entries(
            torch.empty(1, TEXT_LENGTH, spec.context_dim, dtype=dtype, device=META)
        )
        text = sum(part.nbytes for entry in entries if entry is not None for part in entry)
        resident["text keys and values"] = text
        model = CosmosModel(network, entries)
    net = NetCodec(tokenizer)
    side = codec.spatial_compression
    return Outline(
        name=name,
        model=model,
        to_tokens=net.to_tokens,
        to_pixels=net.to_pixels,
        stream_bytes=partial(stream_bytes, net, spec),
        resident=resident,
        tokenizer_bytes=tensor_bytes(tokenizer),
        arithmetic=arithmetic_of(network, dtype, text),
        frame_size=(spec.grid.h * side, spec.grid.w * side),
        stride_t=codec.temporal_compression,
        max_frames=min(codec.num_video_frames, 1 + (spec.grid.t - 1) * codec.temporal_compression),
    )


def stream_bytes(net: NetCodec, spec: ModelSpec) -> int:
    """Bytes that the decoder's layers keep of a clip that goes through one latent frame at a time."""
    state, latent = StreamState(), torch.zeros(1, 1, spec.grid.h, spec.grid.w, dtype=torch.long, device=META)
    with torch.no_grad():
        for _ in range(2):  # after the first frame the keys and values of one frame are kept, then of two
            net.next_pixels(latent, state)
    return state.nbytes


def tensor_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers of a module."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def arithmetic_of(network: CosmosTransformer, dtype: torch.dtype, text: int) -> Arithmetic:
    """What a pass of the network reads and multiplies; ``text`` are the bytes of a text context's keys and values."""
    # The keys and values of a text are projected once for a clip, so these matrices do not belong to a pass.
    once = (".cross_attention.wk.", ".cross_attention.wv.")
    matrices = [
        parameter
        for name, parameter in network.named_parameters()
        if parameter.ndim == 2 and name != "tok_embeddings.weight" and not any(part in name for part in once)
    ]
    cache = network.make_cache(1, BLOCK)
    spec = network.spec
    return Arithmetic(
        matrix_parameters=sum(matrix.numel() for matrix in matrices),
        matrix_bytes=sum(matrix.nbytes for matrix in matrices),
        kv_bytes=sum(part.nbytes for layer in cache for part in layer) // BLOCK,
        # 2 * head_size for the score of a query and a slot, and as many to add its value
        attention_flops=4 * spec.n_heads * spec.head_size * spec.n_layers,
        score_rows=spec.n_heads * spec.n_layers,
        text_bytes=text,
    )
