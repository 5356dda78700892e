"""From a folder of released or converted weights to a model that can be decoded.

The official layout is ``model.pt`` (or a ``.safetensors`` file) and an optional ``config.json``. The converted
layout is what ``save_pretrained`` writes, possibly in shards. The sizes come from a preset, overlaid by the known
keys of ``config.json``, and must agree with the shapes of the tensors.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cosmos_adapter.checkpoint import (
    LISTED,
    StateDict,
    field_values,
    load_strict,
    read_json,
    read_state_dict,
    without_weights,
)
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import PRESETS, ModelSpec
from vidjacobi.errors import BadCheckpoint, InvalidArgument

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SHARD = "model_model_mp_"
# Keys of a config and the only value that is supported; other values name architectures that are not built here.
FIXED = {
    "norm_type": "rmsnorm",
    "rope_dim": "3D",
    "pytorch_rope_version": "v2",
    "use_qk_normalization": True,
    "vision_encoder": None,
    "mm_projector": None,
}
# Optional keys of the official config that say nothing where they are null: the preset's value stays.
NOT_SAID = ("context_dim", "num_video_frames", "video_latent_shape")


def load_model(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> CosmosModel:
    """The model in the folder (or file) ``path``, on ``device``, in ``dtype`` or, for None, as it is stored.

    Raises BadCheckpoint if there are no weights or if they or their config cannot be used.
    """
    network = load_network(path)
    stored = network.tok_embeddings.weight.dtype
    return CosmosModel(network.to(device=device, dtype=dtype or stored).requires_grad_(False))


def load_network(path: Path) -> CosmosTransformer:
    """The network in the folder (or file) ``path``, on the CPU, in its stored dtype. Raises BadCheckpoint."""
    files = find_weights(path)
    state = read_weights(files)
    folder = files[0].parent
    spec = find_spec(state, folder)
    with without_weights():
        network = CosmosTransformer(spec)
    load_strict(network, state, str(folder))
    return network


def find_weights(path: Path) -> list[Path]:
    """The weight files of a folder: of a sharded index, ``model.safetensors``, ``model.pt``, or the only candidate.

    Raises BadCheckpoint where there is none or more than one, and for a tensor-parallel shard.
    """
    if not path.exists():
        raise BadCheckpoint(f"no checkpoint {path}")
    if path.is_file():
        return [_not_a_shard(path)]
    if (path / INDEX).is_file():
        return _shards(path / INDEX)
    for name in ("model.safetensors", "model.pt"):
        if (path / name).is_file():
            return [path / name]
    candidates = sorted(file for suffix in ("safetensors", "pt") for file in path.glob(f"*.{suffix}"))
    if not candidates:
        raise BadCheckpoint(f"no weights in {path}: put model.pt or model.safetensors there")
    _not_a_shard(candidates[0])
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise BadCheckpoint(f"several weight files in {path} ({names}): name the one to load")
    return candidates


def _not_a_shard(file: Path) -> Path:
    if file.name.startswith(SHARD):
        raise BadCheckpoint(
            f"{file} is one tensor-parallel shard of a model, and shards are not merged here: "
            "use the unsharded model.pt of the release, or merge the shards with the script that made them"
        )
    return file


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    # Only names of files beside the index: a path could lead anywhere.
    there = {entry.name for entry in index.parent.iterdir()}
    absent = [name[:80] if isinstance(name, str) else "no name" for name in names if not _is_in(there, name)]
    if absent or not names:
        listed = ", ".join(dict.fromkeys(absent[:LISTED])) or "none at all"
        raise BadCheckpoint(f"{index} names files that are not beside it: {listed}")
    return [index.parent / name for name in sorted(set(names))]


def _is_in(names: set[str], name: object) -> bool:
    return isinstance(name, str) and name in names


def read_weights(files: list[Path]) -> StateDict:
    """The tensors of all files under their official names, without the prefix ``model.``.

    ``_extra_state`` entries, which training in FP8 left behind, are skipped. Raises BadCheckpoint.
    """
    state: StateDict = {}
    for file in files:
        for name, tensor in read_state_dict(file).items():
            if "_extra_state" in name:
                continue
            key = name.removeprefix("model.")
            if key in state:
                raise BadCheckpoint(f"{file} holds {key} twice (with and without the prefix 'model.')")
            if not tensor.is_floating_point():
                raise BadCheckpoint(f"{file}: {name} holds {tensor.dtype}, not floating-point weights")
            state[key] = tensor
    return state


def find_spec(state: StateDict, folder: Path) -> ModelSpec:
    """The sizes of the network: those of a preset, overlaid by ``config.json``, compared with the tensors.

    The preset is the one with the same tensor shapes, or the one that the folder is named after. Raises BadCheckpoint
    where neither a preset nor a config says the sizes, or where they do not agree with the tensors.
    """
    sizes = tensor_sizes(state)
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    name = preset_name(sizes, folder.name)
    if config is None and name is None:
        raise BadCheckpoint(
            f"the sizes in {folder} are those of no released model ({', '.join(PRESETS)}): put its {CONFIG} there"
        )
    source = str(folder / CONFIG) if config is not None else f"the preset {name}"
    base = PRESETS[name or "4B"].spec
    spec = overlay(base, config or {}, source)
    # Official configs do not say it. An embedding with more rows than the vocabulary has one for the special token.
    if config is not None and "begin_of_video" not in config and "embedding_rows" in sizes:
        spec = replace(spec, begin_of_video=sizes["embedding_rows"] > spec.vocab_size)
    wrong = [
        f"{k} is {_size(spec, k)} but the tensors say {v}" for k, v in sizes.items() if _size(spec, k) != v
    ]
    if wrong:
        raise BadCheckpoint(f"{source} does not fit the weights in {folder}: {'; '.join(wrong)}")
    return spec


def tensor_sizes(state: StateDict) -> dict[str, Any]:
    """The sizes that the shapes of the tensors tell; those of tensors that are missing are left out."""

    def axis(name: str, index: int) -> int | None:
        tensor = state.get(name)
        return tensor.shape[index] if tensor is not None and tensor.ndim > index else None

    layers = [
        int(name.split(".")[1])
        for name in state
        if name.startswith("layers.") and name.split(".")[1].isdigit()
    ]
    # For 4B: queries [32 * 128, 4096] and keys [8 * 128, 4096], with a norm over 128: 32 and 8 heads.
    head = axis("layers.0.attention.q_norm.weight", 0)
    queries, keys = axis("layers.0.attention.wq.weight", 0), axis("layers.0.attention.wk.weight", 0)
    sizes = {
        "dim": axis("tok_embeddings.weight", 1),
        "n_layers": max(layers) + 1 if layers else None,
        "head_size": head,
        "n_heads": queries // head if queries and head else None,
        "n_kv_heads": keys // head if keys and head else None,
        "ffn_hidden_size": axis("layers.0.feed_forward.w1.weight", 0),
        "vocab_size": axis("output.weight", 0),
        "embedding_rows": axis("tok_embeddings.weight", 0),
        "insert_cross_attn": any(".cross_attention." in name for name in state),
        "context_dim": axis("layers.0.cross_attention.wk.weight", 1),
    }
    return {key: value for key, value in sizes.items() if value is not None}


def preset_name(sizes: Mapping[str, Any], folder: str) -> str | None:
    """The released model with these tensor sizes, else the one that the folder is named after, else None."""
    for name, preset in PRESETS.items():
        if sizes and all(_size(preset.spec, key) == value for key, value in sizes.items()):
            return name
    named = [name for name in sorted(PRESETS, key=len, reverse=True) if name in folder.upper()]
    return named[0] if named else None


def _size(spec: ModelSpec, key: str) -> Any:
    return getattr(spec, key)


def overlay(base: ModelSpec, config: Mapping[str, Any], source: str) -> ModelSpec:
    """``base`` with the known keys of ``config``; unknown keys are ignored.

    Raises BadCheckpoint for an unsupported architecture and for impossible values; ``source`` names the config in
    messages.
    """
    for key, supported in FIXED.items():
        if config.get(key, supported) not in (supported, None):
            raise BadCheckpoint(f"{source}: {key}={config[key]!r} is not supported, only {supported!r}")
    try:
        return replace(base, **field_values(ModelSpec, without_nulls(config, base)))
    except InvalidArgument as error:
        raise BadCheckpoint(f"{source}: {error}") from None


def without_nulls(config: Mapping[str, Any], base: ModelSpec) -> dict[str, Any]:
    """A config in which null stands only where it stands for itself, such as no padding.

    The official code takes ``n_kv_heads: null`` for as many heads as queries have, and ``apply_yarn: null`` for no.
    """
    meant = {"n_kv_heads": config.get("n_heads", base.n_heads), "apply_yarn": False}
    return {
        key: meant.get(key) if value is None else value
        for key, value in config.items()
        if value is not None or key not in NOT_SAID
    }
