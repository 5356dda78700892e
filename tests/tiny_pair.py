"""A tiny random world model on disk, in the layout of the shipped one: 32x48 pixels, 4x6 tokens a latent frame."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.tokenizer.weights import save_tokenizer
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import ModelSpec

MODEL = ModelSpec(
    dim=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    ffn_hidden_size=48,
    vocab_size=64,
    video_latent_shape=(5, 4, 6),
    num_video_frames=33,
)
TOKENIZER = TokenizerSpec(
    channels=8,
    channels_mult=(1, 2, 2),
    num_res_blocks=1,
    embedding_dim=3,
    levels=(4, 4, 4),
    spatial_compression=8,
    temporal_compression=8,
    patch_size=4,
    video_height=32,
    video_width=48,
    num_video_frames=33,
)


def write_pair(folder: Path, spoil: float | None = None) -> Path:
    """Write the checkpoint; ``spoil`` overwrites the output head with that value (NaN: a broken model)."""
    generator = torch.Generator().manual_seed(0)
    network = CosmosTransformer(MODEL)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = 1 + 0.2 * noise if parameter.ndim == 1 else 0.3 * noise
    if spoil is not None:
        network.output.weight.data.fill_(spoil)
    transformer = folder / "transformer"
    transformer.mkdir(parents=True)
    state = {f"model.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, transformer / "model.safetensors")
    (transformer / "config.json").write_text(json.dumps(MODEL.to_config()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_tokenizer(TokenizerNet(TOKENIZER), folder / "tokenizer")
    return folder
