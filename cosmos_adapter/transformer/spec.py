"""Sizes and switches of the Cosmos autoregressive models; field names are the official config's."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid


@dataclass(frozen=True)
class Yarn:
    """How rotary frequencies are stretched for grids larger than those of the first training stage; see rope.py.

    Attributes:
        scale: slow frequencies are divided by it.
        beta_fast, beta_slow: turns over the original length from which, and up to which, a frequency is fast or slow.
        original_shape: latent grid (t, h, w) of the first training stage.
    """

    scale: float
    beta_fast: float
    beta_slow: float
    original_shape: tuple[int, int, int]


@dataclass(frozen=True)
class ModelSpec:
    """Everything that decides the shapes and the arithmetic of one transformer. The defaults are the 4B model.

    ``head_dim`` None means ``dim / n_heads``, and ``pad_to_multiple_of`` None position tables without padding.
    ``begin_of_video`` puts a special token with id ``vocab_size`` before
    the grid, and gives the embedding, but not the output projection, a row for it and padding to a multiple of 64
    rows. Source: the official configs of Cosmos 1.0 and Predict1, which agree field by field.
    """

    dim: int = 4096
    n_layers: int = 16
    n_heads: int = 32
    n_kv_heads: int = 8
    head_dim: int | None = None
    ffn_hidden_size: int = 14336
    vocab_size: int = 64000
    norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    video_latent_shape: tuple[int, int, int] = (5, 40, 64)
    num_video_frames: int = 33
    pad_to_multiple_of: int | None = 64
    apply_yarn: bool = False
    yarn_scale: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    original_latent_shape: tuple[int, int, int] | None = None
    apply_abs_pos_emb: bool = False
    begin_of_video: bool = False
    insert_cross_attn: bool = False
    insert_cross_attn_every_k_layers: int = 1
    context_dim: int = 1024

    def __post_init__(self) -> None:
        """Raises InvalidArgument for sizes that cannot be built."""
        counts = ("dim", "n_layers", "n_heads", "n_kv_heads", "ffn_hidden_size", "vocab_size")
        for name in (*counts, "pad_to_multiple_of", "insert_cross_attn_every_k_layers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_heads % self.n_kv_heads:
            raise InvalidArgument(f"n_heads={self.n_heads} is not a multiple of n_kv_heads={self.n_kv_heads}")
        if self.head_dim is None and self.dim % self.n_heads:
            raise InvalidArgument(
                f"dim={self.dim} is not a multiple of n_heads={self.n_heads}: give head_dim"
            )
        if self.head_size % 2 or self.head_size < 6:
            raise InvalidArgument(f"3-D RoPE needs an even head size of at least 6, got {self.head_size}")
        if len(self.video_latent_shape) != 3 or min(self.video_latent_shape) < 1:
            raise InvalidArgument(f"video_latent_shape must be (t, h, w) >= 1, got {self.video_latent_shape}")
        if self.apply_yarn:
            _ = self.yarn  # raises where a number is missing

    @property
    def yarn(self) -> "Yarn":
        """The numbers of YaRN. Raises InvalidArgument if one of them is not set."""
        scale, fast, slow = numbers = (self.yarn_scale, self.yarn_beta_fast, self.yarn_beta_slow)
        if scale is None or fast is None or slow is None or self.original_latent_shape is None:
            raise InvalidArgument(
                "YaRN needs yarn_scale, yarn_beta_fast, yarn_beta_slow and original_latent_shape, got "
                f"{numbers} and {self.original_latent_shape}"
            )
        return Yarn(scale, fast, slow, self.original_latent_shape)

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.head_dim or self.dim // self.n_heads

    @property
    def query_group(self) -> int:
        """Query heads that share one key/value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def grid(self) -> Grid:
        """Latent grid of a whole clip."""
        return Grid(*self.video_latent_shape)

    @property
    def prefix(self) -> int:
        """Number of special tokens before the grid: 0 or 1."""
        return int(self.begin_of_video)

    @property
    def positions(self) -> int:
        """Number of positions of a whole clip, special tokens included."""
        return self.grid.tokens + self.prefix

    @property
    def table_rows(self) -> int:
        """Number of rows of the position tables; the official code calls it ``max_seq_len``."""
        return round_up(self.positions, self.pad_to_multiple_of or 1)

    @property
    def embedding_rows(self) -> int:
        """Number of rows of the token embedding."""
        return round_up(self.vocab_size + 1, 64) if self.begin_of_video else self.vocab_size

    @property
    def frame_stride(self) -> int:
        """Frames for each latent frame, except the first, which stands for one frame."""
        t = self.video_latent_shape[0]  # 33 frames in 5 latent frames: (33 - 1) / (5 - 1) = 8
        return max(1, (self.num_video_frames - 1) // (t - 1)) if t > 1 else 1

    def has_cross_attention(self, layer: int) -> bool:
        """Whether the layer of this index attends to a text context."""
        return self.insert_cross_attn and layer % self.insert_cross_attn_every_k_layers == 0

    def to_config(self) -> dict[str, Any]:
        """The fields as a dict that is ready for JSON, and ``max_seq_len``, which follows from them."""
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**fields, "max_seq_len": self.table_rows}


@dataclass(frozen=True)
class Preset:
    """A released model: its sizes, the top-p that its authors recommend, and where it is published."""

    spec: ModelSpec
    top_p: float
    repositories: tuple[str, str]  # (Cosmos 1.0, Predict1) on Hugging Face


_4B = ModelSpec()
_12B = replace(
    _4B,
    dim=5120,
    n_layers=40,
    head_dim=128,
    apply_yarn=True,
    yarn_scale=2.0,
    yarn_beta_fast=4.0,
    yarn_beta_slow=1.0,
    original_latent_shape=(3, 40, 64),
)


# 5B and 13B are 4B and 12B with cross-attention to a text, an absolute embedding and a begin-of-video token.
def _with_text(spec: ModelSpec) -> ModelSpec:
    return replace(spec, apply_abs_pos_emb=True, begin_of_video=True, insert_cross_attn=True)


def _published(size: str) -> tuple[str, str]:
    return f"nvidia/Cosmos-1.0-Autoregressive-{size}", f"nvidia/Cosmos-Predict1-{size}"


PRESETS: dict[str, Preset] = {
    "4B": Preset(_4B, 0.8, _published("4B")),
    "5B": Preset(_with_text(_4B), 0.7, _published("5B-Video2World")),
    "12B": Preset(_12B, 0.9, _published("12B")),
    "13B": Preset(_with_text(_12B), 0.8, _published("13B-Video2World")),
}


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``value``."""
    return -(-value // multiple) * multiple
