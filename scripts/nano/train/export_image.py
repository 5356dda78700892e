"""Write nano-image as it ships: weights by the names of ``vidjacobi.families.nano_image``, config, some tokens.

    python scripts/nano export-image                                        # into out/nano_image
    python scripts/nano export-image --out vidjacobi/assets/nano_image      # in the place of the one that ships

The weights are bfloat16, the tokens those of 32 held-out pictures. Prints what was written, in bytes. The model card
is written by hand beside the weights.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from scripts.nano.render.scene_pictures import LABELS
from scripts.nano.train.encode_clips import load_tokens
from scripts.nano.train.encode_pictures import VIEWS
from scripts.nano.train.training_run import trained_state

HELD_OUT = 32

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
    """Write the files and say how large they are."""
    export(*trained_state(arguments.run / "last.pt"), arguments.out)
    pictures = load_tokens(arguments.run, "heldout")[::VIEWS][:HELD_OUT]  # of as many scenes
    np.save(arguments.out / "held_out_pictures.npy", pictures.numpy().astype(np.uint16))
    for name in ("config.json", "model.safetensors", "held_out_pictures.npy"):
        path = arguments.out / name
        path.chmod(0o644)
        print(f"{path.stat().st_size:>12,} {path}")
