"""Write nano-pusht as it ships: both networks in bfloat16, and held-out contexts with their actions for the bench.

    python scripts/nano pusht-export                            # into out/nano-pusht

Prints what was written, in bytes. The model card is written by hand beside the weights.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from scripts.nano.pusht.encode_pushes import load_token_store
from scripts.nano.pusht.pusht_sizes import CONTEXT, FRAMES, PATCHES, RUNS
from scripts.nano.pusht.train_push_world import plain_state
from scripts.nano.train.training_run import trained_state
from vidjacobi.families.pusht_network import PushTNetwork, PushTSpec

KEPT = 64  # held-out clips


def save_part(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """``config.json`` and ``model.safetensors`` in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    rounded = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}
    save_file(rounded, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def export_folder(runs: Path, folder: Path) -> None:
    """Both parts. Raises BadInput where one is not trained."""
    config, state = trained_state(runs / "tokenizer" / "last.pt")
    save_part(folder / "tokenizer", config, state)
    config, state = trained_state(runs / "transformer" / "last.pt")
    network = PushTNetwork(PushTSpec.from_config(config))
    plain = plain_state(state, PATCHES.levels)
    network.load_state_dict(plain)
    save_part(folder / "transformer", network.spec.to_config(), plain)


def export_contexts(runs: Path, folder: Path) -> None:
    """Tokens of the context of held-out clips, uint16 ``[n 4 8 8]``, and the actions of all 8 frames ``[n 7 4]``."""
    store = load_token_store(runs / "data", runs / "transformer", "heldout")
    tokens = store.tokens[:KEPT, :CONTEXT].unflatten(2, (PATCHES.side, PATCHES.side))
    np.save(folder / "held_out_contexts.npy", tokens.numpy().astype(np.uint16))
    np.save(folder / "held_out_actions.npy", store.actions[:KEPT, : FRAMES - 1].numpy())


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--runs", type=Path, default=RUNS)
    options.add_argument("--out", type=Path, default=Path("out/nano-pusht"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Write everything and say how large it is."""
    export_folder(arguments.runs, arguments.out)
    export_contexts(arguments.runs, arguments.out)
    for path in sorted(arguments.out.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            print(f"{path.stat().st_size:>12,} {path}")
