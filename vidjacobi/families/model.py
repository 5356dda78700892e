"""A network of ``transformers`` behind vidjacobi's protocol: positions are cells, given tokens ride on them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.families.condition_rows import ConditionRows
from vidjacobi.families.layout import SIBLINGS, Condition, RiderBound
from vidjacobi.families.ridden_cache import RiddenCache
from vidjacobi.families.seats import Places, Ranks, Seen, cells_see, moved_riders, seat_riders
from vidjacobi.families.trunk import Hidden, Trunk
from vidjacobi.kinds import Grid, value_words
from vidjacobi.shapes import Logits, Positions, RowIndex, Slots, Tokens, Visible

# Logits that are in memory at once during the prefill, as in the Cosmos adapter.
HEAD_CHUNK = 1 << 24


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

        rows = ConditionRows.blank(batch, self.max_positions, self._axes, len(self.prefix_tokens), self._like)
        places = Places(0, self._bound.of_cell, slots)
        cache = RiddenCache(SlotCache(self.trunk.depth, batch, places.total), places, rows)
        cache.make_room(max((one.layout.total for one in self.conditions), default=0))
        if len(self.conditions) == 1:
            self.set_conditions(cache, self.conditions * batch)
        return cache

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
        riders = cache.rows.riders[: len(tokens), :n]
        # Within a group riders lie at the same places, so one pass feeds all of its rows.
        _, group = torch.unique(riders, dim=0, return_inverse=True)
        hidden: Hidden | None = None
        for number in range(int(group.max()) + 1):
            members = (group == number).nonzero()[:, 0]
            found = self._feed(tokens[members], cache, members)[:, n - keep :]
            if hidden is None:
                hidden = found.new_zeros(len(tokens), *found.shape[1:])
            hidden[members] = found
        assert hidden is not None
        return self._head_chunks(hidden)

    def _feed(self, tokens: Tokens, cache: RiddenCache, members: RowIndex) -> Hidden:
        """Hidden states behind the last rider of each position, of rows whose riders lie at the same places."""
        rows, (count, n) = cache.rows.rows(members), tokens.shape
        # Example, a prompt of 3 tokens and two cells a b, with a rider behind b. Positions are P a b, riders 2 0 1:
        #     place       0  1  2  3  4  5
        #     sequence    P  r  r  a  b  r      cells = 0 3 4, which are fed into the decoder's slots 0 1 2
        #     rank       -1  0  1  1  1  2      of riders, which have the rider's slots 0 1 2
        # The logits after P, a and b come out at the places 2, 3 and 5: behind the last rider of each.
        cells = rows.sequence[0, :n]
        length = int(cells[-1] + rows.riders[0, n - 1]) + 1
        place = torch.arange(length, device=tokens.device)
        given = ~torch.isin(place, cells)
        rank = given.cumsum(0) - 1
        special = len(self.prefix_tokens)
        where = torch.where(given, rank, 0)
        where[cells] = cache.places.core + torch.arange(n, device=tokens.device)
        embeds = rows.given[:, (special + rank).clamp(min=0, max=rows.given.shape[1] - 1)].clone()
        embeds[:, cells] = self._embed(tokens)
        if special:
            embeds[:, 0] = rows.given[:, 0]
        cache.entries.aim(where.expand(count, -1), None, members)
        hidden = self._run(embeds, rows.rotary(place.expand(count, -1)), None, cache)
        return hidden[:, cells + rows.riders[0, :n]]

    @torch.no_grad()
    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: RiddenCache
    ) -> Logits:
        """One pass over a window and what rides on it; see ``vidjacobi.models.protocol.VideoModel.forward``.

        Position 0 of a clip with a prompt is fed by the prefill alone. Raises InvalidArgument for more than SIBLINGS
        siblings; in compiled code, which cannot raise, the logits of such a clip are NaN.
        """
        rows, places = cache.rows.first(len(tokens)), cache.places
        ranks = Ranks.of(rows, positions, slots, visible)
        count = self._room(ranks)
        seen = cells_see(rows, slots, visible, places)
        embeds, sequence, where = self._embed(tokens), rows.sequence.gather(1, positions), places.core + slots
        if count:
            seats = seat_riders(rows, positions, slots, seen, places, ranks, count)
            index = (len(self.prefix_tokens) + seats.given)[..., None]
            given = rows.given.gather(1, index.expand(-1, -1, embeds.shape[-1]))
            embeds, sequence = torch.cat([embeds, given], 1), torch.cat([sequence, seats.sequence], 1)
            where, seen = torch.cat([where, seats.where], 1), torch.cat([seen, seats.visible], 1)
        cache.entries.aim(where, places.core + visible.shape[-1])
        hidden = self._run(embeds, rows.rotary(sequence), seen, cache)
        if count:
            last = ranks.last().clamp(max=hidden.shape[1] - 1)
            hidden = hidden.gather(1, last[..., None].expand(-1, -1, hidden.shape[-1]))
        logits = self.trunk.head(hidden)
        if torch.compiler.is_compiling():
            crowded = (ranks.siblings.sum(-1) > SIBLINGS) | (ranks.total > count)
            logits = torch.where(crowded[:, None, None], torch.nan, logits)
        return logits

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
        return self.trunk.embed(tokens.clamp(max=self.vocab_size - 1)).to(self.dtype)

    def _run(
        self, embeds: Hidden, places: Int[Tensor, "*k b n"], visible: Seen | None, cache: RiddenCache
    ) -> Hidden:
        mask = None if visible is None else self.trunk.mask(visible)
        return self.trunk.layers(
            inputs_embeds=embeds,
            position_ids=places,
            attention_mask=mask,
            past_key_values=cache.entries,
            use_cache=True,
        ).last_hidden_state

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
                logits = self.trunk.head(chunk)
            yield logits
