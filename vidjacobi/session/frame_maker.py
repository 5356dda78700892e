"""Frames of latent frames as they are decided, after any rewind."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from vidjacobi.models.codec import frames_of, to_uint8, tokens_to_frames
from vidjacobi.models.tokenizer import FrameStream, StreamingTokenizer, VideoTokenizer
from vidjacobi.session.record import ChunkRecord
from vidjacobi.shapes import GridTokens


class FrameMaker:
    """Makes the frames of the newest latent frames of a chunk; both ways give those of the whole grid.

    A tokenizer that can stream goes on from where it stopped; after a rewind, and with other tokenizers, the grid is
    read again from its start.
    """

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self._tokenizer = tokenizer
        self._streams: list[FrameStream] = []
        self._read: GridTokens | None = None  # what the streams have read

    def newest(self, chunk: ChunkRecord, latents: int) -> UInt8[Tensor, "b n H W c"]:
        """Frames of the last ``latents`` latent frames of every clip, those beyond ``max_frames`` cut off."""
        grid = chunk.grid
        begin = grid.shape[1] - latents
        made = (self._streamed if isinstance(self._tokenizer, StreamingTokenizer) else self._whole)(
            grid, begin
        )
        first = frames_of(begin, self._tokenizer)
        return made[:, : self._tokenizer.max_frames - first]

    def fork(self, copies: int) -> "FrameMaker":
        """For ``copies`` of each clip, one below the other."""
        other = FrameMaker(self._tokenizer)
        if self._read is not None:
            other._streams = [stream.fork() for stream in self._streams for _ in range(copies)]
            other._read = self._read.repeat_interleave(copies, 0)
        return other

    def _streamed(self, grid: GridTokens, begin: int) -> UInt8[Tensor, "b n H W c"]:
        if self._read is None or not torch.equal(self._read, grid[:, :begin]):
            assert isinstance(self._tokenizer, StreamingTokenizer)
            self._streams = [self._tokenizer.frame_stream() for _ in range(len(grid))]
            for stream, clip in zip(self._streams, grid.split(1), strict=True):
                for latent in clip[:, :begin].split(1, 1):
                    stream.add(latent)
        self._read = grid
        made = [
            torch.cat([to_uint8(stream.add(latent)[0]).cpu() for latent in clip[:, begin:].split(1, 1)])
            for stream, clip in zip(self._streams, grid.split(1), strict=True)
        ]
        return torch.stack(made)

    def _whole(self, grid: GridTokens, begin: int) -> UInt8[Tensor, "b n H W c"]:
        first = frames_of(begin, self._tokenizer)
        return torch.stack([tokens_to_frames(clip, self._tokenizer, first) for clip in grid])
