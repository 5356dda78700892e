"""Write nano-image as it ships: bfloat16 weights by the names of ``vidjacobi.families.nano_image``, and its config.

    python scripts/nano export-image                                        # into out/nano_image
    python scripts/nano export-image --out vidjacobi/assets/nano_image      # in the place of the one that ships

Prints what was written, in bytes. The model card is written by hand beside the weights.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from scripts.nano.render.scene_pictures import LABELS
from scripts.nano.train.training_run import trained_state

NAMES = {  # of a layer: Cosmos', transformers'
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "attention_norm": "input_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "ffn_norm": "post_attention_layernorm",
}


def as_shipped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that ship."""
    made = {
        "embedding.codes": state["tok_embeddings.codes"],
        "embedding.map": state["tok_embeddings.map"],
        "classes": state["classes"],
        "head.codes": state["output.codes"],
        "head.map": state["output.map"],
        "model.norm.weight": state["norm.weight"],
    }
    for name, tensor in state.items():
        if name.startswith("layers."):
            _, index, inner = name.split(".", 2)
            made[f"model.layers.{index}.{NAMES[inner.removesuffix('.weight')]}.weight"] = tensor
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in made.items()}


def export(config: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path) -> None:
    """``folder/config.json`` and ``folder/model.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(as_shipped(state), folder / "model.safetensors")
    sizes = {"rank": state["output.map"].shape[0], "prompt": state["classes"].shape[1]}
    said = {**config, **sizes, "classes": list(LABELS)}
    (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--run", type=Path, default=Path("runs/nano_image"))
    options.add_argument("--out", type=Path, default=Path("out/nano_image"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Write both files and say how large they are."""
    export(*trained_state(arguments.run / "last.pt"), arguments.out)
    for name in ("config.json", "model.safetensors"):
        path = arguments.out / name
        path.chmod(0o644)
        print(f"{path.stat().st_size:>12,} {path}")
