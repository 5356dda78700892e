"""A cache whose rows hold the condition of their clip beside its keys and values."""

from typing import TYPE_CHECKING

from cosmos_adapter.transformer.spec import round_up
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.families.condition_rows import ConditionRows
from vidjacobi.families.seats import Places
from vidjacobi.invariance import BLOCK
from vidjacobi.shapes import RowIndex

if TYPE_CHECKING:
    from vidjacobi.families.slot_cache import SlotCache


class RiddenCache:
    """Keys and values, and the condition of each row.

    Attributes:
        entries: keys and values by slot.
        places: which slots are whose.
        rows: the conditions.
    """

    def __init__(self, entries: "SlotCache", places: Places, rows: ConditionRows) -> None:
        self.entries, self.places, self.rows = entries, places, rows
        self._stays = False

    def zero_(self) -> None:
        """Wipe keys and values where they are: whoever asks for that knows their addresses, so they stay there."""
        self._stays = True
        for layer in self.entries.layers:
            layer.reset()

    def make_room(self, riders: int) -> None:
        """Have slots for so many riders in each row. Raises InvalidArgument where the cache cannot grow."""
        old = self.places
        if riders <= old.riders:
            return
        if self._stays:
            raise InvalidArgument(
                f"conditions of {number_of(riders, 'given token')} are more than the {old.riders} that a captured "
                "pass has room for: decode the longest first, or leave reduce-overhead out"
            )
        more = round_up(riders - old.riders, BLOCK)
        self.places = Places(old.riders + more, old.most, old.slots)
        self.entries.grow(round_up(self.places.total, BLOCK), [(more, 0, old.riders + old.slots)])
        self.rows = self.rows.widened(more)

    def copy_rows(self, rows: RowIndex, source: "RiddenCache", source_rows: RowIndex) -> None:
        """Copy rows with their conditions.

        Loose riders are those of one pass, and slots of riders that the source does not have are nobody's: they are
        wiped, since a masked NaN would stay one.
        """
        self.make_room(source.places.riders)
        mine, other = self.places, source.places
        more = mine.riders - other.riders
        self.entries.wipe(rows, 0, more)
        self.entries.wipe(rows, mine.core + other.slots, round_up(mine.total, BLOCK))
        regions = [(more, 0, other.riders + other.slots)]
        self.entries.copy_rows(rows, source.entries, source_rows, regions)
        self.rows.copy_rows(rows, source.rows, source_rows)
