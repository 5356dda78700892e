"""Networks out of folders as their authors publish them, every tensor accounted for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cosmos_adapter.checkpoint import load_strict, read_json, read_state_dict, without_weights
from vidjacobi.errors import BadCheckpoint
from vidjacobi.families.trunk import ATTENTION, head_of
from vidjacobi.runtime import Runtime

StateDict = dict[str, Tensor]
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def from_transformers(
    network: Any,
    folder: Path,
    runtime: Runtime,
    published: str,
    unused: str | None = None,
    leftovers: tuple[str, ...] = (),
    attention: str = ATTENTION[0],
    config: Any = None,
) -> Any:
    """A network that ``save_pretrained`` wrote, by its class.

    Args:
        published: where such folders are found, for the message.
        unused: the beginning of the names of parameters that nothing here looks at, which may be missing.
        leftovers: the ends of names that old files have besides, of what is no weight.
        attention: one that the class offers.
        config: of the network; None: the folder's, which is of the same class.

    Raises BadCheckpoint for files that are missing, damaged, or hold other tensors than the network has.
    """
    if not (folder / "config.json").is_file():
        raise BadCheckpoint(
            f"{folder} has no config.json: name a folder that transformers wrote, with its weights. Published: "
            f"{published}"
        )
    read_json(folder / "config.json")
    try:
        made, info = network.from_pretrained(
            folder,
            dtype=runtime.dtype,
            attn_implementation=attention,
            config=config,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadCheckpoint(f"{folder} cannot be read as {network.__name__} ({reason})") from error
    found = {kind: sorted(map(str, info.get(kind, ()))) for kind in ("missing_keys", "unexpected_keys")}
    if unused is not None:
        found["missing_keys"] = [name for name in found["missing_keys"] if not name.startswith(unused)]
    found["unexpected_keys"] = [name for name in found["unexpected_keys"] if not name.endswith(leftovers)]
    found["mismatched_keys"] = [str(key) for key in info.get("mismatched_keys", ())]
    if wrong := {kind: names for kind, names in found.items() if names}:
        words = "; ".join(f"{kind} ({len(names)}): {', '.join(names[:8])}" for kind, names in wrong.items())
        raise BadCheckpoint(f"{folder} does not fit {network.__name__}: {words}")
    return made.to(runtime.device).requires_grad_(False)


def weights_of(path: Path, wanted: str, inside: tuple[str, ...]) -> StateDict:
    """The tensors of a file, or of the only weights in a folder; ``inside``: keys that may hold them.

    ``wanted``: which file is needed and where it is published. Raises BadCheckpoint.
    """
    if not path.exists():
        raise BadCheckpoint(f"no checkpoint {path}: {wanted}")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise BadCheckpoint(f"{path} must hold one file of weights, found {names}: {wanted}")
    return read_state_dict(files[0], inside)


def sizes_of(path: Path) -> dict[str, Any]:
    """What a ``config.json`` beside weights says; nothing where there is none."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    return read_json(file) if file.is_file() else {}


def llama_of(
    state: Mapping[str, Tensor], heads: int, where: Path, runtime: Runtime, **options: Any
) -> nn.Module:
    """A ``LlamaModel`` as large as its tensors, which have the names of ``transformers``. Raises BadCheckpoint."""
    from transformers import LlamaConfig, LlamaModel
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    try:
        vocab, dim = state["embed_tokens.weight"].shape
        kv = state["layers.0.self_attn.k_proj.weight"].shape[0] * heads // dim
        ffn = state["layers.0.mlp.gate_proj.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise BadCheckpoint(f"{where} holds no Llama: {error} is missing or of another shape") from None
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=dim,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        attn_implementation=ATTENTION[0],
        **options,
    )
    with without_weights():
        network = LlamaModel(config)
    load_strict(network, state, str(where))
    network.rotary_emb = LlamaRotaryEmbedding(config)  # its table is no weight, and was made without numbers
    return network.to(runtime.device, runtime.dtype).requires_grad_(False)


def linear_of(weight: Tensor, runtime: Runtime) -> nn.Linear:
    """A head without bias."""
    return head_of(weight.to(runtime.device, runtime.dtype))
