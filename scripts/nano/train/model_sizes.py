"""Sizes of the world models: a video tokenizer and a transformer for each name.

"nano" and "micro" ship with the package; the other tokenizers are there to compare codes.
"""

from dataclasses import replace

from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.transformer.spec import ModelSpec

# Tokenizers are fully convolutional (their one attention runs over the places of a latent frame): all are trained on
# pieces of nano's frames, and micro's then works at its own frame size.
NANO = TokenizerSpec(
    channels=64,
    channels_mult=(1, 2, 2),
    num_res_blocks=1,
    z_channels=16,
    embedding_dim=5,
    levels=(24, 7, 4, 4, 3),
    patch_size=4,
    spatial_compression=8,
    temporal_compression=8,
    video_height=128,
    video_width=160,
    num_video_frames=33,
)


def with_codes(levels: tuple[int, ...], spatial: int = 8) -> TokenizerSpec:
    """The tokenizer with other codes, or with fewer and larger blocks."""
    return replace(NANO, levels=levels, embedding_dim=len(levels), spatial_compression=spatial)


TOKENIZERS = {
    "nano": NANO,
    "micro": with_codes((8, 8, 8, 8)),
    "codes3780": with_codes((20, 7, 3, 3, 3)),
    "codes16000": with_codes((20, 8, 5, 5, 4)),
    "codes64000": with_codes((8, 8, 8, 5, 5, 5)),
    "blocks16": with_codes((8, 8, 8, 5, 5, 5), 16),
}

MODELS = {
    "nano": ModelSpec(
        dim=256,
        n_layers=8,
        n_heads=4,
        n_kv_heads=2,
        ffn_hidden_size=704,
        vocab_size=TOKENIZERS["nano"].vocab_size,
        rope_theta=1000.0,
        video_latent_shape=(5, 16, 20),
        num_video_frames=33,
    ),
    "micro": ModelSpec(
        dim=192,
        n_layers=5,
        n_heads=4,
        n_kv_heads=2,
        ffn_hidden_size=512,
        vocab_size=TOKENIZERS["micro"].vocab_size,
        rope_theta=1000.0,
        video_latent_shape=(5, 12, 16),
        num_video_frames=33,
    ),
}
CONTEXT_FRAMES = 2  # latent frames given in a rollout; the others are the predicted ones


def frame_size(name: str) -> tuple[int, int]:
    """(height, width) in pixels of the frames whose tokens fill the grid of a model."""
    grid, block = MODELS[name].grid, TOKENIZERS[name].spatial_compression
    return grid.h * block, grid.w * block
