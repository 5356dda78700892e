"""Sizes of nano-pusht: 8x8 tokens out of 4,096 a frame, clips of 8 frames (16 steps of the simulator)."""

from pathlib import Path

from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.families.pusht_network import PushTSpec
from vidjacobi.families.pusht_pixels import PatchSpec

FRAMES = 8  # of a clip
CONTEXT = FRAMES // 2  # of them given in a rollout; the others are predicted
RUNS = Path("runs/nano-pusht")

PATCHES = PatchSpec(levels=(8, 8, 8, 8), max_frames=FRAMES)
TRANSFORMER = PushTSpec(
    ModelSpec(
        dim=192,
        n_layers=5,
        n_heads=3,
        n_kv_heads=3,
        ffn_hidden_size=512,
        vocab_size=4096,
        rope_theta=1000.0,
        video_latent_shape=(FRAMES, 8, 8),
        num_video_frames=FRAMES,
    )
)
