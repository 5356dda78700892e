"""``CosmosTokenizer``: a Cosmos discrete video tokenizer as a ``vidjacobi.models.tokenizer.VideoTokenizer``."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_adapter.tokenizer.haar_fsq import Indices, Video
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.tokenizer.stream_state import StreamState
from vidjacobi.errors import BadModelOutput, InvalidArgument, number_of
from vidjacobi.shapes import GridTokens, Pixels


@runtime_checkable
class Codec(Protocol):
    """What does the work inside a ``CosmosTokenizer``. Pixels are in [-1, 1], and about so when they come out."""

    def to_tokens(self, pixels: Video) -> Indices: ...

    def to_pixels(self, tokens: Indices) -> Video: ...


class NetCodec:
    """Our own network. A clip goes through it in pieces of one latent frame.

    So memory does not grow with the length of the clip, and tokens and pixels do not depend on what follows them, not
    even in the last bit.
    """

    def __init__(self, net: TokenizerNet) -> None:
        self.net = net.eval()

    def to_tokens(self, pixels: Video) -> Indices:
        weight, group, state = (
            self.net.quant_conv.conv3d.weight,
            self.net.spec.temporal_compression,
            StreamState(),
        )
        # 1 frame, then groups of ``temporal_compression``: 33 frames of Cosmos are 1 + 8 + 8 + 8 + 8.
        pieces = pixels.split([1] + [group] * ((pixels.shape[2] - 1) // group), 2)
        tokens = []
        for number, piece in enumerate(pieces, 1):
            state.ends = number == len(pieces)
            latent = self.net.to_latent(piece.to(weight.device, weight.dtype), state)
            tokens.append(self.net.quantise(latent)[1])
        return torch.cat(tokens, 1)

    def to_pixels(self, tokens: Indices) -> Video:
        state, pixels = StreamState(), []
        for number, latent in enumerate(tokens.split(1, 1), 1):
            state.ends = number == tokens.shape[1]
            pixels.append(self.next_pixels(latent, state))
        return torch.cat(pixels, 2)

    def next_pixels(self, tokens: Indices, state: StreamState) -> Video:
        """Pixels of the clip's next latent frames, whose predecessors ``state`` remembers."""
        weight = self.net.quant_conv.conv3d.weight
        codes = self.net.quantizer.codes_of(tokens.to(weight.device))
        return self.net.to_video(codes.to(weight.dtype), state)


class ScriptCodec:
    """The released TorchScript pair, run as it is. This executes the program inside the two files.

    It takes whole clips only: its layers keep nothing from piece to piece, so memory grows with the clip, and there
    is no stream.
    """

    def __init__(
        self,
        encoder: torch.jit.ScriptModule,
        decoder: torch.jit.ScriptModule,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.encoder, self.decoder = encoder.eval(), decoder.eval()
        self.device, self.dtype = device, dtype

    def to_tokens(self, pixels: Video) -> Indices:
        indices, codes, *_ = self.encoder(pixels.to(self.device, self.dtype))  # the rest is a dummy loss
        return torch.where(codes.isnan().any(dim=1), -1, indices)

    def to_pixels(self, tokens: Indices) -> Video:
        return self.decoder(tokens.to(self.device, torch.int32))


class CosmosTokenizer:
    """Frames to tokens and back; see ``vidjacobi.models.tokenizer.VideoTokenizer``.

    Clips are computed one at a time, so that the tokens of a clip do not depend on its batch, and without
    gradients; to train, use ``TokenizerNet`` itself. The tokenizer is causal: the tokens of the first 1 + 8k frames
    do not depend on later frames. With our own network (``NetCodec``) a clip goes through in groups of frames, with
    exactly the same results, and can be streamed.
    """

    def __init__(self, spec: TokenizerSpec, codec: Codec) -> None:
        self.spec = spec
        self.codec = codec
        self.frame_size = (spec.video_height, spec.video_width)
        self.stride_t = spec.temporal_compression
        self.stride_space = spec.spatial_compression
        self.max_frames = spec.num_video_frames
        self.vocab_size = spec.vocab_size

    @torch.no_grad()
    def encode(self, pixels: Pixels) -> GridTokens:
        """Pixels in [-1, 1] to int64 tokens ``[b 1+k H/s W/s]`` on the tokenizer's device.

        Height and width may be any multiples of ``stride_space``, not only ``frame_size``. Raises
        InvalidArgument for other sizes, for ``T != 1 + stride_t * k`` and for ``T > max_frames``, and
        BadModelOutput if the network returned something that is no token, as it does for NaN weights or pixels.
        """
        self._check_pixels(pixels)
        tokens = torch.cat([self.codec.to_tokens(clip) for clip in pixels.split(1)]).long()
        if self._strays(tokens):
            raise BadModelOutput("the video tokenizer's encoder returned values that are not tokens (NaN?)")
        return tokens

    @torch.no_grad()
    def to_frames(self, tokens: GridTokens) -> Float[Tensor, "b rgb T2 H2 W2"]:
        """Tokens to float32 pixels in [0, 1], ``1 + stride_t * (t - 1)`` frames.

        Raises InvalidArgument for an id outside the vocabulary or too many latent frames, and BadModelOutput
        if the network returned NaN.
        """
        self._check_tokens(tokens)
        self._check_frames(1 + self.stride_t * (tokens.shape[1] - 1))
        return _in_unit(torch.cat([self.codec.to_pixels(clip).float() for clip in tokens.split(1)]))

    def frame_stream(self) -> "CosmosFrameStream":
        """A stream at the start of a clip. Raises InvalidArgument for a TorchScript tokenizer, which has none."""
        if not isinstance(self.codec, NetCodec):
            raise InvalidArgument(
                "a TorchScript tokenizer makes frames of whole clips only: to stream, load it without "
                "--run-torchscript (the same weights in our own network)"
            )
        return CosmosFrameStream(self, self.codec, StreamState())

    def _check_tokens(self, tokens: GridTokens) -> None:
        if self._strays(tokens):
            raise InvalidArgument(f"token ids must lie in 0..{self.vocab_size - 1}")

    def _strays(self, tokens: GridTokens) -> bool:
        return bool(((tokens < 0) | (tokens >= self.vocab_size)).any())

    def _check_pixels(self, pixels: Pixels) -> None:
        _, colours, frames, height, width = pixels.shape
        if colours != self.spec.in_channels:
            raise InvalidArgument(
                f"the tokenizer reads {self.spec.in_channels} colour channels, got {colours}"
            )
        self._check_frames(frames)
        step = self.stride_space
        if height % step or width % step or not height or not width:
            raise InvalidArgument(
                f"frames of {height}x{width} (height x width) do not fit the tokenizer: both must be multiples "
                f"of {step}; it was trained on {self.frame_size[0]}x{self.frame_size[1]}"
            )

    def _check_frames(self, frames: int) -> None:
        if frames < 1 or (frames - 1) % self.stride_t:
            options = ", ".join(str(1 + self.stride_t * k) for k in range(3))
            raise InvalidArgument(
                f"{number_of(frames, 'frame')} do not fit the tokenizer: it takes 1 + "
                f"{self.stride_t}*k of them ({options}, ...)"
            )
        if frames > self.max_frames:
            raise InvalidArgument(
                f"{number_of(frames, 'frame')} at once; the tokenizer takes at most {self.max_frames}"
            )


class CosmosFrameStream:
    """The frames of one clip, made as its latent frames arrive; see ``vidjacobi.models.tokenizer.FrameStream``.

    It remembers the last two inputs of every convolution over time, and the keys and values of the latent frames so
    far, of which there are few. ``nbytes`` is the memory that this takes.
    """

    def __init__(
        self, tokenizer: CosmosTokenizer, codec: NetCodec, state: StreamState, latents: int = 0
    ) -> None:
        self._tokenizer, self._codec, self._state, self._latents = tokenizer, codec, state, latents

    @torch.no_grad()
    def add(self, tokens: GridTokens) -> Float[Tensor, "1 rgb T2 H2 W2"]:
        """The next latent frames ``[1 n h w]`` to float32 pixels in [0, 1].

        Raises InvalidArgument for more than one clip, no latent frame, ids outside the vocabulary or more frames
        than the tokenizer's ``max_frames`` in all, and BadModelOutput if the network returned NaN.
        """
        clips, count = tokens.shape[:2]
        if clips != 1 or not count:
            raise InvalidArgument(
                f"a stream takes latent frames [1 n h w] of one clip, not {list(tokens.shape)}"
            )
        self._tokenizer._check_tokens(tokens)
        self._tokenizer._check_frames(1 + self._tokenizer.stride_t * (self._latents + count - 1))
        parts = [self._codec.next_pixels(latent, self._state).float() for latent in tokens.split(1, 1)]
        self._latents += count
        return _in_unit(torch.cat(parts, 2))

    def fork(self) -> "CosmosFrameStream":
        """Another stream that continues from here; the two do not disturb each other."""
        return CosmosFrameStream(self._tokenizer, self._codec, self._state.fork(), self._latents)

    @property
    def nbytes(self) -> int:
        """Bytes that it holds between two groups of frames."""
        return self._state.nbytes


def _in_unit(video: Video) -> Video:
    """Pixels of about [-1, 1] to [0, 1], clamped, in place. Raises BadModelOutput for NaN and infinities."""
    if not video.isfinite().all():
        raise BadModelOutput("the video tokenizer's decoder returned NaN or infinite pixels")
    return video.mul_(0.5).add_(0.5).clamp_(0.0, 1.0)
