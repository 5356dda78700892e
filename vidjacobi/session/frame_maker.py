"""Frames of one clip's latent frames as they are decided, after any rewind."""

import torch

from vidjacobi.models.codec import frames_of, to_uint8, tokens_to_frames
from vidjacobi.models.tokenizer import FrameStream, StreamingTokenizer, VideoTokenizer
from vidjacobi.session.record import ChunkRecord, Latents
from vidjacobi.shapes import Frames


class FrameMaker:
    """Makes the frames of the newest latent frames of a chunk; both ways give those of the whole grid.

    A tokenizer that can stream goes on from where it stopped; after a rewind, and with other tokenizers, the grid is
    read again from its start.
    """

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream: FrameStream | None = None
        self._read: Latents | None = None  # what the stream has read
        self._made: tuple[Latents, int, Frames] | None = None  # what was asked for last, and its frames

    def newest(self, chunk: ChunkRecord, latents: int) -> Frames:
        """Frames of the last ``latents`` latent frames, those beyond ``max_frames`` cut off."""
        grid, tokenizer = chunk.grid, self._tokenizer
        # ``Session.seen`` asks again for the frames that a step has made.
        if self._made and self._made[1] == latents and torch.equal(self._made[0], grid):
            return self._made[2]
        begin = len(grid) - latents
        first = frames_of(begin, tokenizer)
        if isinstance(tokenizer, StreamingTokenizer):
            made = self._streamed(tokenizer, grid, begin)
        else:
            made = tokens_to_frames(grid, tokenizer, first)
        made = made[: tokenizer.max_frames - first]
        self._made = grid, latents, made
        return made

    def fork(self) -> "FrameMaker":
        """For a copy of the clip."""
        other = FrameMaker(self._tokenizer)
        other._made = self._made
        if self._stream is not None:
            other._stream, other._read = self._stream.fork(), self._read
        return other

    def _streamed(self, tokenizer: StreamingTokenizer, grid: Latents, begin: int) -> Frames:
        # After a rewind the stream has read too much and cannot go back: a new one reads the grid from its start.
        if self._stream is None or self._read is None or not torch.equal(self._read, grid[:begin]):
            self._stream = tokenizer.frame_stream()
            for latent in grid[None, :begin].split(1, 1):
                self._stream.add(latent)
        self._read = grid
        made = [self._stream.add(latent)[0] for latent in grid[None, begin:].split(1, 1)]
        return torch.cat([to_uint8(pixels).cpu() for pixels in made])
