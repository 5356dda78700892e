"""The sizes of a Cosmos-style discrete video tokenizer, and checks that they fit together."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cosmos_adapter.checkpoint import field_values
from vidjacobi.errors import InvalidArgument

OFFICIAL_NAME = "CausalDiscreteFactorizedVideoTokenizer"


@dataclass(frozen=True)
class TokenizerSpec:
    """The constructor arguments of the official network, under their names, and the clips that it was trained on.

    The defaults are those of the released DV8x16x16 at 720p: 33 frames of 640x1024 become 5x40x64 tokens out of
    64,000. Heights and widths are in pixels. ``levels`` has the number of codes of each latent channel. The last
    group of fields is ours: it names the clips that the tokenizer is meant for. Raises InvalidArgument for sizes
    that cannot be built.
    """

    channels: int = 128
    channels_mult: tuple[int, ...] = (2, 4, 4)
    num_res_blocks: int = 2
    in_channels: int = 3
    out_channels: int = 3
    z_channels: int = 16
    z_factor: int = 1
    embedding_dim: int = 6
    levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5)  # 8**3 * 5**3 = 64,000 tokens
    patch_size: int = 4
    patch_method: str = "haar"
    spatial_compression: int = 16
    temporal_compression: int = 8
    attn_resolutions: tuple[int, ...] = (32,)
    resolution: int = 1024
    dropout: float = 0.0
    num_groups: int = 1
    legacy_mode: bool = False
    name: str = OFFICIAL_NAME
    # the clips that it was trained on
    video_height: int = 640
    video_width: int = 1024
    num_video_frames: int = 33

    def __post_init__(self) -> None:
        for problem in _problems(self):  # only the most basic one is shown
            raise InvalidArgument(f"tokenizer config: {problem}")

    @property
    def vocab_size(self) -> int:
        """Number of tokens: the product of the levels."""
        return math.prod(self.levels)

    @property
    def spatial_steps(self) -> int:
        """How often the network halves height and width, after the wavelet transform. Cosmos: 16 / 4, so twice."""
        return int(math.log2(self.spatial_compression // self.patch_size))

    @property
    def temporal_steps(self) -> int:
        """How often the network halves time, after the wavelet transform. Cosmos: 8 / 4, so once."""
        return int(math.log2(self.temporal_compression // self.patch_size))

    @property
    def patch_channels(self) -> int:
        """Wavelet bands of one colour channel: patch_size cubed."""
        return self.patch_size**3

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TokenizerSpec":
        """The defaults overlaid by those keys of a ``config.json`` that are fields here; other keys are ignored.

        Raises InvalidArgument for values of the wrong type and for sizes that do not fit together.
        """
        return cls(**field_values(cls, config))

    def to_config(self) -> dict[str, Any]:
        """The dictionary that ``from_config`` reads, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _is_power_of_two(n: int) -> bool:
    return n >= 1 and n & (n - 1) == 0


def _problems(s: TokenizerSpec) -> list[str]:
    """Why no network can be built from ``s``, the most basic reasons first; empty if one can."""
    sizes = (s.patch_size, s.spatial_compression, s.temporal_compression)
    if not all(_is_power_of_two(n) for n in sizes):
        return ["patch_size, spatial_compression and temporal_compression must be powers of two"]
    if min(s.spatial_compression, s.temporal_compression) < s.patch_size:
        return ["spatial_compression and temporal_compression must be at least patch_size"]
    # The decoder's rule (network.up_steps) never doubles after level 0, and after the last level only if space has
    # more steps than time.
    rungs = len(s.channels_mult) - 1
    low, high = sorted((s.temporal_steps, s.spatial_steps))
    needed = high if low < high else high + 1
    checks = [
        (s.spatial_steps >= s.temporal_steps, "spatial_compression must be at least temporal_compression"),
        (needed <= rungs, f"channels_mult needs at least {needed + 1} entries for this compression"),
        (len(s.levels) == s.embedding_dim, f"levels {s.levels} needs one entry per embedding_dim"),
        (all(n >= 2 for n in s.levels), f"levels {s.levels} must all be at least 2"),
        (s.patch_method == "haar", f"patch_method {s.patch_method!r} is not supported, only 'haar'"),
        (s.num_groups == 1, "num_groups other than 1 is not supported"),
        (s.z_factor == 1, "z_factor other than 1 is not a discrete tokenizer"),
        (s.dropout == 0.0, "dropout other than 0 is not supported"),
        (not s.legacy_mode, "legacy_mode is not supported"),
        (not _attends_in_levels(s), "attention inside the levels (attn_resolutions) is not supported"),
        (s.video_height % s.spatial_compression == 0, "video_height must be a multiple of the compression"),
        (s.video_width % s.spatial_compression == 0, "video_width must be a multiple of the compression"),
        (
            (s.num_video_frames - 1) % s.temporal_compression == 0,
            "num_video_frames must be 1 + k*compression",
        ),
    ]
    return [problem for ok, problem in checks if not ok]


def _attends_in_levels(s: TokenizerSpec) -> bool:
    """Whether the official network would put attention outside its middle block."""
    # The official code compares the width of the maps, counted from ``resolution``: 1024 / 4 = 256, 128 and 64
    # here. The released attn_resolutions, 32, is none of them.
    resolutions = {s.resolution // s.patch_size >> level for level in range(len(s.channels_mult))}
    return bool(resolutions & set(s.attn_resolutions))
