"""Sizes of the world models that ship with the package: one video tokenizer, a transformer for each name."""

from cosmos_adapter.spec import ModelSpec
from cosmos_adapter.spec_tokenizer import TokenizerSpec

# The tokenizer is trained at nano's frame size. It is fully convolutional (its one attention runs over the
# places of a latent frame), so that the other models use the same weights at their own frame size.
TOKENIZER = TokenizerSpec(
    channels=64,
    channels_mult=(1, 2, 2),
    num_res_blocks=1,
    z_channels=16,
    embedding_dim=4,
    levels=(8, 8, 8, 8),
    patch_size=4,
    spatial_compression=8,
    temporal_compression=8,
    video_height=128,
    video_width=160,
    num_video_frames=33,
)

MODELS = {
    "nano": ModelSpec(
        dim=256,
        n_layers=6,
        n_heads=4,
        n_kv_heads=2,
        ffn_hidden_size=704,
        vocab_size=4096,
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
        vocab_size=4096,
        rope_theta=1000.0,
        video_latent_shape=(5, 12, 16),
        num_video_frames=33,
    ),
}
CONTEXT_FRAMES = 2  # latent frames given in a rollout; the others are the predicted ones


def frame_size(spec: ModelSpec) -> tuple[int, int]:
    """(height, width) in pixels of the frames whose tokens fill the model's grid."""
    return spec.grid.h * TOKENIZER.spatial_compression, spec.grid.w * TOKENIZER.spatial_compression
