"""nano-pusht in tiny, with random weights: frames of 8x8 pixels, 2x2 tokens out of 16."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.families.frame_tokenizer import FrameTokenizer
from vidjacobi.families.pusht import PushT
from vidjacobi.families.pusht_network import PushTNetwork, PushTSpec
from vidjacobi.families.pusht_pixels import PatchNetwork, PatchSpec

FRAMES = 8


def tiny_pusht(side: int = 2) -> PushT:
    """The family, of ``side`` x ``side`` patches of 4x4 pixels."""
    torch.manual_seed(0)
    trunk = ModelSpec(
        dim=24,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        ffn_hidden_size=32,
        vocab_size=16,
        video_latent_shape=(FRAMES, side, side),
        num_video_frames=FRAMES,
    )
    patches = PatchSpec(levels=(4, 4), patch=4, side=side, read=8, drawn=8, fine=4, max_frames=FRAMES)
    network, pictures = PushTNetwork(PushTSpec(trunk, near_width=4)), PatchNetwork(patches)
    for parameter in (*network.parameters(), *pictures.parameters()):
        torch.nn.init.normal_(parameter.requires_grad_(False), std=0.5)
    return PushT(network, FrameTokenizer(pictures, (4 * side, 4 * side), FRAMES))


def write_tiny_pusht(folder: Path, side: int = 2) -> Path:
    """The same as a folder of weights."""
    family = tiny_pusht(side)
    module = family.tokenizer.module
    assert isinstance(module, PatchNetwork)
    parts = {
        "transformer": (family.network.spec.to_config(), family.network.state_dict()),
        "tokenizer": (module.spec.to_config(), module.state_dict()),
    }
    for name, (config, state) in parts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
        save_file(
            {key: value.contiguous() for key, value in state.items()}, folder / name / "model.safetensors"
        )
    return folder
