"""Calls of a model on two made-up clips, in the ways in which decoders call it, and what is said where it fails."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn

import torch

from vidjacobi.decoding.recipe import BUCKET
from vidjacobi.errors import BadModelOutput
from vidjacobi.kinds import checked_chunks, checked_logits
from vidjacobi.models.contents import trained_in
from vidjacobi.models.protocol import Cache, RowModel, VideoModel, takes_conditions
from vidjacobi.shapes import Logits, Tokens, Visible

MOST = 24  # positions of the clips
READ = BUCKET  # slots that a pass reads
SPARE = 2 * BUCKET  # the slot of all padding, and the last one of the cache
# How far logits of the same input may differ, relative to the largest, by rounding in passes of other shapes.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
COARSE = 0.06  # of narrower dtypes


class ModelTrial:
    """A model and two clips, whose first half is the context.

    Attributes:
        tokens: ``[2, end]``, special tokens first.
        context: tokens of the context.
        end: tokens of a clip, at least 6.
        seed: of the tokens.
        conditions: of each clip; None where the model takes none.
    """

    def __init__(
        self,
        model: VideoModel,
        seed: int,
        tokens: Tokens | None = None,
        conditions: Sequence[Any] | None = None,
    ) -> None:
        self.model, self.seed, self.conditions = model, seed, conditions
        self.end = min(model.max_positions, MOST)
        self.context = self.end // 2
        if tokens is None:
            made = torch.randint(
                model.vocab_size, (2, self.end), generator=torch.Generator().manual_seed(seed)
            )
            prefix = torch.tensor(model.prefix_tokens[: self.context], dtype=torch.long)
            made[:, : len(prefix)] = prefix
            tokens = made.to(model.device)
        self.tokens = tokens

    def of(self, clip: int) -> "ModelTrial":
        """The trial with one of its clips."""
        own = None if self.conditions is None else self.conditions[clip : clip + 1]
        return ModelTrial(self.model, self.seed, self.tokens[clip : clip + 1], own)

    def cache_of(self, clips: Sequence[int], slots: int = SPARE + 1) -> Cache:
        """An empty cache with the condition of a clip in each row."""
        cache = self.model.make_cache(len(clips), slots)
        if self.conditions is not None and takes_conditions(self.model):
            self.model.set_conditions(cache, [self.conditions[clip] for clip in clips])
        return cache

    @property
    def unlike_rows(self) -> bool:
        """Whether each row of the model has a condition of its own, so that clips cannot change rows."""
        return isinstance(self.model, RowModel) and not self.model.rows_alike

    @cached_property
    def wanted(self) -> Logits:
        """Logits of every input in a prefill of the whole clips."""
        return self.prefill(self.tokens, self.end)

    def with_other(self, place: int) -> Tokens:
        """The clips with another token at one position."""
        other = self.tokens.clone()
        other[:, place] = (other[:, place] + 1) % self.model.vocab_size
        return other

    def prefill(self, tokens: Tokens, keep: int, cache: Cache = None) -> Logits:
        """Logits of the last ``keep`` inputs of a prefill, all chunks."""
        cache = self.cache_of(range(len(tokens))) if cache is None else cache
        chunks = checked_chunks(
            self.model.prefill(tokens, cache, keep), self.model.vocab_size, len(tokens), keep
        )
        return torch.cat(list(chunks), 1)

    def filled(self, count: int | None = None) -> Cache:
        """A cache with the entries of the first ``count`` tokens; None: of the context."""
        length = self.context if count is None else count
        cache = self.cache_of(range(len(self.tokens)))
        self.prefill(self.tokens[:, :length], 1, cache)
        return cache

    def window(self, cache: Cache, shift: int = 0) -> Logits:
        """All tokens after the context but the last, in one pass; their positions moved by ``shift``."""
        places = list(range(self.context, self.end - 1))
        moved = [place + shift for place in places]
        return self.call(cache, self.tokens[:, places], moved, places, self.causal(places))

    def feed(
        self, cache: Cache, tokens: Tokens, places: Sequence[int], visible: Visible | None = None
    ) -> Logits:
        """The tokens at some positions of whole clips; each sees all slots up to its own."""
        seen = self.causal(places) if visible is None else visible
        return self.call(cache, tokens[:, list(places)], places, places, seen)

    def one_by_one(self, cache: Cache, first: int) -> Logits:
        """The tokens from ``first`` on, a pass each."""
        return torch.cat([self.feed(cache, self.tokens, [place]) for place in range(first, self.end)], 1)

    def call(
        self, cache: Cache, tokens: Tokens, positions: Sequence[int], slots: Sequence[int], visible: Visible
    ) -> Logits:
        """One call of ``forward``, the same places in every clip. Raises BadModelOutput for another shape."""
        rows = len(tokens)
        places, writes = (
            torch.tensor([numbers] * rows, dtype=torch.long, device=tokens.device)
            for numbers in (positions, slots)
        )
        seen = visible.expand(rows, -1, -1)
        logits = self.model.forward(tokens, places, writes, seen, cache)
        return checked_logits(logits, (*tokens.shape, self.model.vocab_size), "forward")

    def causal(self, places: Sequence[int]) -> Visible:
        """``[1 n l]``: each input sees every slot up to its position."""
        slot = torch.arange(READ, device=self.tokens.device)
        return (slot <= torch.tensor(list(places), device=slot.device)[:, None])[None]

    def beside(self, slots: Sequence[int | None], before: int, read: int = READ) -> Visible:
        """``[1 n l]``: each input sees the slots before ``before``, and its own; None: no own one."""
        slot = torch.arange(read, device=self.tokens.device)
        own = torch.tensor([-1 if place is None else place for place in slots], device=slot.device)
        return ((slot < before) | (slot == own[:, None]))[None]

    def alike(self, found: Logits, wanted: Logits) -> bool:
        """Whether logits are equal up to rounding."""
        return gap(found, wanted) <= ROUNDING.get(self.model.dtype, COARSE)

    def same(self, found: Logits, wanted: Logits, words: str) -> None:
        """Raise BadModelOutput with ``words`` unless logits are equal up to rounding."""
        if not self.alike(found, wanted):
            self.fail(f"{words} (by {gap(found, wanted):.2g} of the largest logit)")

    def require(self, holds: bool, words: str) -> None:
        """Raise BadModelOutput with ``words`` unless something holds."""
        if not holds:
            self.fail(words)

    def fail(self, words: str) -> NoReturn:
        """Raise BadModelOutput. A network in train mode may be the reason for anything, so that is said too."""
        kinds = trained_in(self.model)
        hint = f". Its network is in train mode ({', '.join(kinds[:4])}): call eval() on it" if kinds else ""
        raise BadModelOutput(f"{type(self.model).__name__}: {words}{hint}")


def gap(found: Logits, wanted: Logits) -> float:
    """The largest difference, relative to the largest finite number. Equal infinities do not differ."""
    a, b = found.double(), wanted.double()
    differ = torch.where(a == b, 0, (a - b).abs())
    if not differ.isfinite().all():
        return torch.inf
    return float(differ.max() / (1e-300 + torch.where(b.isfinite(), b, 0).abs().max()))
