"""A random checkpoint with nano-image's layout, which loads in no time."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.families.nano_image import Network

CLASSES = ["cave", "kitchen", "meadow"]
RANK, PROMPT = 6, 3
SPEC = ModelSpec(
    dim=24,
    n_layers=2,
    n_heads=2,
    n_kv_heads=1,
    ffn_hidden_size=32,
    vocab_size=8064,
    rope_theta=100.0,
    video_latent_shape=(1, 16, 20),
    num_video_frames=1,
    begin_of_video=True,
)


def write_checkpoint(folder: Path) -> Path:
    """Its files in a new folder."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = Network(SPEC, RANK, len(CLASSES), PROMPT)
    state = {name: 0.5 * torch.randn(part.shape) for name, part in network.state_dict().items()}
    save_file({name: part.to(torch.bfloat16) for name, part in state.items()}, folder / "model.safetensors")
    config = {**SPEC.to_config(), "rank": RANK, "prompt": PROMPT, "classes": CLASSES}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
