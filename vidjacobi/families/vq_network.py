"""The convolutional image tokenizer of many authors (Esser et al. 2021), with the parameter names of diffusers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument

Picture = Float[Tensor, "b c h w"]
EPSILON = 1e-6


@dataclass(frozen=True)
class VqSpec:
    """Sizes. Field names are those of the config of diffusers' ``VQModel``.

    Attributes:
        block_out_channels: channels at each resolution, which is halved from one to the next.
        layers_per_block: residual blocks at each; the decoder has one more.
        latent_channels: between the networks and the codebook's convolutions.
        num_vq_embeddings, vq_embed_dim: codes, and numbers of each; None: as many as ``latent_channels``.
        norm_num_groups: of all norms.
        mid_block_add_attention: whether cells attend to each other at the lowest resolution.
    """

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    num_vq_embeddings: int
    vq_embed_dim: int | None = None
    norm_num_groups: int = 32
    mid_block_add_attention: bool = True

    def __post_init__(self) -> None:
        if not self.block_out_channels or min(self.block_out_channels) < 1:
            raise InvalidArgument(f"block_out_channels={self.block_out_channels!r} is not possible")
        if any(channels % self.norm_num_groups for channels in self.block_out_channels):
            raise InvalidArgument(
                f"channels {self.block_out_channels} are no multiples of norm_num_groups={self.norm_num_groups}"
            )

    @property
    def width(self) -> int:
        """Numbers of a code."""
        return self.vq_embed_dim or self.latent_channels

    @property
    def stride(self) -> int:
        """Pixels of a cell's side."""
        return 2 ** (len(self.block_out_channels) - 1)


class Residual(nn.Module):
    """Two convolutions, each behind a norm and SiLU, added to the input."""

    def __init__(self, spec: VqSpec, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(spec.norm_num_groups, inside, EPSILON)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.norm2 = nn.GroupNorm(spec.norm_num_groups, outside, EPSILON)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Picture) -> Float[Tensor, "b C h w"]:
        """Same resolution."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(hidden)))


class CellAttention(nn.Module):
    """All cells attend to all cells, with one head, added to the input."""

    def __init__(self, spec: VqSpec, channels: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(spec.norm_num_groups, channels, EPSILON)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Picture) -> Picture:
        """Same resolution."""
        cells = self.group_norm(x).flatten(2).transpose(1, 2)
        read = F.scaled_dot_product_attention(self.to_q(cells), self.to_k(cells), self.to_v(cells))
        return x + self.to_out[0](read).transpose(1, 2).unflatten(2, x.shape[2:])


class Resized(nn.Module):
    """Half or twice the resolution by one convolution."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, 1 if up else 2, padding=1 if up else 0)

    def forward(self, x: Picture) -> Float[Tensor, "b c H W"]:
        """Upwards each cell is repeated; downwards there is padding on the right and below alone."""
        return self.conv(F.interpolate(x, scale_factor=2.0) if self.up else F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """Residual blocks of one resolution, and the way to the next."""

    def __init__(self, spec: VqSpec, inside: int, outside: int, blocks: int, up: bool, last: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            Residual(spec, inside if number == 0 else outside, outside) for number in range(blocks)
        )
        self.resized = "upsamplers" if up else "downsamplers"
        self.add_module(self.resized, nn.ModuleList([] if last else [Resized(outside, up)]))

    def forward(self, x: Picture) -> Float[Tensor, "b C H W"]:
        """To the next resolution."""
        for module in (*self.resnets, *getattr(self, self.resized)):
            x = module(x)
        return x


class Middle(nn.Module):
    """Residual blocks at the lowest resolution, with attention between them."""

    def __init__(self, spec: VqSpec, channels: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            [CellAttention(spec, channels)] if spec.mid_block_add_attention else []
        )
        self.resnets = nn.ModuleList(Residual(spec, channels, channels) for _ in range(2))

    def forward(self, x: Picture) -> Picture:
        """Same resolution."""
        for module in (self.resnets[0], *self.attentions, self.resnets[1]):
            x = module(x)
        return x


class Side(nn.Module):
    """The encoder, or with ``up`` the decoder.

    ``crossings``: modules for the lowest resolutions, each called with a picture and that of another network at the
    same stage. Stages are the levels, and the middle behind them or in front of them.
    """

    def __init__(self, spec: VqSpec, up: bool, crossings: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        channels = spec.block_out_channels[::-1] if up else spec.block_out_channels
        first, last = (spec.latent_channels, 3) if up else (3, spec.latent_channels)
        self.up, self.levels = up, "up_blocks" if up else "down_blocks"
        self.conv_in = nn.Conv2d(first, channels[0], 3, padding=1)
        inside, levels = channels[0], []
        for number, outside in enumerate(channels):
            end = number == len(channels) - 1
            levels.append(Level(spec, inside, outside, spec.layers_per_block + up, up, end))
            inside = outside
        self.add_module(self.levels, nn.ModuleList(levels))
        self.mid_block = Middle(spec, spec.block_out_channels[-1])
        self.conv_norm_out = nn.GroupNorm(spec.norm_num_groups, channels[-1], EPSILON)
        self.conv_out = nn.Conv2d(channels[-1], last, 3, padding=1)
        self.cross_att_blocks = nn.ModuleList(crossings)

    def forward(self, x: Picture) -> Float[Tensor, "b C H W"]:
        """Pixels to cells, or cells to pixels."""
        return self.stages(x)[0]

    def stages(
        self, x: Picture, beside: Sequence[Tensor] = ()
    ) -> tuple[Float[Tensor, "b C H W"], list[Tensor]]:
        """The result, and the picture after each stage. ``beside``: those of the other network."""
        levels, features = list(getattr(self, self.levels)), []
        first = 0 if self.up else len(levels) - len(self.cross_att_blocks)
        x = self.conv_in(x)
        for number, module in enumerate([self.mid_block, *levels] if self.up else [*levels, self.mid_block]):
            x = module(x)
            if 0 <= number - first < len(self.cross_att_blocks):
                x = self.cross_att_blocks[number - first](x, beside[number])
            features.append(x)
        return self.conv_out(F.silu(self.conv_norm_out(x))), features


class Codebook(nn.Module):
    """The vectors of the codes."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, width)

    def nearest(self, vectors: Float[Tensor, "*b d"]) -> Int[Tensor, "*b"]:
        """The code of each vector."""
        return (
            torch.cdist(vectors.reshape(-1, vectors.shape[-1]), self.embedding.weight)
            .argmin(-1)
            .view(vectors.shape[:-1])
        )


class VqNetwork(nn.Module):
    """Pixels in [-1, 1] to codes and back."""

    def __init__(self, spec: VqSpec) -> None:
        super().__init__()
        self.spec, width = spec, spec.width
        self.stride, self.codes = spec.stride, spec.num_vq_embeddings
        self.encoder, self.decoder = Side(spec, up=False), Side(spec, up=True)
        self.quantize = Codebook(spec.num_vq_embeddings, width)
        self.quant_conv = nn.Conv2d(spec.latent_channels, width, 1)
        self.post_quant_conv = nn.Conv2d(width, spec.latent_channels, 1)

    def codes_of(self, pixels: Float[Tensor, "b 3 H W"]) -> Int[Tensor, "b h w"]:
        """The nearest code of each cell."""
        return self.quantize.nearest(self.quant_conv(self.encoder(pixels)).permute(0, 2, 3, 1))

    def pixels_of(self, codes: Int[Tensor, "b h w"]) -> Float[Tensor, "b 3 H W"]:
        """Not clamped."""
        return self.decoder(self.post_quant_conv(self.quantize.embedding(codes).permute(0, 3, 1, 2)))
