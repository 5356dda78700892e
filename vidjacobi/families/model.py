"""A network of ``transformers`` behind vidjacobi's protocol: positions are cells, given tokens ride on them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cosmos_adapter.transformer.attention import PREFILL_TILE
from cosmos_adapter.transformer.spec import round_up
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.families.condition_rows import ConditionRows
from vidjacobi.families.layout import SIBLINGS, Condition, RiderBound
from vidjacobi.families.passes import Passes
from vidjacobi.families.ridden_cache import RiddenCache
from vidjacobi.families.seats import Places, Ranks, cells_see, moved_riders, seat_riders
from vidjacobi.families.trunk import Hidden, Trunk
from vidjacobi.invariance import BLOCK
from vidjacobi.kinds import Grid, value_words
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

# Logits that are in memory at once during the prefill, as in the Cosmos adapter.
HEAD_CHUNK = 1 << 24
PROMPT_ROOM = 128  # given tokens of a prompt that every cache has room for


class RiderModel:
    """A trunk behind clips of one grid, with a condition each; see ``vidjacobi.models.protocol.ConditionedModel``.

    With a prompt, position 0 is a special token of the id ``vocab_size`` that stands for it: the context of a clip is
    ``[[vocab_size]]``, and cells after it where some are given.

    Args:
        trunk: the network.
        grid: of the longest clip; a frame of the protocol is one ``h x w`` frame of it.
        cells: riders behind each cell of the grid, whatever the condition is.
        conditions: of clips for which none are given: one for all, or one for each clip of a batch.
        prompt: whether the clips begin with a prompt.
        axes: numbers that each place tells the rotary embedding: 1, or 3 for M-RoPE.

    Raises InvalidArgument for conditions that do not fit the grid.
    """

    def __init__(
        self,
        trunk: Trunk,
        grid: Grid,
        cells: Int[Tensor, " c"],
        conditions: Sequence[Condition] = (),
        prompt: bool = True,
        axes: int = 1,
    ) -> None:
        if len(cells) != grid.tokens:
            raise InvalidArgument(f"riders of {number_of(len(cells), 'cell')} for a grid of {grid.tokens}")
        self.trunk, self.conditions, self._grid, self._cells = trunk, tuple(conditions), grid, cells
        self.vocab_size, self._axes = trunk.vocab_size, axes
        self.prefix_tokens: tuple[int, ...] = (trunk.vocab_size,) if prompt else ()
        self.max_positions = len(self.prefix_tokens) + grid.tokens
        self._bound = RiderBound.of(cells)
        # the same for all conditions that are not far longer, so that their clips are summed in one order together
        self._riders = int(cells.sum()) + (PROMPT_ROOM if prompt else 0)
        self.passes = Passes(trunk)
        for condition in self.conditions:
            self._check(condition)

    @property
    def device(self) -> torch.device:
        """Of the inputs."""
        return self.trunk.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.trunk.dtype

    @property
    def rows_alike(self) -> bool:
        """Beside their conditions, which are copied with them."""
        return True

    def condition_id(self, condition: Any, positions: int) -> str:
        """See ``vidjacobi.models.protocol.ConditionedModel``. Raises InvalidArgument."""
        if not isinstance(condition, Condition):
            raise InvalidArgument(
                "a condition of this model is one of those that its family makes (family.images(prompts).conditions, "
                f"say), not {value_words(condition)}"
            )
        self._check(condition)
        if positions > (found := len(condition.layout.riders)):
            raise InvalidArgument(
                f"a condition of {number_of(found, 'position')} for a clip of {positions}: give what rides on all"
            )
        return condition.name

    def set_conditions(self, cache: RiddenCache, conditions: Sequence[Condition]) -> None:
        """See ``vidjacobi.models.protocol.ConditionedModel``. Raises InvalidArgument where a row cannot have room."""
        # Futures of one prompt are given one condition: its table is made once, and copied to all of their rows.
        different = {id(one): one for one in conditions}
        place = {key: row for row, key in enumerate(different)}
        source = ConditionRows.of(list(different.values()), self._like)
        cache.make_room(source.owner.shape[1])
        rows = torch.arange(len(conditions), device=self.device)
        cache.rows.copy_rows(
            rows, source, torch.tensor([place[id(one)] for one in conditions], device=self.device)
        )

    def _check(self, condition: Condition) -> None:
        """Raise InvalidArgument for a condition of another grid or another network."""
        specials, layout = len(self.prefix_tokens), condition.layout
        condition.check(specials)
        riders, found = layout.riders[specials:], len(layout.riders)
        # behind the last cell of a shorter clip nothing need ride
        if (
            not specials <= found <= self.max_positions
            or (riders[:-1] != self._cells[: len(riders)][:-1]).any()
        ):
            raise InvalidArgument(
                f"a condition of {number_of(found, 'position')} does not fit a model of {self.max_positions}: its "
                "tokens ride on other cells"
            )
        if len(riders) and riders[-1] not in (0, self._cells[len(riders) - 1]):
            raise InvalidArgument("more rides on the last cell of a condition than this model has room for")
        # the last cell is never fed, nor what rides on it
        fed = layout.places[..., : layout.length - 1 - int(layout.riders[-1])]
        if self.trunk.places is not None and fed.numel() and int(fed.max()) >= self.trunk.places:
            raise InvalidArgument(
                f"{number_of(layout.total, 'given token')} and {number_of(found, 'position')} reach beyond the "
                f"{self.trunk.places} places that this network has learned"
            )
        axes, dim = layout.places[..., 0].numel(), self._like.shape[1]
        if condition.given.shape[1] != dim or axes != self._axes:
            raise InvalidArgument(
                f"a condition of {condition.given.shape[1]} numbers an embedding and {axes} rotary a place: the "
                f"model has {dim} and {self._axes}"
            )

    @property
    def _like(self) -> Float[Tensor, "_ dim"]:
        """An embedding."""
        return torch.zeros(1, self.trunk.config.hidden_size, dtype=self.dtype, device=self.device)

    def grid_for(self, frames: int) -> Grid:
        """The grid of a clip of ``frames`` frames. Raises InvalidArgument for none, and for more than there are."""
        if not 1 <= frames <= self._grid.t:
            raise InvalidArgument(f"a clip of this model has 1 to {self._grid.t} frames, not {frames}")
        return Grid(frames, self._grid.h, self._grid.w)

    def make_cache(self, batch: int, slots: int) -> RiddenCache:
        """A cache of the decoder's slots and those of riders. Its rows have the model's condition, if it has one."""
        from vidjacobi.families.slot_cache import SlotCache

        self.passes.settle()
        rows = ConditionRows.blank(batch, self.max_positions, self._axes, len(self.prefix_tokens), self._like)
        places = Places(self._riders, self._bound.of_cell, slots)
        entries = SlotCache(self.trunk.depth, batch, round_up(places.total, BLOCK))
        cache = RiddenCache(entries, places, rows.widened(places.riders))
        cache.make_room(max((one.layout.total for one in self.conditions), default=0))
        if len(self.conditions) == 1:
            self.set_conditions(cache, self.conditions * batch)
        return cache

    @property
    def bitwise(self) -> bool:
        """Whether passes here are width-invariant; see ``ExactModel``."""
        return self.passes.settle().invariant

    @property
    def padding(self) -> str:
        """What passes here are padded to, in words."""
        return str(self.passes.settle())

    @torch.no_grad()
    def prefill(self, tokens: Tokens, cache: RiddenCache, keep: int) -> Iterator[Logits]:
        """Feed whole contexts and what rides on them; clips whose given tokens lie elsewhere on their own.

        Raises InvalidArgument if ``keep`` is not in 1..n, the context has more positions than the model, or a row has
        no condition.
        """
        n = tokens.shape[1]
        if not 1 <= keep <= n:
            raise InvalidArgument(
                f"keep={keep} logits of a context of {number_of(n, 'token')}: it must be 1 to {n}"
            )
        if n > self.max_positions:
            raise InvalidArgument(
                f"{number_of(n, 'token')} are more than the {number_of(self.max_positions, 'position')} of this model"
            )
        if not cache.rows.there[: len(tokens)].all():
            raise InvalidArgument("a row of the cache has no condition: set_conditions gives each clip one")
        parts = [self._feed_prompt(tokens, cache)] if self.prefix_tokens else []
        for begin in range(len(self.prefix_tokens), n, PREFILL_TILE):
            tile = tokens[:, begin : begin + PREFILL_TILE]
            end = begin + tile.shape[1]
            slots = torch.arange(begin, end, device=tokens.device).expand_as(tile)
            visible = torch.arange(end, device=tokens.device) <= slots.unsqueeze(-1)
            parts.append(self._window(tile, slots, slots, visible, cache)[0])
        return self._head_chunks(torch.cat(parts, 1)[:, n - keep :])

    def _feed_prompt(self, tokens: Tokens, cache: RiddenCache) -> Float[Tensor, "b 1 dim"]:
        """Hidden states behind the prompts of all clips, which are position 0 and what rides on it."""
        rows, places, here = cache.rows.first(len(tokens)), cache.places, tokens.device
        lengths, read = 1 + rows.riders[:, :1], places.core + 1
        found = None
        for begin in range(0, int(lengths.max()), PREFILL_TILE):
            # A prompt p r r: p at the decoder's slot 0, the riders 0 and 1 in theirs; each sees those before it.
            place = torch.arange(begin, min(begin + PREFILL_TILE, int(lengths.max())), device=here)
            real = place < lengths
            slots = torch.where(place > 0, places.of_rider(place - 1), places.core)
            where = torch.where(real, slots, places.dump)
            order = places.core - torch.arange(read, device=here)  # of a slot's entry: r is behind p
            seen = (order < place.unsqueeze(-1)) & real.unsqueeze(-1)
            sequence = torch.where(real, place, 0)
            embeds = rows.given.gather(1, sequence[..., None].expand(-1, -1, rows.given.shape[-1]))
            hidden = self.passes.run(embeds, rows.rotary(sequence), seen, where, cache.entries)
            last = (lengths - 1 - begin).clamp(0, len(place) - 1)
            ended = hidden.gather(1, last[..., None].expand(-1, -1, hidden.shape[-1]))
            found = ended if found is None else torch.where((lengths > begin)[..., None], ended, found)
        assert found is not None
        return found

    @torch.no_grad()
    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: RiddenCache
    ) -> Logits:
        """One pass over a window and what rides on it; see ``vidjacobi.models.protocol.VideoModel.forward``.

        Position 0 of a clip with a prompt is fed by the prefill alone. Raises InvalidArgument for more than SIBLINGS
        siblings; in compiled code, which cannot raise, the logits of such a clip are NaN.
        """
        hidden, ranks, count = self._window(tokens, positions, slots, visible, cache)
        logits = self.passes.head(hidden)
        if torch.compiler.is_compiling():
            crowded = (ranks.siblings.sum(-1) > SIBLINGS) | (ranks.total > count)
            logits = torch.where(crowded[:, None, None], torch.nan, logits)
        return logits

    def _window(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: RiddenCache
    ) -> tuple[Hidden, Ranks, int]:
        """Hidden states behind the last rider of each input; also the ranks of riders, and how many have room."""
        rows, places = cache.rows.first(len(tokens)), cache.places
        ranks = Ranks.of(rows, positions, slots, visible)
        count, company = self._room(ranks), None
        seen = cells_see(rows, slots, visible, places)
        embeds, sequence, where = self._embed(tokens), rows.sequence.gather(1, positions), places.core + slots
        if count:
            seats = seat_riders(rows, positions, slots, seen, places, ranks, count)
            index = (len(self.prefix_tokens) + seats.given)[..., None]
            given = rows.given.gather(1, index.expand(-1, -1, embeds.shape[-1]))
            embeds, sequence = torch.cat([embeds, given], 1), torch.cat([sequence, seats.sequence], 1)
            where, seen = torch.cat([where, seats.where], 1), torch.cat([seen, seats.visible], 1)
            company = seats.company
        hidden = self.passes.run(embeds, rows.rotary(sequence), seen, where, cache.entries, company)
        if count:
            last = ranks.last().clamp(max=hidden.shape[1] - 1)
            hidden = hidden.gather(1, last[..., None].expand(-1, -1, hidden.shape[-1]))
        return hidden, ranks, count

    def move(self, cache: RiddenCache, source: Slots, target: Slots) -> None:
        """Copy entries of each clip from slots to slots, and the riders of a sibling that takes its position."""
        core, places = cache.places.core, cache.places
        if places.most:
            riders = moved_riders(cache.rows.first(len(source)), source, target, places)
            source, target = (
                torch.cat([core + cells, given], 1)
                for cells, given in zip((source, target), riders, strict=True)
            )
            cache.entries.copy_slots(source, target)
        else:
            cache.entries.copy_slots(core + source, core + target)

    def copy_rows(
        self, cache: RiddenCache, rows: RowIndex, source: RiddenCache, source_rows: RowIndex
    ) -> None:
        """Copy rows with their conditions; see ``vidjacobi.models.protocol.RowModel.copy_rows``."""
        cache.copy_rows(rows, source, source_rows)

    def _embed(self, tokens: Tokens) -> Hidden:
        """Of cells. The special token, and what pads, has an embedding that is not looked at."""
        return self.passes.embed(tokens.clamp(max=self.vocab_size - 1)).to(self.dtype)

    def _room(self, ranks: Ranks) -> int:
        """Riders that a pass has room for: as many as there are; in compiled code as many as there can be."""
        inputs = ranks.counts.shape[1]
        if torch.compiler.is_compiling():
            return self._bound.of_pass(inputs)
        most, siblings = torch.stack([ranks.total, ranks.siblings.sum(-1)]).amax(-1).tolist()
        if siblings > SIBLINGS:
            raise InvalidArgument(
                f"a draft tree of {number_of(siblings, 'sibling')} a pass: these models have room for {SIBLINGS}"
            )
        return most

    def _head_chunks(self, hidden: Hidden) -> Iterator[Logits]:
        rows = max(1, HEAD_CHUNK // (hidden.shape[0] * self.vocab_size))
        for chunk in hidden.split(rows, 1):
            with torch.no_grad():  # not around the yield: a generator that is dropped would end it elsewhere
                logits = self.passes.head(chunk)
            yield logits
