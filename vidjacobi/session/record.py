"""What a session has decided so far: tokens, and the few frames that a chunk begins with. Nothing is ever changed."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.shapes import Frames

Latents = Int[Tensor, "t h w"]  # latent frames of one clip


@dataclass(frozen=True, eq=False)
class ChunkRecord:
    """One run of the model, from a context to the end of its grid.

    Attributes:
        number: 0, 1, ...; a part of the key of its noise.
        before: the frames that the next chunk's context may reach back to, if this one is too short.
        context: latent frames given.
        decided: latent frames decided after them.
    """

    number: int
    before: Frames
    context: Latents
    decided: Int[Tensor, "n h w"]

    @property
    def grid(self) -> Latents:
        """The context and what was decided."""
        return torch.cat([self.context, self.decided])

    def add(self, latents: Latents) -> "ChunkRecord":
        """With more latent frames decided."""
        return replace(self, decided=torch.cat([self.decided, latents]))


@dataclass(frozen=True, eq=False)
class ClipRecord:
    """One clip of a session.

    Attributes:
        name, start, sample: what keys its noise, with the chunk's number and the position.
        chunks: what was decided, the last one unfinished.
    """

    name: str
    start: int
    sample: int
    chunks: tuple[ChunkRecord, ...]

    @property
    def chunk(self) -> ChunkRecord:
        """The one that is being decided."""
        return self.chunks[-1]

    @property
    def key(self) -> tuple[str, int, int, int]:
        """Of its noise, but for the position."""
        return self.name, self.start, self.sample, self.chunk.number

    @property
    def latents(self) -> int:
        """Latent frames decided in all."""
        return sum(len(chunk.decided) for chunk in self.chunks)

    @property
    def tokens(self) -> Latents:
        """The whole latent grid: the first context's, then all decided latent frames."""
        return torch.cat([self.chunks[0].context, *(chunk.decided for chunk in self.chunks)])

    def add(self, latents: Latents) -> "ClipRecord":
        """With more latent frames decided."""
        return replace(self, chunks=(*self.chunks[:-1], self.chunk.add(latents)))

    def rewound(self, latents: int) -> "ClipRecord":
        """Without the last ``latents`` latent frames, of which there are enough."""
        chunks, left = list(self.chunks), latents
        while left > len(chunks[-1].decided):
            left -= len(chunks.pop().decided)
        kept = len(chunks[-1].decided) - left
        chunks[-1] = replace(chunks[-1], decided=chunks[-1].decided[:kept])
        return replace(self, chunks=tuple(chunks))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Where the clips of a session stood. It holds tokens and a few frames, no cache, and can be kept or pickled."""

    clips: tuple[ClipRecord, ...]
