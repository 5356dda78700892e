"""Classifier-free guidance: the laws of two branches as those of one model, which any decoder can decode."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.grid import Grid
from vidjacobi.models.protocol import RowModel, TreeModel, VideoModel
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible


class Guided:
    """Logits u + scale (c - u) of a conditional branch c and an unconditional one u, both fed the same drafts.

    Guidance changes the law that AR decoding would sample from, for every decoder alike, so what a decoder
    proves it proves for the guided law. A pass calls both branches and counts once in NFE.

    Args:
        conditional, unconditional: models of one vocabulary and grid, with a cache each; for instance
            ``model.with_context(text)`` and ``model.with_context(empty)``, or twice the same model.
        scale: 1 is the conditional branch alone, 0 the unconditional one; usually 1.5 to 7.
        blank: tokens of the unconditional branch's context from those of the conditional one, of the same
            shape (the class token replaced by the null class, say); by default they are the same.

    Raises:
        InvalidArgument: the branches do not fit each other, or the scale is not finite.
    """

    def __init__(
        self,
        conditional: VideoModel,
        unconditional: VideoModel,
        scale: float,
        blank: Callable[[Tokens], Tokens] | None = None,
    ) -> None:
        for what in ("vocab_size", "prefix_tokens", "device", "dtype"):
            ours, theirs = getattr(conditional, what), getattr(unconditional, what)
            if ours != theirs:
                raise InvalidArgument(f"the branches of guidance differ in {what}: {ours} and {theirs}")
        if conditional.grid_for(1) != unconditional.grid_for(1):
            raise InvalidArgument("the branches of guidance have different grids")
        if not math.isfinite(scale):
            raise InvalidArgument(f"the guidance scale must be a finite number, not {scale}")
        self.branches, self.scale, self.blank = (conditional, unconditional), scale, blank
        self.vocab_size = conditional.vocab_size
        self.max_positions = min(conditional.max_positions, unconditional.max_positions)
        self.prefix_tokens = conditional.prefix_tokens

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        return self.branches[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.branches[0].dtype

    def grid_for(self, frames: int) -> Grid:
        """Latent grid of a clip of ``frames`` frames."""
        return self.branches[0].grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> tuple[Any, Any]:
        """One cache per branch."""
        return tuple(branch.make_cache(batch, slots) for branch in self.branches)

    def prefill(self, tokens: Tokens, cache: tuple[Any, Any], keep: int) -> Iterator[Logits]:
        """Feed the context to both branches. Their chunks may differ in length."""
        blank = tokens if self.blank is None else self.blank(tokens)
        if blank.shape != tokens.shape:
            raise InvalidArgument(
                f"blank made {list(blank.shape)} tokens of {list(tokens.shape)}: give the null prompt one length"
            )
        with_condition = Rows(self.branches[0].prefill(tokens, cache[0], keep))
        without = Rows(self.branches[1].prefill(blank, cache[1], keep))
        left = keep
        while left:
            count = min(with_condition.available(), without.available())
            yield self._mix(with_condition.take(count), without.take(count))
            left -= count

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: tuple[Any, Any]
    ) -> Logits:
        """One pass of both branches."""
        inputs = (tokens, positions, slots, visible)
        logits = [branch.forward(*inputs, part) for branch, part in zip(self.branches, cache, strict=True)]
        return self._mix(*logits)

    def move(self, cache: tuple[Any, Any], source: Slots, target: Slots) -> None:
        """Move entries in both caches. Raises InvalidArgument for branches that cannot."""
        for branch, part in zip(self.branches, cache, strict=True):
            if not isinstance(branch, TreeModel):
                raise InvalidArgument("a decoder with siblings needs branches with a move method")
            branch.move(part, source, target)

    @property
    def rows_alike(self) -> bool:
        """Whether both branches can copy rows, and their rows are alike."""
        return all(isinstance(branch, RowModel) and branch.rows_alike for branch in self.branches)

    def copy_rows(
        self, cache: tuple[Any, Any], rows: RowIndex, source: tuple[Any, Any], source_rows: RowIndex
    ) -> None:
        """Copy rows in both caches."""
        for branch, part, other in zip(self.branches, cache, source, strict=True):
            assert isinstance(branch, RowModel)
            branch.copy_rows(part, rows, other, source_rows)

    def _mix(self, conditional: Logits, unconditional: Logits) -> Logits:
        """In float32 or better. A token that one branch rules out is judged by the conditional branch alone."""
        wide = torch.float64 if conditional.dtype == torch.float64 else torch.float32
        c, u = conditional.to(wide), unconditional.to(wide)
        both = c.isfinite() & u.isfinite()
        return torch.where(both, torch.lerp(u.masked_fill(~both, 0), c.masked_fill(~both, 0), self.scale), c)


class Rows:
    """Rows of logits that arrive in chunks, taken in other portions."""

    def __init__(self, chunks: Iterator[Logits]) -> None:
        self._chunks = iter(chunks)
        self._rest: Logits | None = None

    def available(self) -> int:
        """Rows at hand, at least one."""
        if self._rest is None or not self._rest.shape[1]:
            self._rest = next(self._chunks)
        return self._rest.shape[1]

    def take(self, count: int) -> Logits:
        """The next ``count`` of them."""
        assert self._rest is not None
        taken, self._rest = self._rest[:, :count], self._rest[:, count:]
        return taken
