"""Write a world model as it ships: trained networks in bfloat16, and held-out contexts for the bench.

    python scripts/nano export                              # nano into out/nano: transformer and tokenizer
    python scripts/nano export --model micro --out vidjacobi/assets     # in the place of the one that ships

Prints what was written, in bytes. The model card is written by hand beside the weights.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.tokenizer.weights import save_tokenizer
from cosmos_adapter.transformer.spec import ModelSpec
from scripts.nano.train.encode_clips import load_tokens
from scripts.nano.train.model_sizes import CONTEXT_FRAMES, MODELS, frame_size
from scripts.nano.train.training_run import trained_state


def trained(run: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of a run in bfloat16. Raises BadInput if there are none."""
    _, state = trained_state(run / "last.pt")
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}


def export_tokenizer(run: Path, size: tuple[int, int], folder: Path) -> None:
    """``folder/config.json``, for frames of ``size`` (H, W) pixels, and ``folder/model.safetensors``."""
    config, _ = trained_state(run / "last.pt")
    spec = replace(TokenizerSpec.from_config(config), video_height=size[0], video_width=size[1])
    net = TokenizerNet(spec).to(torch.bfloat16)
    net.load_state_dict(trained(run))
    save_tokenizer(net, folder)


def export_transformer(run: Path, spec: ModelSpec, folder: Path) -> None:
    """``folder/config.json`` and ``folder/model.safetensors`` with the official ``model.`` prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.{name}": tensor.contiguous() for name, tensor in trained(run).items()}
    save_file(state, folder / "model.safetensors")
    config = json.dumps(spec.to_config(), indent=2) + "\n"
    (folder / "config.json").write_text(config, encoding="utf-8")


def export_contexts(run: Path, spec: ModelSpec, path: Path) -> None:
    """Tokens of the held-out clips' first 9 frames, uint16 ``[n 2 h w]``."""
    tokens = load_tokens(run, "heldout").unflatten(1, spec.video_latent_shape)
    np.save(path, tokens[:, :CONTEXT_FRAMES].numpy().astype(np.uint16))


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", choices=MODELS, default="nano")
    options.add_argument("--runs", type=Path, default=Path("runs"))
    options.add_argument("--out", type=Path, default=Path("out"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Write everything and say how large it is."""
    spec, run, folder = (
        MODELS[arguments.model],
        arguments.runs / arguments.model,
        arguments.out / arguments.model,
    )
    export_transformer(run / "transformer", spec, folder / "transformer")
    export_contexts(run / "transformer", spec, folder / "held_out_contexts.npy")
    stage = "sharp" if (run / "sharp").exists() else "tokenizer"
    export_tokenizer(run / stage, frame_size(arguments.model), folder / "tokenizer")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            print(f"{path.stat().st_size:>12,} {path}")
