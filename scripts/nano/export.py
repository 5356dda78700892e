"""Write a world model as it ships: trained networks in bfloat16, and held-out contexts for the bench.

    python scripts/nano/export.py                              # nano, with the tokenizer, into vidjacobi/assets
    python scripts/nano/export.py --model micro                 # its tokenizer is nano's
    python scripts/nano/export.py --out out/early               # somewhere else

Prints what was written, in bytes. The model card is written by hand beside the weights.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from specs import CONTEXT_FRAMES, MODELS, TOKENIZER
from tokens import load_tokens

from cosmos_adapter.spec import ModelSpec
from cosmos_adapter.tokenizer_files import save_tokenizer
from cosmos_adapter.tokenizer_net import TokenizerNet


def trained(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run in bfloat16. Raises ``FileNotFoundError`` if there are none."""
    path = run / "last.pt"
    if not path.exists():
        raise FileNotFoundError(f"no {path}: train first")
    state = torch.load(path, weights_only=True)["model"]
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}


def export_tokenizer(run: Path, folder: Path) -> None:
    """``folder/config.json`` and ``folder/model.safetensors``."""
    net = TokenizerNet(TOKENIZER).to(torch.bfloat16)
    net.load_state_dict(trained(run))
    save_tokenizer(net, folder)


def export_transformer(run: Path, spec: ModelSpec, folder: Path) -> None:
    """``folder/config.json`` and ``folder/model.safetensors`` with the official ``model.`` prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.{name}": tensor for name, tensor in trained(run).items()}
    save_file(state, folder / "model.safetensors")
    config = json.dumps(spec.to_config(), indent=2) + "\n"
    (folder / "config.json").write_text(config, encoding="utf-8")


def export_contexts(run: Path, spec: ModelSpec, path: Path) -> None:
    """Tokens of the held-out clips' first 9 frames, uint16 ``[n 2 h w]``."""
    tokens = load_tokens(run, "heldout").unflatten(1, spec.video_latent_shape)
    np.save(path, tokens[:, :CONTEXT_FRAMES].numpy().astype(np.uint16))


def main() -> None:
    """Write everything and say how large it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="nano")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("vidjacobi/assets"))
    arguments = parser.parse_args()
    spec, run, folder = (
        MODELS[arguments.model],
        arguments.runs / arguments.model,
        arguments.out / arguments.model,
    )
    export_transformer(run / "transformer", spec, folder / "transformer")
    export_contexts(run / "transformer", spec, folder / "held_out_contexts.npy")
    if (run / "tokenizer").exists():
        export_tokenizer(run / "tokenizer", folder / "tokenizer")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            print(f"{path.stat().st_size:>12,} {path}")


if __name__ == "__main__":
    main()
