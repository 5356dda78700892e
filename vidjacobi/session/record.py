"""What a session has decided so far: tokens, and the few frames that a chunk begins with. Nothing is ever changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import InvalidArgument
from vidjacobi.shapes import Frames, GridTokens

Latents = Int[Tensor, "t h w"]  # latent frames of one clip


@dataclass(frozen=True, eq=False)
class ChunkRecord:
    """One run of the model, from a context to the end of its grid.

    Attributes:
        number: 0, 1, ...; a part of the key of its noise.
        before: the frames that the next chunk's context may reach back to, if this one is too short.
        context: latent frames given.
        decided: latent frames decided after them.
        actions: entry i leads from latent frame i of the grid to the one after it; none where the model takes none.
    """

    number: int
    before: Frames
    context: Latents
    decided: Int[Tensor, "n h w"]
    actions: tuple[Any, ...] = ()

    @property
    def grid(self) -> Latents:
        """The context and what was decided."""
        return torch.cat([self.context, self.decided])

    def first(self, latents: int) -> "ChunkRecord":
        """With only so many latent frames decided."""
        wanted = len(self.context) + latents - 1
        return replace(self, decided=self.decided[:latents], actions=self.actions[:wanted])


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

    def act(self, actions: Sequence[Any]) -> "ClipRecord":
        """With the actions of the latent frames that are decided next."""
        chunk = replace(self.chunk, actions=(*self.chunk.actions, *actions))
        return replace(self, chunks=(*self.chunks[:-1], chunk))

    def add(self, latents: Latents) -> "ClipRecord":
        """With more latent frames decided."""
        chunk = replace(self.chunk, decided=torch.cat([self.chunk.decided, latents]))
        return replace(self, chunks=(*self.chunks[:-1], chunk))

    def rewound(self, latents: int) -> "ClipRecord":
        """Without the last ``latents`` latent frames, of which there are enough."""
        chunks, left = list(self.chunks), latents
        # Chunks of 3 and 2 latent frames, 4 of them taken back: the second chunk goes, and 1 of the first is left.
        while left > len(chunks[-1].decided):
            left -= len(chunks.pop().decided)
        chunks[-1] = chunks[-1].first(len(chunks[-1].decided) - left)
        return replace(self, chunks=tuple(chunks))


@dataclass(frozen=True, eq=False)
class Step:
    """What a step decided, a row for each clip.

    Attributes:
        tokens: the new latent frames ``[b t h w]``.
        frames: uint8 RGB ``[n H W 3]`` of each clip; none where no pixels were asked for.
        decoded: passes, acceptance and trace, as of ``vidjacobi.decode``. What is fed at the start of
            a step counts as one pass, as a prefill does.
        seconds: wall time of decoding and of the pixels.
    """

    tokens: GridTokens
    frames: tuple[Frames, ...]
    decoded: Decoded
    seconds: float

    @property
    def nfe(self) -> list[int]:
        """Passes of each clip."""
        return self.decoded.stats.nfe

    @property
    def guarantee(self) -> str:
        """What the decoder promises of the tokens."""
        return self.decoded.stats.guarantee


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Where the clips of a session stood. It holds tokens and a few frames, no cache, and can be kept or pickled.

    Attributes:
        clips: of the session, in order.
        seed: of its noise.
        vocab_size: of its model.
        acting: whether its latent frames follow actions.
    """

    clips: tuple[ClipRecord, ...]
    seed: int
    vocab_size: int
    acting: bool

    def check(self, own: "Snapshot") -> None:
        """Raise InvalidArgument, which says what differs, unless a session that is at ``own`` can go on from here."""
        for what, mine, wanted in zip(
            ("clips", "frames and grid", "vocabulary", "actions", "seed"),
            self._like(),
            own._like(),
            strict=True,
        ):
            if mine != wanted:
                raise InvalidArgument(
                    f"the snapshot is of another session: {what} {mine} there, and {wanted} here. Restore it in a "
                    "session of the same model, number of clips and seed"
                )

    def _like(self) -> tuple[object, ...]:
        chunk = self.clips[0].chunk
        shape = [*chunk.before.shape[1:], *chunk.context.shape[1:]]
        return len(self.clips), shape, self.vocab_size, "given" if self.acting else "none", self.seed
