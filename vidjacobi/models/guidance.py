"""Classifier-free guidance (Ho and Salimans 2022): two branches as one model, which any decoder can decode."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import Grid, check_members, checked_chunks, checked_logits, real
from vidjacobi.models.protocol import ExactModel, RowModel, TreeModel, VideoModel
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible


class Guided:
    """A model with the logits u + scale * (c - u) of a conditional branch c and an unconditional branch u.

    Both branches are fed the same drafts. Guidance changes the distribution that AR decoding samples from, for every
    decoder alike, so a decoder's guarantee holds with respect to the guided distribution. A pass calls both branches
    and counts once in NFE.

    Args:
        conditional, unconditional: models of one vocabulary and grid, each with a cache of its own; for instance
            ``model.with_context(text)`` and ``model.with_context(empty)``, or the same model twice.
        scale: 1 is the conditional branch alone, 0 the unconditional one; usually 1.5 to 7. Or a number for each
            cell of the longest clip, such as a guidance that ends after some of them.
        blank: maps the tokens of the conditional branch's context to those of the unconditional one, of the same
            shape. It may replace the class token by the null class, for example. By default both are the same.

    Raises:
        InvalidArgument: the branches do not fit each other, a scale is not finite, or there are not as many as cells.
    """

    def __init__(
        self,
        conditional: VideoModel,
        unconditional: VideoModel,
        scale: float | Sequence[float],
        blank: Callable[[Tokens], Tokens] | None = None,
    ) -> None:
        for branch in (conditional, unconditional):
            check_members("a branch of guidance", branch, VideoModel)
        for what in ("vocab_size", "prefix_tokens", "device", "dtype"):
            ours, theirs = getattr(conditional, what), getattr(unconditional, what)
            if ours != theirs:
                raise InvalidArgument(f"the branches of guidance differ in {what}: {ours} and {theirs}")
        if conditional.grid_for(1) != unconditional.grid_for(1):
            raise InvalidArgument("the branches of guidance have different grids")
        # Both branches may be the same object: what differs is their contexts, and each has a cache of its own.
        self.branches, self.scale, self.blank = (conditional, unconditional), scale, blank
        self.vocab_size = conditional.vocab_size
        self.max_positions = min(conditional.max_positions, unconditional.max_positions)
        self.prefix_tokens = conditional.prefix_tokens
        self._by_cell: Float[Tensor, " c"] | None = None
        if isinstance(scale, Sequence) and not isinstance(scale, str):
            cells = self.max_positions - len(self.prefix_tokens)
            if len(scale) != cells:
                raise InvalidArgument(
                    f"{number_of(len(scale), 'guidance scale')} for {number_of(cells, 'cell')}"
                )
            own = [finite_scale(number) for number in scale]
            self._by_cell = torch.tensor(own, dtype=torch.float64, device=self.device)
        else:
            finite_scale(scale)

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
        """A cache for each branch."""
        return tuple(branch.make_cache(batch, slots) for branch in self.branches)

    def prefill(self, tokens: Tokens, cache: tuple[Any, Any], keep: int) -> Iterator[Logits]:
        """Feed the contexts to both branches and yield the guided logits of the last ``keep`` inputs in chunks."""
        blank = tokens if self.blank is None else self.blank(tokens)
        if blank.shape != tokens.shape:
            raise InvalidArgument(
                f"blank made {list(blank.shape)} tokens of {list(tokens.shape)}: give the null prompt one length"
            )
        with_condition, without = (
            LogitsBuffer(
                checked_chunks(branch.prefill(fed, part, keep), branch.vocab_size, len(tokens), keep)
            )
            for branch, fed, part in zip(self.branches, (tokens, blank), cache, strict=True)
        )
        # Each branch chooses the sizes of its chunks. With chunks of 4, 4 and of 3, 5 inputs, the guided ones have
        # 3, 1 and 4: always as many as both branches have at hand.
        left = keep
        while left:
            count = min(with_condition.available(), without.available())
            positions = tokens.shape[1] - left + torch.arange(count, device=tokens.device)
            yield self._mix(with_condition.take(count), without.take(count), positions)
            left -= count
        with_condition.close()
        without.close()

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: tuple[Any, Any]
    ) -> Logits:
        """One pass of both branches over the same inputs."""
        inputs = (tokens, positions, slots, visible)
        conditional, unconditional = (
            checked_logits(branch.forward(*inputs, part), (*tokens.shape, branch.vocab_size), "forward")
            for branch, part in zip(self.branches, cache, strict=True)
        )
        return self._mix(conditional, unconditional, positions)

    def move(self, cache: tuple[Any, Any], source: Slots, target: Slots) -> None:
        """Move entries in both caches. Raises InvalidArgument for a branch that cannot."""
        for branch, part in zip(self.branches, cache, strict=True):
            if not isinstance(branch, TreeModel):
                raise InvalidArgument("a decoder with a draft tree needs branches with a move method")
            branch.move(part, source, target)

    @property
    def rows_alike(self) -> bool:
        """Whether both branches can copy rows, and neither has rows with conditions of their own."""
        return all(isinstance(branch, RowModel) and branch.rows_alike for branch in self.branches)

    def copy_rows(
        self, cache: tuple[Any, Any], rows: RowIndex, source: tuple[Any, Any], source_rows: RowIndex
    ) -> None:
        """Copy rows in both caches."""
        for branch, part, other in zip(self.branches, cache, source, strict=True):
            assert isinstance(branch, RowModel)
            branch.copy_rows(part, rows, other, source_rows)

    def _mix(self, conditional: Logits, unconditional: Logits, positions: Int[Tensor, "*b n"]) -> Logits:
        """The guided logits of inputs at some positions, in float32 or float64.

        A token to which a branch gives the logit -inf or +inf keeps the logit of the conditional branch.
        """
        wide = torch.float64 if conditional.dtype == torch.float64 else torch.float32
        c, u = conditional.to(wide), unconditional.to(wide)
        # inf - inf would be NaN. This is u + scale * (c - u), exact at scale 0 and 1, in separate operations: lerp
        # rounds otherwise in the tail of a kernel, so that a row's numbers would depend on its place.
        both = c.isfinite() & u.isfinite()
        scale: Any = self.scale
        if self._by_cell is not None:
            cells = (positions + 1 - len(self.prefix_tokens)).clamp(0, len(self._by_cell) - 1)
            scale = self._by_cell[cells][..., None].to(wide)
        mixed = u.masked_fill(~both, 0) * (1 - scale) + c.masked_fill(~both, 0) * scale
        return torch.where(both, mixed, c)

    @property
    def bitwise(self) -> bool:
        """Whether the passes of both branches are width-invariant; see ``ExactModel``."""
        return all(isinstance(branch, ExactModel) and branch.bitwise for branch in self.branches)

    @property
    def padding(self) -> str:
        """What passes of the conditional branch are padded to, in words."""
        branch = self.branches[0]
        return branch.padding if isinstance(branch, ExactModel) else "nothing"


def finite_scale(number: object) -> float:
    """A scale as a float. Raises InvalidArgument for what is no finite number."""
    scale = real("the guidance scale", number)
    if not math.isfinite(scale):
        raise InvalidArgument(f"the guidance scale must be a finite number, not {number}")
    return scale


class LogitsBuffer:
    """Logits of one branch that arrive in chunks and are taken in portions of other sizes."""

    def __init__(self, chunks: Iterator[Logits]) -> None:
        self._chunks = iter(chunks)
        self._rest: Logits | None = None

    def available(self) -> int:
        """The number of inputs whose logits are at hand, at least one; fetches the next chunk if there are none."""
        if self._rest is None or not self._rest.shape[1]:
            self._rest = next(self._chunks)
        return self._rest.shape[1]

    def close(self) -> None:
        """Nothing more is wanted. Raises BadModelOutput where the branch has more."""
        for _ in self._chunks:
            pass

    def take(self, count: int) -> Logits:
        """The logits ``[b count v]`` of the next ``count`` inputs, which must be at hand."""
        assert self._rest is not None
        taken, self._rest = self._rest[:, :count], self._rest[:, count:]
        return taken
