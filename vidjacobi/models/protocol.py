"""What a model must offer to be decoded. Any object with these members will do; nothing is subclassed."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.grid import Grid
from vidjacobi.shapes import GridTokens, Logits, Positions, RowIndex, Slots, Tokens, Visible

Cache = Any  # made by the model, read by the model; the decoder only passes it on


@runtime_checkable
class VideoModel(Protocol):
    """An autoregressive model of discrete video tokens.

    The law of position ``i`` comes from the input at position ``i - 1``. Cache slots are addressed: an input
    writes its entry at its slot, over whatever was there. Rejected drafts are never removed, they are
    overwritten before any query may see them.
    """

    vocab_size: int
    max_positions: int  # positions a clip may have, special tokens included
    prefix_tokens: tuple[int, ...]  # special tokens in front of the grid: () or (begin-of-video id,)

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights; laws are computed in float32, or float64 if this is float64."""
        ...

    def grid_for(self, frames: int) -> Grid:
        """Latent grid of a clip of ``frames`` frames."""
        ...

    def make_cache(self, batch: int, slots: int) -> Cache:
        """An empty cache of ``slots`` slots for each of ``batch`` clips."""
        ...

    def prefill(self, tokens: Tokens, cache: Cache, keep: int) -> Iterator[Logits]:
        """Feed whole contexts at positions (and slots) 0..n-1, causally, into an empty cache.

        Yields the logits of the last ``keep`` inputs (1 <= keep <= n) in order, in chunks ``[b m v]`` of any
        m >= 1 whose m sum to ``keep``, so that a whole frame of laws never stands in memory at once.
        """
        ...

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Cache
    ) -> Logits:
        """One pass. Write every input's entry at its slot, then let input i of clip b read the slots s with
        ``visible[b, i, s]`` (its own slot among them). ``l = visible.shape[-1]`` may be shorter than the
        cache: nothing at or beyond ``l`` needs to be read. Several padding inputs may share one slot that no
        query sees; their logits are ignored but must be finite.
        """
        ...


@runtime_checkable
class TreeModel(VideoModel, Protocol):
    """A model that can move cache entries: an accepted sibling's to its position. Without it the sibling is fed
    once more, which costs the next pass a position."""

    def move(self, cache: Cache, source: Slots, target: Slots) -> None:
        """Copy each clip's entries from the slots ``source`` to the slots ``target``, both ``[b m]``."""
        ...


@runtime_checkable
class RowModel(VideoModel, Protocol):
    """A model that can copy rows of its caches: several futures then share one prefill, and the row of a
    finished clip goes to another one between two passes. Without it every row is prefilled, and of a queue of
    clips each batch is decoded to its end before the next one begins.

    ``forward`` takes fewer rows than the cache has: they are its first ones.
    """

    @property
    def rows_alike(self) -> bool:
        """Whether the same tokens get the same laws in any row: False if rows have conditions of their own."""
        ...

    def copy_rows(self, cache: Cache, rows: RowIndex, source: Cache, source_rows: RowIndex) -> None:
        """Copy all slots of ``source_rows`` of ``source`` over the first slots of ``rows`` of ``cache``.

        ``source`` has no more slots than ``cache``. It may be the same cache: then no row is in both lists.
        """
        ...


def flatten(model: VideoModel, grid: GridTokens) -> Int[Tensor, "b n"]:
    """Grid tokens in raster order, behind the model's special tokens."""
    prefix = torch.tensor(model.prefix_tokens, dtype=grid.dtype, device=grid.device)
    return torch.cat([prefix.expand(len(grid), -1), grid.flatten(1)], 1)
