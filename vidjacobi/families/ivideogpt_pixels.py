"""iVideoGPT's image tokenizer: context frames of 16x16 codes, and new frames of 4x4 that look at the context frames.

Official code, commit 2ae0381. Two networks each way; that of new frames attends to what the other one makes of the
context frames, at every low resolution.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cosmos_adapter.checkpoint import field_values, load_strict, without_weights
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.released import sizes_of, weights_of
from vidjacobi.families.vq_network import Codebook, Picture, Side, VqSpec
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

PUBLISHED = "the folder tokenizer, with its config.json, of one of the hub's thuml/ivideogpt-*"
HEADS, GROUPS = 4, 32  # of the attention to context frames, whatever the rest has
Clip = Float[Tensor, "b T 3 H W"]


@dataclass(frozen=True)
class PairSpec(VqSpec):
    """Sizes; field names are the authors'.

    Attributes:
        num_dyn_embeddings: codes of new frames.
        context_length: context frames.
        max_att_resolution: the largest side of pictures that attend to context frames.
        resolution: pixels of a frame's side.
        patch_size: cells of a side that make one code of a new frame.
    """

    num_dyn_embeddings: int = 8192
    context_length: int = 2
    max_att_resolution: int = 32
    resolution: int = 64
    patch_size: int = 4

    @property
    def side(self) -> int:
        """Codes of a side of a context frame."""
        return self.resolution // self.stride


class ContextAttention(nn.Module):
    """Cells of a new frame attend to those of all context frames, which are normed together."""

    def __init__(self, channels: int, side: int, frames: int) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(channels, HEADS, batch_first=True)
        self.kv_norm, self.q_norm = (nn.GroupNorm(GROUPS, channels) for _ in range(2))
        self.kv_pos_emb = nn.Parameter(torch.zeros(frames * side * side, channels))
        self.q_pos_emb = nn.Parameter(torch.zeros(side * side, channels))

    def forward(self, x: Picture, context: Float[Tensor, "b t c h w"]) -> Picture:
        """Same resolution."""
        beside = (
            self.kv_norm(context.transpose(1, 2).flatten(2, 3)).flatten(2).transpose(1, 2) + self.kv_pos_emb
        )
        own = self.q_norm(x).flatten(2).transpose(1, 2) + self.q_pos_emb
        read = self.att(own, beside, beside, need_weights=False)[0]
        return F.silu(x + read.transpose(1, 2).unflatten(2, x.shape[2:]))


class PairNetwork(nn.Module):
    """Clips in [0, 1] to ids and back, under the authors' parameter names."""

    def __init__(self, spec: PairSpec) -> None:
        super().__init__()
        self.spec = spec
        asking = replace(spec, mid_block_add_attention=True)
        self.encoder, self.decoder = Side(spec, up=False), Side(spec, up=True)
        self.cond_encoder = Side(asking, False, crossings(spec, up=False))
        self.cond_decoder = Side(asking, True, crossings(spec, up=True))
        self.quantize = Codebook(spec.num_vq_embeddings, spec.width)
        self.dynamics_quantize = Codebook(spec.num_dyn_embeddings, spec.width)
        self.quant_conv = nn.Conv2d(spec.latent_channels, spec.width, 1)
        self.post_quant_conv = nn.Conv2d(spec.width, spec.latent_channels, 1)
        patch = spec.latent_channels * spec.patch_size**2
        self.quant_linear, self.post_quant_linear = nn.Linear(patch, spec.width), nn.Linear(spec.width, patch)

    def context_ids(self, context: Clip) -> tuple[Int[Tensor, "b t n"], list[Tensor]]:
        """Codes of context frames, and what new frames look at."""
        hidden, features = self.encoder.stages(context.flatten(0, 1))
        codes = self.quantize.nearest(self.quant_conv(hidden).permute(0, 2, 3, 1))
        return codes.flatten(1).unflatten(0, context.shape[:2]), features

    def new_ids(self, frames: Clip, features: list[Tensor]) -> Int[Tensor, "b f m"]:
        """Codes of new frames."""
        beside = [per_frame(part, len(frames), frames.shape[1]) for part in features]
        hidden, _ = self.cond_encoder.stages(frames.flatten(0, 1), beside)
        size = self.spec.patch_size
        patches = hidden.unflatten(3, (-1, size)).unflatten(2, (-1, size)).permute(0, 2, 4, 3, 5, 1)
        codes = self.dynamics_quantize.nearest(self.quant_linear(patches.flatten(3)))
        return codes.flatten(1).unflatten(0, frames.shape[:2])

    def context_pixels(self, codes: Int[Tensor, "b t n"]) -> tuple[Clip, list[Tensor]]:
        """Context frames, not clamped, and what new frames look at."""
        side = self.spec.side
        vectors = self.quantize.embedding(codes.flatten(0, 1).unflatten(1, (side, side))).permute(0, 3, 1, 2)
        made, features = self.decoder.stages(self.post_quant_conv(vectors))
        return made.unflatten(0, codes.shape[:2]), features

    def new_pixels(self, codes: Int[Tensor, "b f m"], features: list[Tensor]) -> Clip:
        """New frames, not clamped."""
        size, side = self.spec.patch_size, self.spec.side // self.spec.patch_size
        patches = self.post_quant_linear(self.dynamics_quantize.embedding(codes.flatten(0, 1)))
        cells = patches.unflatten(2, (size, size, -1)).unflatten(1, (side, side)).permute(0, 5, 1, 3, 2, 4)
        beside = [per_frame(part, *codes.shape[:2]) for part in features]
        made, _ = self.cond_decoder.stages(cells.flatten(4, 5).flatten(2, 3), beside)
        return made.unflatten(0, codes.shape[:2])


def crossings(spec: PairSpec, up: bool) -> list[ContextAttention]:
    """Attention for the lowest resolutions: of the decoder also where it begins."""
    channels, frames = spec.block_out_channels, spec.context_length
    # behind a level the picture has already the size of the next one
    sides = [max(spec.resolution >> (level + 1), spec.side) for level in range(len(channels))]
    if not up:
        found = list(zip(channels, sides, strict=True))
    else:
        grown = [min(spec.side << (level + 1), spec.resolution) for level in range(len(channels))]
        found = [(channels[-1], spec.side), *zip(channels[::-1], grown, strict=True)]
    kept = [
        pair
        for number, pair in enumerate(found)
        if pair[1] <= spec.max_att_resolution or (up and number == 0)
    ]
    return [ContextAttention(width, side, frames) for width, side in kept]


def per_frame(features: Tensor, clips: int, frames: int) -> Float[Tensor, "n t c h w"]:
    """What each new frame looks at: its clip's context frames."""
    return features.unflatten(0, (clips, -1)).repeat_interleave(frames, 0)


class PairTokenizer:
    """Pixels to the ids of ``vidjacobi.families.ivideogpt`` and back."""

    def __init__(self, network: PairNetwork) -> None:
        self.network, self.spec = network.eval(), network.spec
        self.first = self.spec.num_vq_embeddings  # id of the first code of new frames
        self.between = self.first + self.spec.num_dyn_embeddings  # ids of the delimiters

    @torch.no_grad()
    def contexts(self, frames: Clip) -> Tokens:
        """Context frames in [0, 1] to ids that end with the delimiter of the first new frame."""
        spec = self.spec
        if tuple(frames.shape[1:]) != (spec.context_length, 3, spec.resolution, spec.resolution):
            side = spec.resolution
            raise InvalidArgument(
                f"context frames must be [clips, {spec.context_length}, 3, {side}, {side}], not {list(frames.shape)}"
            )
        codes, _ = self.network.context_ids(frames)
        ends = torch.full_like(codes[..., :1], self.between)
        ends[:, -1] += 1
        return torch.cat([codes, ends], -1).flatten(1)

    @torch.no_grad()
    def ids(self, frames: Clip) -> Int[Tensor, "b f m"]:
        """Ids of the new frames of a clip in [0, 1], which begins with its context frames."""
        count = self.spec.context_length
        _, features = self.network.context_ids(frames[:, :count])
        return self.network.new_ids(frames[:, count:], features) + self.first

    @torch.no_grad()
    def pixels(self, contexts: Tokens, new: Int[Tensor, "b f m"]) -> Clip:
        """Context frames and new ones in [0, 1], of their ids; one that is no code of a new frame is the nearest."""
        codes = contexts.unflatten(1, (self.spec.context_length, -1))[..., :-1]
        context, features = self.network.context_pixels(codes)
        found = (new - self.first).clamp(0, self.spec.num_dyn_embeddings - 1)
        return torch.cat([context, self.network.new_pixels(found, features)], 1).clamp(0, 1)


def load(path: Path, runtime: Runtime) -> PairTokenizer:
    """The tokenizer in a folder with its ``config.json``. Raises BadCheckpoint."""
    sizes = sizes_of(path)
    try:
        spec = PairSpec(**field_values(PairSpec, sizes))
    except (TypeError, InvalidArgument) as error:
        raise BadCheckpoint(f"{path} has no config.json of its tokenizer ({error}): {PUBLISHED}") from None
    state = weights_of(path, PUBLISHED, ("state_dict",))
    with without_weights():
        network = PairNetwork(spec)
    load_strict(network, state, str(path))
    return PairTokenizer(network.to(runtime.device, runtime.dtype).requires_grad_(False))
