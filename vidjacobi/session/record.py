"""What a session has decided so far: tokens and the few frames that a chunk begins with. Nothing is ever changed."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from vidjacobi.shapes import GridTokens


@dataclass(frozen=True, eq=False)
class ChunkRecord:
    """One run of the model, from a context to the end of its grid.

    Attributes:
        number: 0, 1, ...; a part of the key of its noise.
        before: the frames that the next chunk's context may reach back to, if this one is too short.
        context: latent grid of the frames given.
        decided: latent frames decided after it.
    """

    number: int
    before: UInt8[Tensor, "b n H W c"]
    context: GridTokens
    decided: Int[Tensor, "b d h w"]

    @property
    def grid(self) -> GridTokens:
        """The context and what was decided."""
        return torch.cat([self.context, self.decided], 1)

    def add(self, latents: GridTokens) -> "ChunkRecord":
        """With more latent frames decided."""
        return replace(self, decided=torch.cat([self.decided, latents], 1))

    def first(self, latents: int) -> "ChunkRecord":
        """With only so many latent frames decided."""
        return replace(self, decided=self.decided[:, :latents])

    def repeat(self, copies: int) -> "ChunkRecord":
        """With ``copies`` of each row, one below the other."""
        return ChunkRecord(
            self.number,
            *(part.repeat_interleave(copies, 0) for part in (self.before, self.context, self.decided)),
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Where a session stood. It holds tokens and a few frames, no cache, and can be kept or pickled.

    Attributes:
        names: of the clips, which their noise is keyed with, and samples: their numbers.
        start: of the clip, a part of the key.
        chunks: what was decided, the last one unfinished.
    """

    names: tuple[str, ...]
    samples: tuple[int, ...]
    start: int
    chunks: tuple[ChunkRecord, ...]

    @property
    def latents(self) -> int:
        """Latent frames decided in all."""
        return sum(chunk.decided.shape[1] for chunk in self.chunks)

    @property
    def tokens(self) -> GridTokens:
        """The whole latent grid: the first context's, then all decided latent frames."""
        return torch.cat([self.chunks[0].context, *(chunk.decided for chunk in self.chunks)], 1)

    def last(self, chunk: ChunkRecord) -> "Snapshot":
        """With another last chunk."""
        return replace(self, chunks=(*self.chunks[:-1], chunk))

    def rewound(self, latents: int) -> "Snapshot":
        """Without the last ``latents`` latent frames, of which there are enough."""
        chunks, left = list(self.chunks), latents
        while left > chunks[-1].decided.shape[1]:
            left -= chunks.pop().decided.shape[1]
        chunks[-1] = chunks[-1].first(chunks[-1].decided.shape[1] - left)
        return replace(self, chunks=tuple(chunks))
