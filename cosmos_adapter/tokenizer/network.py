"""The discrete causal video tokenizer of Cosmos (DV family), as a trainable module.

The names of the modules are those of the official checkpoints (``encoder.``, ``quant_conv.``, ``post_quant_conv.``,
``decoder.``), and the arithmetic is the official one; the memory layout is our own. Activations are in channels-last
order (``b t h w c`` in memory). There a (1, 3, 3) convolution is a 2-D convolution over ``b t`` pictures, and a
(3, 1, 1) convolution is a 2-D convolution over a picture of ``t`` rows and ``h w`` columns, both without copies.

Everything is causal in time. With a ``StreamState`` a clip may come in pieces, and each layer continues where the
piece before ended.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_adapter.tokenizer.haar_fsq import (
    FiniteScalarQuantizer,
    Indices,
    Latent,
    Video,
    patch,
    unpatch,
)
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.tokenizer.stream_state import Act, StreamState, is_start, with_history

Wider = Float[Tensor, "b c2 t h w"]  # another number of channels
Resized = Float[Tensor, "b c2 t2 h2 w2"]  # another size
Pictures = Float[Tensor, "f c h w"]  # f = b * t


def _fold_time(x: Act) -> Pictures:
    # [b c t h w] to [b*t c h w]; in channels-last memory this is a view
    return x.transpose(1, 2).flatten(0, 1)


def _unfold_time(pictures: Pictures, batch: int) -> Act:
    return pictures.unflatten(0, (batch, -1)).transpose(1, 2)


class CausalConv3d(nn.Module):
    """A convolution over space or over time. Over time it is causal: before a clip its first frame is repeated."""

    def __init__(self, width_in: int, width_out: int, kernel: tuple[int, int, int], stride: int = 1) -> None:
        super().__init__()
        # only holds the weights, under the official name
        self.conv3d = nn.Conv3d(width_in, width_out, kernel)
        self.over_time = kernel[0] > 1
        self.stride = stride
        if self.over_time and kernel[1:] != (1, 1):
            raise ValueError(f"kernel {kernel} mixes time and space")

    def forward(self, x: Act, state: StreamState | None = None, pad_space: int = 0) -> Resized:
        weight, bias = self.conv3d.weight, self.conv3d.bias
        # Training may call this module with weights in either memory format, so kernels are made contiguous here.
        if self.over_time:
            # A kernel of 3 needs 2 earlier frames with stride 1, and 1 with stride 2: Downsample repeats the first
            # frame of a clip once more itself.
            x = with_history(x, weight.shape[2] - self.stride, self, state)
            height = x.shape[3]
            rows = x.flatten(3).contiguous(memory_format=torch.channels_last)
            kernel = weight.squeeze(-1).contiguous(memory_format=torch.channels_last)
            return F.conv2d(rows, kernel, bias, (self.stride, 1)).unflatten(3, (height, -1))
        pictures = _fold_time(x).contiguous(memory_format=torch.channels_last)
        kernel = weight.squeeze(2).contiguous(memory_format=torch.channels_last)
        return _unfold_time(F.conv2d(pictures, kernel, bias, self.stride, pad_space), x.shape[0])


class FactorisedConv(nn.Sequential):
    """A (1, 3, 3) convolution over space, then a (3, 1, 1) convolution over time."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(
            CausalConv3d(width_in, width_out, (1, 3, 3)), CausalConv3d(width_out, width_out, (3, 1, 1))
        )

    def forward(self, x: Act, state: StreamState | None = None) -> Wider:
        return self[1](self[0](x, pad_space=1), state)


def _pointwise(width_in: int, width_out: int) -> CausalConv3d:
    return CausalConv3d(width_in, width_out, (1, 1, 1))


class FrameNorm(nn.Module):
    """Group normalisation with one group. Its statistics are those of one frame, which makes it causal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width, eps=1e-6)

    def forward(self, x: Act) -> Act:
        pictures = _fold_time(x).contiguous(memory_format=torch.channels_last)
        return _unfold_time(self.norm(pictures), x.shape[0])


class ResBlock(nn.Module):
    """Two factorised convolutions, each after a norm and SiLU, added to a shortcut."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1 = FrameNorm(width_in)
        self.conv1 = FactorisedConv(width_in, width_out)
        self.norm2 = FrameNorm(width_out)
        self.conv2 = FactorisedConv(width_out, width_out)
        self.nin_shortcut = _pointwise(width_in, width_out) if width_in != width_out else nn.Identity()

    def forward(self, x: Act, state: StreamState | None = None) -> Wider:
        y = self.conv1(F.silu(self.norm1(x)), state)
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(y)), state)


class Attention(nn.Module):
    """Single-head attention within each frame, or along time at each place of the frame, where it is causal."""

    def __init__(self, width: int, over_time: bool) -> None:
        super().__init__()
        self.norm = FrameNorm(width)
        self.q = _pointwise(width, width)
        self.k = _pointwise(width, width)
        self.v = _pointwise(width, width)
        self.proj_out = _pointwise(width, width)
        self.over_time = over_time

    def forward(self, x: Act, state: StreamState | None = None) -> Act:
        y = self.norm(x)
        q, k, v = (self._rows(head(y)) for head in (self.q, self.k, self.v))
        visible = None
        if self.over_time and state is not None:
            # A stream has few latent frames (5 in 33 frames), so keeping all their keys and values is cheap. The
            # layers q, k and v are only keys of the state here.
            k, v = state.extend(self.k, k, 2), state.extend(self.v, v, 2)
            new, all_ = q.shape[2], k.shape[2]
            # Two new frames after three kept ones see 4 and 5 of the 5: a triangle whose last row is full.
            visible = torch.ones(new, all_, dtype=torch.bool, device=x.device).tril(all_ - new)
        causal = self.over_time and state is None
        mixed = F.scaled_dot_product_attention(q, k, v, visible, is_causal=causal)
        return x + self.proj_out(self._unrows(mixed, x))

    def _rows(self, x: Act) -> Float[Tensor, "r 1 n c"]:
        # One sequence of t frames for each place (b h w), or one of h*w places for each frame (b t).
        if self.over_time:
            return x.permute(0, 3, 4, 2, 1).flatten(0, 2).unsqueeze(1)
        return x.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1).unsqueeze(1)

    def _unrows(self, rows: Float[Tensor, "r 1 n c"], like: Act) -> Act:
        b, _, t, h, w = like.shape
        if self.over_time:
            return rows.squeeze(1).unflatten(0, (b, h, w)).permute(0, 4, 3, 1, 2)
        return rows.squeeze(1).unflatten(0, (b, t)).unflatten(2, (h, w)).permute(0, 4, 1, 2, 3)


class Middle(nn.Module):
    """A residual block, attention over space and then over time, and another residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(width, width)
        self.attn_1 = nn.Sequential(Attention(width, over_time=False), Attention(width, over_time=True))
        self.block_2 = ResBlock(width, width)

    def forward(self, x: Act, state: StreamState | None = None) -> Act:
        x = self.block_1(x, state)
        for attention in self.attn_1:
            x = attention(x, state)
        return self.block_2(x, state)


class Downsample(nn.Module):
    """Halve space, time or both: a strided convolution plus an average pool, then a pointwise convolution."""

    def __init__(self, width: int, space: bool, time: bool) -> None:
        super().__init__()
        if space:
            self.conv1 = CausalConv3d(width, width, (1, 3, 3), stride=2)
        if time:
            self.conv2 = CausalConv3d(width, width, (3, 1, 1), stride=2)
        self.conv3 = _pointwise(width, width)
        self.space, self.time = space, time

    def forward(self, x: Act, state: StreamState | None = None) -> Resized:
        if self.space:
            x = F.pad(x, (0, 1, 0, 1))  # zeros at the right and at the bottom only
            pooled = F.avg_pool2d(_fold_time(x), 2)
            x = self.conv1(x) + _unfold_time(pooled, x.shape[0])
        if self.time:
            # Frames 0 | 1 2 | 3 4 become 0 0 | 1 2 | 3 4, and each pair one frame: 1 + 2k frames become 1 + k. A
            # later piece has whole pairs already.
            if is_start(state):
                x = torch.cat([x[:, :, :1], x], 2)
            x = self.conv2(x, state) + (x[:, :, ::2] + x[:, :, 1::2]) * 0.5
        return self.conv3(x)


class Upsample(nn.Module):
    """Double space, time or both: repetition plus a residual convolution, then a pointwise convolution."""

    def __init__(self, width: int, space: bool, time: bool) -> None:
        super().__init__()
        if time:
            self.conv1 = CausalConv3d(width, width, (3, 1, 1))
        if space:
            self.conv2 = CausalConv3d(width, width, (1, 3, 3))
        self.conv3 = _pointwise(width, width)
        self.space, self.time = space, time

    def forward(self, x: Act, state: StreamState | None = None) -> Resized:
        if self.time:
            # Frames 0 1 2 become 0 0 1 1 2 2, and at the start of a clip 0 1 1 2 2: the first latent frame stands
            # for a single frame. 1 + k frames become 1 + 2k.
            x = x.repeat_interleave(2, dim=2)[:, :, 1 if is_start(state) else 0 :]
            x = self.conv1(x, state) + x
        if self.space:
            pictures = _fold_time(x).contiguous(memory_format=torch.channels_last)
            x = _unfold_time(F.interpolate(pictures, scale_factor=2, mode="nearest"), x.shape[0])
            x = self.conv2(x, pad_space=1) + x
        return self.conv3(x)


class Level(nn.Module):
    """Residual blocks at one resolution, and the step to the next resolution if there is one."""

    def __init__(self, blocks: list[ResBlock], step_name: str, step: nn.Module | None) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        # The official names differ: "downsample" in the encoder, "upsample" in the decoder.
        self.step_name = step_name
        if step is not None:
            self.add_module(step_name, step)

    def forward(self, x: Act, state: StreamState | None = None) -> Resized:
        for block in self.block:
            x = block(x, state)
        step = self._modules.get(self.step_name)
        return x if step is None else step(x, state)


def down_steps(spec: TokenizerSpec, level: int) -> tuple[bool, bool]:
    """(space, time): whether the encoder halves each of them after ``level``."""
    inner = level < len(spec.channels_mult) - 1
    return inner and level < spec.spatial_steps, inner and level < spec.temporal_steps


def up_steps(spec: TokenizerSpec, level: int) -> tuple[bool, bool]:
    """(space, time): whether the decoder doubles each of them after ``level``. It runs from the last level to 0."""
    # The official rule. In the released tokenizer (3 levels, two steps in space and one in time) the encoder halves
    # both after level 0 and space after level 1, and the decoder doubles space after level 2 and both after level
    # 1. With as many steps in time as in space, nothing happens after the last level, so one more level is needed.
    done = len(spec.channels_mult) - 1 - level
    time = level > 0 and 0 < done <= spec.temporal_steps
    extra_space = done < spec.spatial_steps and spec.spatial_steps > spec.temporal_steps
    return level > 0 and (time or extra_space), time


class PixelEncoder(nn.Module):
    """Pixels in [-1, 1] to latents of ``z_channels`` channels."""

    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__()
        self.patch_size = spec.patch_size
        self.conv_in = FactorisedConv(spec.in_channels * spec.patch_channels, spec.channels)
        width = spec.channels
        self.down = nn.ModuleList()
        for level, mult in enumerate(spec.channels_mult):
            widths = [width] + [spec.channels * mult] * spec.num_res_blocks
            blocks = [ResBlock(a, b) for a, b in pairwise(widths)]
            width = widths[-1]
            space, time = down_steps(spec, level)
            step = Downsample(width, space, time) if space or time else None
            self.down.append(Level(blocks, "downsample", step))
        self.mid = Middle(width)
        self.norm_out = FrameNorm(width)
        self.conv_out = FactorisedConv(width, spec.z_channels)

    def forward(self, video: Video, state: StreamState | None = None) -> Act:
        x = self.conv_in(patch(video, self.patch_size, is_start(state)), state)
        for level in self.down:
            x = level(x, state)
        return self.conv_out(F.silu(self.norm_out(self.mid(x, state))), state)


class PixelDecoder(nn.Module):
    """Latents of ``z_channels`` channels to pixels of about [-1, 1], not clamped."""

    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__()
        self.patch_size = spec.patch_size
        width = spec.channels * spec.channels_mult[-1]
        self.conv_in = FactorisedConv(spec.z_channels, width)
        self.mid = Middle(width)
        levels: list[Level] = []
        for level in reversed(range(len(spec.channels_mult))):
            widths = [width] + [spec.channels * spec.channels_mult[level]] * (spec.num_res_blocks + 1)
            blocks = [ResBlock(a, b) for a, b in pairwise(widths)]
            width = widths[-1]
            space, time = up_steps(spec, level)
            step = Upsample(width, space, time) if space or time else None
            # Checkpoints count levels from the finest, so the list is filled from its end and run through backwards.
            levels.insert(0, Level(blocks, "upsample", step))
        self.up = nn.ModuleList(levels)
        self.norm_out = FrameNorm(width)
        self.conv_out = FactorisedConv(width, spec.out_channels * spec.patch_channels)

    def forward(self, latent: Act, state: StreamState | None = None) -> Video:
        x = self.mid(self.conv_in(latent, state), state)
        for level in reversed(self.up):
            x = level(x, state)
        return unpatch(self.conv_out(F.silu(self.norm_out(x)), state), self.patch_size, is_start(state))


class TokenizerNet(nn.Module):
    """Encoder, finite scalar quantiser and decoder, for clips of ``T = 1 + temporal_compression * k`` frames.

    The sizes are not checked here (``CosmosTokenizer`` does that).
    """

    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = PixelEncoder(spec)
        self.quant_conv = _pointwise(spec.z_channels, spec.embedding_dim)
        self.quantizer = FiniteScalarQuantizer(spec.levels)
        self.post_quant_conv = _pointwise(spec.embedding_dim, spec.z_channels)
        self.decoder = PixelDecoder(spec)

    def to_latent(self, video: Video, state: StreamState | None = None) -> Latent:
        """Pixels in [-1, 1] to the quantiser's latents. With a ``state``, ``video`` is the next piece of a clip."""
        latent = self.quant_conv(self.encoder(video, state))
        if state is not None:
            state.started = True
        return latent

    def quantise(self, latent: Latent) -> tuple[Latent, Indices]:
        """(codes in [-1, 1] with a straight-through gradient, int32 token ids) of latents."""
        return self.quantizer(latent)

    def to_video(self, codes: Latent, state: StreamState | None = None) -> Video:
        """Codes to pixels of about [-1, 1], not clamped. With a ``state``, ``codes`` are those of the next piece."""
        video = self.decoder(self.post_quant_conv(codes), state)
        if state is not None:
            state.started = True
        return video

    def forward(self, video: Video) -> tuple[Video, Indices]:
        """(reconstruction, not clamped; token ids) of pixels in [-1, 1]: what a training step needs."""
        codes, indices = self.quantise(self.to_latent(video))
        return self.to_video(codes), indices
