"""Classifier-free guidance (Ho and Salimans 2022): two branches as one model, which any decoder can decode."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import Grid, check_members, checked_chunks, checked_logits, real, value_words
from vidjacobi.models.logits_buffer import LogitsBuffer
from vidjacobi.models.protocol import (
    ExactModel,
    RowModel,
    TreeModel,
    VideoModel,
    conditions_of,
    takes_conditions,
)
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

Caches = tuple[Any, ...]  # one for each branch


class Guided:
    """A model with the logits u + scale * (c - u) of a conditional branch c and an unconditional branch u.

    All branches are fed the same drafts. Guidance changes the distribution that AR decoding samples from, for every
    decoder alike, so a decoder's guarantee holds with respect to the guided distribution. A pass calls all branches
    and counts once in NFE.

    Where a branch takes conditions (``vidjacobi.models.protocol.ConditionedModel``), the condition of a guided clip
    is a sequence with one for each branch; None for a branch that takes none, or has one of its own.

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
        own = numbers_of("the guidance scale", scale)
        rest = [1 - one for one in own] if isinstance(own, list) else 1 - own
        self._of((conditional, unconditional), [own, rest], (None, blank))

    @classmethod
    def weighted(
        cls,
        branches: Sequence[VideoModel],
        weights: Sequence[float | Sequence[float]],
        blanks: Sequence[Callable[[Tokens], Tokens] | None] | None = None,
    ) -> "Guided":
        """A model with the weighted sum of the logits of two branches or more, whose weights sum to 1.

        The first branch is the conditional one: it decides alone about tokens to which a branch gives an infinite
        logit. Emu3.5's v + a * (u - v) + b * (c - u) has the branches c, u, v and the weights b, a - b, 1 - a.

        Args:
            branches: as in ``Guided``.
            weights: of each branch, a number or one for each cell of the longest clip.
            blanks: of each branch, as in ``Guided``, None for contexts that stay as they are.

        Raises InvalidArgument for one branch, another number of weights or blanks, and for weights that are not
        finite or do not sum to 1.
        """
        own = [numbers_of("the weight of a branch", weight) for weight in weights]
        blanks = (None,) * len(branches) if blanks is None else blanks
        if len(branches) < 2 or not len(branches) == len(own) == len(blanks):
            raise InvalidArgument(
                f"{number_of(len(own), 'weight')} and {number_of(len(blanks), 'blank')} for "
                f"{number_of(len(branches), 'branch')}: there must be one each for two branches or more"
            )
        for parts in zip(*by_cell(own, 1), strict=False):
            if not math.isclose(math.fsum(parts), 1, abs_tol=1e-6):
                raise InvalidArgument(
                    f"the weights of the branches {list(parts)} sum to {math.fsum(parts):g}: guidance is a mean of "
                    "logits, so they must sum to 1"
                )
        made = cls.__new__(cls)
        made._of(tuple(branches), own, tuple(blanks))
        return made

    def _of(
        self,
        branches: tuple[VideoModel, ...],
        weights: list[float | list[float]],
        blanks: tuple[Callable[[Tokens], Tokens] | None, ...],
    ) -> None:
        for branch in branches:
            check_members("a branch of guidance", branch, VideoModel)
        first = branches[0]
        for other in branches[1:]:
            for what in ("vocab_size", "prefix_tokens", "device", "dtype"):
                ours, theirs = getattr(first, what), getattr(other, what)
                if ours != theirs:
                    raise InvalidArgument(f"the branches of guidance differ in {what}: {ours} and {theirs}")
            if first.grid_for(1) != other.grid_for(1):
                raise InvalidArgument("the branches of guidance have different grids")
        # Branches may be one object: what differs is their contexts, and each has a cache of its own.
        self.branches, self.blanks = branches, blanks
        self.vocab_size, self.prefix_tokens = first.vocab_size, first.prefix_tokens
        self.max_positions = min(branch.max_positions for branch in branches)
        cells = self.max_positions - len(self.prefix_tokens)
        self._weights = weights
        self._by_cell: Float[Tensor, "k c"] | None = None
        if several := [len(part) for part in weights if isinstance(part, list)]:
            if wrong := [count for count in several if count != cells]:
                raise InvalidArgument(
                    f"{number_of(wrong[0], 'guidance scale')} for {number_of(cells, 'cell')}"
                )
            self._by_cell = torch.tensor(by_cell(weights, cells), dtype=torch.float64, device=self.device)
        self.conditions = conditions_of_branches(branches)

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

    def make_cache(self, batch: int, slots: int) -> Caches:
        """A cache for each branch."""
        return tuple(branch.make_cache(batch, slots) for branch in self.branches)

    def prefill(self, tokens: Tokens, cache: Caches, keep: int) -> Iterator[Logits]:
        """Feed the contexts to all branches and yield the guided logits of the last ``keep`` inputs in chunks."""
        buffers = []
        for branch, blank, part in zip(self.branches, self.blanks, cache, strict=True):
            fed = tokens if blank is None else blank(tokens)
            if fed.shape != tokens.shape:
                raise InvalidArgument(
                    f"blank made {list(fed.shape)} tokens of {list(tokens.shape)}: give the null prompt one length"
                )
            chunks = checked_chunks(branch.prefill(fed, part, keep), branch.vocab_size, len(tokens), keep)
            buffers.append(LogitsBuffer(chunks))
        # Each branch chooses the sizes of its chunks. With chunks of 4, 4 and of 3, 5 inputs, the guided ones have
        # 3, 1 and 4: always as many as all branches have at hand.
        left = keep
        while left:
            count = min(buffer.available() for buffer in buffers)
            positions = tokens.shape[1] - left + torch.arange(count, device=tokens.device)
            yield self._mix([buffer.take(count) for buffer in buffers], positions)
            left -= count
        for buffer in buffers:
            buffer.close()

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Caches
    ) -> Logits:
        """One pass of all branches over the same inputs."""
        inputs = (tokens, positions, slots, visible)
        logits = [
            checked_logits(branch.forward(*inputs, part), (*tokens.shape, branch.vocab_size), "forward")
            for branch, part in zip(self.branches, cache, strict=True)
        ]
        return self._mix(logits, positions)

    def move(self, cache: Caches, source: Slots, target: Slots) -> None:
        """Move entries in all caches. Raises InvalidArgument for a branch that cannot."""
        for branch, part in zip(self.branches, cache, strict=True):
            if not isinstance(branch, TreeModel):
                raise InvalidArgument("a decoder with a draft tree needs branches with a move method")
            branch.move(part, source, target)

    @property
    def rows_alike(self) -> bool:
        """Whether all branches can copy rows, and none has rows that differ in more than conditions."""
        return all(isinstance(branch, RowModel) and branch.rows_alike for branch in self.branches)

    def copy_rows(self, cache: Caches, rows: RowIndex, source: Caches, source_rows: RowIndex) -> None:
        """Copy rows in all caches."""
        for branch, part, other in zip(self.branches, cache, source, strict=True):
            assert isinstance(branch, RowModel)
            branch.copy_rows(part, rows, other, source_rows)

    def condition_id(self, condition: Any, positions: int) -> str:
        """Of the conditions of all branches. Raises InvalidArgument."""
        if isinstance(condition, str | bytes) or not isinstance(condition, Sequence):
            raise InvalidArgument(
                f"the condition of a guided clip must be a sequence with one for each of the {len(self.branches)} "
                f"branches, not {value_words(condition)}"
            )
        if len(condition) != len(self.branches):
            raise InvalidArgument(
                f"{number_of(len(condition), 'condition')} of a guided clip for "
                f"{number_of(len(self.branches), 'branch')}: there must be one for each"
            )
        names = []
        for branch, part in zip(self.branches, condition, strict=True):
            found = conditions_of(branch, None if part is None else [part], [positions])
            names.append(found[1][0] if found else "")
        return "/".join(names)

    def set_conditions(self, cache: Caches, conditions: Sequence[Any]) -> None:
        """Give the rows of each branch's cache the conditions of that branch."""
        for index, (branch, part) in enumerate(zip(self.branches, cache, strict=True)):
            if takes_conditions(branch):
                own = [condition[index] for condition in conditions]
                branch.set_conditions(
                    part, [(branch.conditions or ())[0] if one is None else one for one in own]
                )

    def _mix(self, logits: list[Logits], positions: Int[Tensor, "*b n"]) -> Logits:
        """The guided logits of inputs at some positions, in float32 or float64.

        A token to which a branch gives the logit -inf or +inf keeps the logit of the conditional branch.
        """
        wide = torch.float64 if logits[0].dtype == torch.float64 else torch.float32
        conditional, *_ = parts = [part.to(wide) for part in logits]
        # inf - inf would be NaN. Of two branches this is u + scale * (c - u), exact at scale 0 and 1, in separate
        # operations: lerp rounds otherwise in the tail of a kernel, so that a row's numbers would depend on its
        # place.
        finite = conditional.isfinite()
        for part in parts[1:]:
            finite = finite & part.isfinite()
        weights: Sequence[Any] = self._weights
        if self._by_cell is not None:
            cells = (positions + 1 - len(self.prefix_tokens)).clamp(0, self._by_cell.shape[1] - 1)
            weights = [own[cells][..., None].to(wide) for own in self._by_cell]
        mixed: Any = 0
        for part, weight in zip(parts[::-1], weights[::-1], strict=True):
            mixed = mixed + part.masked_fill(~finite, 0) * weight
        return torch.where(finite, mixed, conditional)

    @property
    def bitwise(self) -> bool:
        """Whether the passes of both branches are width-invariant; see ``ExactModel``."""
        return all(isinstance(branch, ExactModel) and branch.bitwise for branch in self.branches)

    @property
    def padding(self) -> str:
        """What passes of the conditional branch are padded to, in words."""
        branch = self.branches[0]
        return branch.padding if isinstance(branch, ExactModel) else "nothing"


def numbers_of(what: str, value: float | Sequence[float]) -> float | list[float]:
    """A float, or one for each cell. Raises InvalidArgument for what is no finite number."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(what, one) for one in value]
    return finite(what, value)


def finite(what: str, value: object) -> float:
    """A float. Raises InvalidArgument for what is no finite number."""
    number = real(what, value)
    if not math.isfinite(number):
        raise InvalidArgument(f"{what} must be a finite number, not {value}")
    return number


def by_cell(weights: Sequence[float | list[float]], cells: int) -> list[list[float]]:
    """The weights of each branch for each of ``cells`` cells, or of as many as a branch has."""
    count = max([cells, *(len(part) for part in weights if isinstance(part, list))])
    return [part if isinstance(part, list) else [part] * count for part in weights]


def conditions_of_branches(branches: Sequence[VideoModel]) -> tuple[tuple[Any, ...], ...] | None:
    """The branches' own conditions, clip by clip; empty where one has none, None where none takes any.

    Raises InvalidArgument where they are of different numbers of clips.
    """
    own = [branch.conditions if takes_conditions(branch) else None for branch in branches]
    if all(part is None for part in own):
        return None
    counts = sorted({len(part) for part in own if part is not None} - {1}) or [1]
    if counts[0] == 0:
        return ()
    if len(counts) > 1:
        raise InvalidArgument(
            f"the branches of guidance have conditions of {counts[0]} and {counts[1]} clips"
        )
    columns = [(None,) if part is None else part for part in own]
    return tuple(zip(*(part * counts[0] if len(part) == 1 else part for part in columns), strict=True))
