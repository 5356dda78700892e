"""A tiny model with a condition in each row of its cache, whose continuations can be enumerated."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import value_words
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible
from vidjacobi.testing import TinyVideoModel


class ConditionedTiny(TinyVideoModel):
    """A condition is a whole number, which is added to the hash of the history. The first slot holds it."""

    conditions: tuple[int, ...] | None

    def __init__(self, *sizes: Any, conditions: tuple[int, ...] = (), **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.conditions = conditions

    def make_cache(self, batch: int, slots: int) -> Tensor:
        cache = super().make_cache(batch, slots + 1)
        cache[:, 0] = (self.conditions or (0,))[0]
        return cache

    def condition_id(self, condition: Any, positions: int) -> str:
        if not isinstance(condition, int) or positions > self.max_positions:
            raise InvalidArgument(f"a condition must be a whole number, not {value_words(condition)}")
        return str(condition)

    def set_conditions(self, cache: Tensor, conditions: Sequence[int]) -> None:
        cache[: len(conditions), 0] = torch.tensor(conditions)

    def prefill(self, tokens: Tokens, cache: Tensor, keep: int) -> Iterator[Logits]:
        length = tokens.shape[1]
        places = torch.arange(length).expand(tokens.shape)
        seen = torch.ones(length, length, dtype=torch.bool).tril().expand(len(tokens), -1, -1)
        yield self.forward(tokens, places, places, seen, cache)[:, length - keep :]

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Tensor
    ) -> Logits:
        cache.scatter_(1, 1 + slots, self._weights[positions, tokens])
        seen = cache[: len(tokens), None, 1 : 1 + visible.shape[-1]]
        history = ((visible * seen).sum(-1) + cache[: len(tokens), :1]) % self._table.shape[0]
        return self._table[history] + self._place[(positions + 1) % self._place.shape[0]]

    def move(self, cache: Tensor, source: Slots, target: Slots) -> None:
        super().move(cache, 1 + source, 1 + target)

    def copy_rows(self, cache: Tensor, rows: RowIndex, source: Tensor, source_rows: RowIndex) -> None:
        cache[rows, : source.shape[1]] = source[source_rows]


class LeavesConditions(ConditionedTiny):
    """A row that is refilled keeps the condition that it had: the bug that tests must see."""

    def copy_rows(self, cache: Tensor, rows: RowIndex, source: Tensor, source_rows: RowIndex) -> None:
        cache[rows, 1 : source.shape[1]] = source[source_rows, 1:]
