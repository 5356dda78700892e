"""A cache of ``transformers`` whose entries are addressed by slot, over what was there."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from vidjacobi.shapes import RowIndex, Slots

Entries = Float[Tensor, "b k n d"]


class SlotLayer(CacheLayerMixin):
    """Keys and values ``[rows, heads, slots, head size]`` of one layer, allocated when the first ones come."""

    def __init__(self, rows: int, slots: int) -> None:
        super().__init__()
        self.rows, self.slots = rows, slots

    def lazy_initialization(self, key_states: Entries, value_states: Entries) -> None:
        """Zeroed, like these in all but rows and slots."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            part.new_zeros(self.rows, part.shape[1], self.slots, part.shape[3])
            for part in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Entries, value_states: Entries, *args: Any, **kwargs: Any) -> Any:
        """Not called: the cache knows the slots."""
        raise NotImplementedError("SlotCache.update writes entries")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Asked for only where no mask is given: in the prefill of an empty cache."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """Of an empty cache: positions and masks are always given."""
        return 0

    def get_max_length(self) -> int:
        """Slots of a row."""
        return self.slots


class SlotCache(Cache):
    """Keys and values of all layers. ``aim`` says where the next pass writes.

    Args:
        layers: of the network.
        rows, slots: of the cache, >= 1.
    """

    def __init__(self, layers: int, rows: int, slots: int) -> None:
        super().__init__(layers=[SlotLayer(rows, slots) for _ in range(layers)])
        self._where: Slots | None = None
        self._places: Int[Tensor, " p"] | None = None

    def aim(self, where: Slots) -> None:
        """The next pass writes its first inputs to the slots ``where`` of the first rows, padding nowhere."""
        self._where, self._places = where, None

    def update(
        self, key_states: Entries, value_states: Entries, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Entries, Entries]:
        """Called by the layer's attention: write the entries and return them; ``slot_attention`` reads the cache."""
        layer, where = self.layers[layer_idx], self._where
        if not layer.is_initialized:
            layer.lazy_initialization(key_states, value_states)
        assert where is not None
        if self._places is None:
            self._places = _entry_places(where, layer.keys)
        for stored, new in ((layer.keys, key_states), (layer.values, value_states)):
            rows = new[:, :, : where.shape[1]].reshape(-1, new.shape[-1])
            stored.view(-1, new.shape[-1]).index_copy_(0, self._places, rows)
        return key_states, value_states

    def copy_slots(self, source: Slots, target: Slots) -> None:
        """Copy entries of each of the first rows from slots to slots."""
        clips = torch.arange(len(source), device=source.device)[:, None]
        for layer in self.layers:
            for entries in (layer.keys, layer.values):
                entries[clips, :, target] = entries[clips, :, source]

    def wipe(self, rows: RowIndex, first: int, end: int) -> None:
        """Zero the slots first..end-1 of whole rows."""
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys[rows, :, first:end] = 0
                layer.values[rows, :, first:end] = 0

    def grow(self, slots: int, regions: list[tuple[int, int, int]]) -> None:
        """Have ``slots`` slots and keep what is in runs of them: (first slot then, first slot now, count)."""
        for layer in self.layers:
            layer.slots = slots
            if not layer.is_initialized:
                continue
            for name in ("keys", "values"):
                old = getattr(layer, name)
                new = old.new_zeros(*old.shape[:2], slots, old.shape[3])
                for then, now, count in regions:
                    new[:, :, then : then + count] = old[:, :, now : now + count]
                setattr(layer, name, new)

    def copy_rows(
        self, rows: RowIndex, source: "SlotCache", source_rows: RowIndex, regions: list[tuple[int, int, int]]
    ) -> None:
        """Copy runs of slots of whole rows. A region is (first slot here, first slot there, count)."""
        for mine, other in zip(self.layers, source.layers, strict=True):
            if not mine.is_initialized and other.is_initialized:
                mine.lazy_initialization(other.keys, other.values)
            for entries, others in ((mine.keys, other.keys), (mine.values, other.values)):
                for here, there, count in regions:
                    if other.is_initialized:
                        entries[rows, :, here : here + count] = others[source_rows, :, there : there + count]
                    elif mine.is_initialized:  # rows without entries yet are copied to wipe others
                        entries[rows, :, here : here + count] = 0


def _entry_places(where: Slots, keys: Float[Tensor, "r k s d"]) -> Int[Tensor, " p"]:
    """Where in the ``keys`` of a layer the entries of the heads of each input go, counted through rows and heads."""
    # With 2 heads and 512 slots, slot 4 of clip 0 is entry 4 of head 0 and 516 of head 1; of clip 1 1028, 1540.
    heads, slots = keys.shape[1:3]
    first = torch.arange(0, len(where) * heads * slots, slots, device=where.device)
    return (first.view(-1, heads, 1) + where.unsqueeze(1)).flatten()
