"""A model whose cache outlives a decode, so that the next one feeds only what is not in it yet.

The decoder sees an ordinary model: ``make_cache`` hands out the kept cache, and ``prefill`` feeds the end of a
context in ordinary passes. Where passes are width-invariant the logits have the same bits as those of a new prefill.

Example, frames of 4 tokens (x: in the cache, o: fed by the prefill of this step, .: what this step decides)::

    step 0      o o o o | . . . .
    step 1      x x x x   x x x o | . . . .         the last token of a step was never fed
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vidjacobi.decoding.prefill import has_free_rows
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import Grid
from vidjacobi.models.contents import objects_in, traces
from vidjacobi.models.protocol import (
    Cache,
    ExactModel,
    TreeModel,
    VideoModel,
    takes_conditions,
)
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

PIECE = 128  # inputs that are fed at once: their logits are in memory together
NOTHING = -1  # no token
BUCKET = 64  # slots that are read are a multiple of it (``VideoModel.forward``)


class KeptCache:
    """A model and one cache of it, which every decode gets. Rows stay where they are.

    Args:
        model: whose cache is kept.
        rows: clips.
        slots: of the longest decode.
    """

    def __init__(self, model: VideoModel, rows: int, slots: int) -> None:
        self.model, self.rows, self.slots = model, rows, slots
        self.vocab_size, self.max_positions = model.vocab_size, model.max_positions
        self.prefix_tokens = model.prefix_tokens
        self._cache: Cache | None = None
        self._modules = [one for one in objects_in(model) if isinstance(one, nn.Module)]
        self._weights: list[Any] = []  # ``traces`` of those that the cache was made with
        self._held: Int[Tensor, "b n"] = torch.zeros(rows, 0, dtype=torch.long, device="cpu")

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.model.dtype

    @property
    def bitwise(self) -> bool:
        """Whether passes are width-invariant; see ``ExactModel``."""
        return isinstance(self.model, ExactModel) and self.model.bitwise

    @property
    def padding(self) -> str:
        """What passes are padded to for it, in words."""
        return self.model.padding if isinstance(self.model, ExactModel) else "nothing"

    def grid_for(self, frames: int) -> Grid:
        """Latent grid of a clip of ``frames`` frames."""
        return self.model.grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> Cache:
        """The kept cache. Raises InvalidArgument for more rows or slots than it has."""
        if batch != self.rows or slots > self.slots:
            raise InvalidArgument(
                f"this session keeps a cache of {number_of(self.rows, 'row')} with {self.slots} slots, not of "
                f"{batch} with {slots}: take a smaller window"
            )
        # Entries of weights that have been trained or loaded since are wrong: all is fed again.
        now = traces(self._modules)
        if self._cache is None or now != self._weights:
            self._cache, self._weights = self.model.make_cache(self.rows, self.slots), now
            self._held = self._held[:, :0]
        return self._cache

    rows_alike = False  # a row of this cache is a clip of the session for good

    def copy_rows(self, cache: Cache, rows: RowIndex, source: Cache, source_rows: RowIndex) -> None:
        """Never asked for, since the rows are not alike."""
        raise RuntimeError("the rows of a kept cache stay where they are")

    @property
    def conditions(self) -> tuple[Any, ...] | None:
        """Those of the model; see ``ConditionedModel``."""
        return self.model.conditions if takes_conditions(self.model) else None

    def condition_id(self, condition: Any, positions: int) -> str:
        """A name for a condition; see ``ConditionedModel``."""
        assert takes_conditions(self.model)
        return self.model.condition_id(condition, positions)

    def set_conditions(self, cache: Cache, conditions: Sequence[Any]) -> None:
        """Give each clip its condition; see ``ConditionedModel``. Entries that others led to are to be forgotten."""
        assert takes_conditions(self.model)
        self.model.set_conditions(cache, conditions)

    def forget(self, clips: Sequence[int]) -> None:
        """Of each clip, no more than so many entries are right."""
        index = torch.arange(self._held.shape[1], device="cpu")
        self._held = torch.where(index < torch.tensor(clips)[:, None], self._held, NOTHING)

    def hold(self, clips: Sequence[Int[Tensor, "_"]]) -> None:
        """Of each clip, the tokens whose entries are in slots 0, 1, ... What lies behind them is not known."""
        rows = [clip.to("cpu", torch.long) for clip in clips]
        self._held = pad_sequence(rows, batch_first=True, padding_value=NOTHING)

    @torch.inference_mode()  # as decodes, whose cache it is
    def feed(self, tokens: Tokens, conditions: Sequence[Any] | None) -> None:
        """Feed contexts of one length, without a decode. What is in the cache already is not fed again."""
        cache = self.make_cache(self.rows, self.slots)
        if conditions is not None:
            self.set_conditions(cache, conditions)
        for _ in self.prefill(tokens, cache, 1):
            pass
        self.hold(list(tokens[:, :-1]))

    def prefill(self, tokens: Tokens, cache: Cache, keep: int) -> Iterator[Logits]:
        """Feed what is not in the cache, and at least the last ``keep`` inputs; see ``VideoModel.prefill``.

        Clips are fed from one place on: where their contexts differ in length, much of a longer one is fed again.
        """
        count = tokens.shape[1]
        # Contexts of 9 tokens, 6 of which are in the cache: 6, 7 and 8 are fed; from 4 on where keep is 5.
        first = min(common_prefix(self._held, tokens.cpu()), count - keep)
        self._held = self._held[:, :first]  # the caller says what there is when its decode has ended well
        if first == 0:
            yield from self._prefill_all(tokens, cache, keep)
        else:
            for begin in range(first, count, PIECE):
                end = min(begin + PIECE, count)
                logits = self._feed(tokens, cache, begin, end)
                if (wanted := min(end - (count - keep), end - begin)) > 0:
                    yield logits[:, -wanted:]

    def _prefill_all(self, tokens: Tokens, cache: Cache, keep: int) -> Iterator[Logits]:
        """A prefill; clips of one context share it where the model can copy rows."""
        model = self.model
        alone = not has_free_rows(model) or takes_conditions(model)
        if alone or bool((tokens != tokens[:1]).any()):
            yield from model.prefill(tokens, cache, keep)
            return
        # Equal contexts are fed as one row, which is copied into all rows when its last logits are out.
        own = model.make_cache(1, tokens.shape[1])
        for logits in model.prefill(tokens[:1], own, keep):
            yield logits.expand(len(tokens), -1, -1)
        assert has_free_rows(model)
        rows = torch.arange(len(tokens), device=self.device)
        model.copy_rows(cache, rows, own, 0 * rows)

    def _feed(self, tokens: Tokens, cache: Cache, begin: int, end: int) -> Float[Tensor, "b m v"]:
        """One pass over the inputs ``begin`` to ``end``, each of which sees itself and all before it."""
        position = torch.arange(begin, end, device=tokens.device)
        where = position.expand(len(tokens), -1)
        # A triangle, since a token's slot is its position: the input at 6 sees the slots 0 to 6.
        read = min(self.slots, -(-end // BUCKET) * BUCKET)
        visible = torch.arange(read, device=tokens.device) <= position[:, None]
        return self.model.forward(
            tokens[:, begin:end], where, where, visible.expand(len(tokens), -1, -1), cache
        )

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Cache
    ) -> Logits:
        """One pass; see ``VideoModel.forward``."""
        return self.model.forward(tokens, positions, slots, visible, cache)

    @torch.inference_mode()
    def fork(self, copies: int) -> "KeptCache":
        """Another one with ``copies`` of each row, one below the other; what it can take over is in its cache."""
        other = type(self)(self.model, self.rows * copies, self.slots)
        other._modules = self._modules  # in the same order, which ``objects_in`` does not promise
        model = self.model
        if self._cache is not None and has_free_rows(model):
            source = torch.arange(self.rows, device=self.device).repeat_interleave(copies)
            rows = torch.arange(len(source), device=self.device)
            model.copy_rows(other.make_cache(other.rows, other.slots), rows, self._cache, source)
            other._weights = self._weights
            other.hold(list(self._held.repeat_interleave(copies, 0)))
        return other


class KeptTreeCache(KeptCache):
    """The same for a model that can move entries, as those of accepted siblings (``TreeModel``)."""

    def move(self, cache: Cache, source: Slots, target: Slots) -> None:
        """Copy entries of each clip from slots to slots."""
        assert isinstance(self.model, TreeModel)
        self.model.move(cache, source, target)


def kept_cache(model: VideoModel, rows: int, slots: int) -> KeptCache:
    """The class that fits the model."""
    return (KeptTreeCache if isinstance(model, TreeModel) else KeptCache)(model, rows, slots)


def common_prefix(first: Int[Tensor, "b m"], second: Tokens) -> int:
    """Tokens that all rows of both have in common from the start on."""
    count = min(first.shape[1], second.shape[1])
    same = (first[:, :count] == second[:, :count]).all(0)
    return int(same.long().cumprod(0).sum())
