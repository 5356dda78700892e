"""What a decoder does between logits and the next state, counted with a model that computes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from vidjacobi.estimate.counting import Counter, Work
from vidjacobi.estimate.request import Request
from vidjacobi.estimate.simulate import decoding
from vidjacobi.grid import Grid
from vidjacobi.models.outline import Outline
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

CHUNK = 256  # laws of the context at a time


class Mute:
    """A model whose logits have shapes only and cost nothing, in place of ``model``."""

    def __init__(self, model: Any) -> None:
        self.vocab_size, self.max_positions = model.vocab_size, model.max_positions
        self.prefix_tokens, self.device, self.dtype = model.prefix_tokens, model.device, model.dtype
        self._model = model

    rows_alike = True

    def grid_for(self, frames: int) -> Grid:
        """As the model's."""
        return self._model.grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> None:
        """None."""

    def prefill(self, tokens: Tokens, cache: Any, keep: int) -> Iterator[Logits]:
        """Logits of the last ``keep`` inputs."""
        for first in range(0, keep, CHUNK):
            yield self._logits(len(tokens), min(CHUNK, keep - first))

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Any
    ) -> Logits:
        """Logits of every input."""
        return self._logits(*tokens.shape)

    def move(self, cache: Any, source: Slots, target: Slots) -> None:
        """Nothing."""

    def copy_rows(self, cache: Any, rows: RowIndex, source: Any, source_rows: RowIndex) -> None:
        """Nothing."""

    def _logits(self, rows: int, inputs: int) -> Logits:
        return torch.empty(rows, inputs, self.vocab_size, dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class LawWork:
    """Of one clip.

    Attributes:
        prefill: laws of the context that the draft rule wants, and the first token.
        each_pass: drafts, laws, verification, redrafts and the next state.
        inputs: positions of a pass.
    """

    prefill: Work
    each_pass: Work
    inputs: int


def law_work(outline: Outline, request: Request, counter: Counter | None = None) -> LawWork:
    """Count the decoder's own work, one row."""
    one = replace(request, rows=1, contexts=1)
    counted = decoding(replace(outline, model=Mute(outline.model)), one, counter)
    return LawWork(counted.prefill, counted.laws, request.window)
