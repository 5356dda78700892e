"""Tiny random models, and the golden fixtures where the checkout has them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import ModelSpec

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden"
REFERENCE = GOLDEN.parent / "reference"

TINY = ModelSpec(
    dim=48,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    ffn_hidden_size=80,
    vocab_size=96,
    video_latent_shape=(3, 3, 4),
    num_video_frames=17,
)
TINY_YARN = replace(
    TINY,
    head_dim=22,
    apply_yarn=True,
    yarn_scale=2.0,
    yarn_beta_fast=4.0,
    yarn_beta_slow=1.0,
    original_latent_shape=(3, 40, 64),
)
TINY_TEXT = replace(TINY, apply_abs_pos_emb=True, begin_of_video=True, insert_cross_attn=True, context_dim=20)
TINY_SPECS = {"base": TINY, "yarn": TINY_YARN, "text": TINY_TEXT}


def tiny_network(
    spec: ModelSpec = TINY, dtype: torch.dtype = torch.float32, seed: int = 0, scale: float = 0.2
) -> CosmosTransformer:
    """A random network whose probs are neither uniform nor one-hot, and whose norm weights differ from 1."""
    generator = torch.Generator().manual_seed(seed)
    network = CosmosTransformer(spec)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = (1 + scale * noise if parameter.ndim == 1 else scale * noise).to(dtype)
    return network.eval()


def golden_case(name: str) -> dict[str, Any]:
    """A golden transformer: ``io`` tensors, ``meta``, ``config`` and ``path``. Skips if absent."""
    folder = GOLDEN / name
    if not folder.is_dir():
        pytest.skip(f"golden fixtures are not here: {name}")
    from safetensors.torch import load_file

    return {
        "path": folder,
        "io": load_file(folder / "io.safetensors"),
        "meta": json.loads((folder / "meta.json").read_text()),
        "config": json.loads((folder / "config.json").read_text()),
    }
