"""The riders of a pass: which there are, where their entries go, and what each input and rider sees.

The slots of a cache are ``[riders | loose riders | dump | the decoder's slots]``, so that attention reads a prefix.
A rider of the window has a slot of its own; those of siblings are loose until a sibling is accepted; places of riders
that a pass does not need go to the dump, which nobody else sees.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.families.condition_rows import ConditionRows
from vidjacobi.families.layout import SIBLINGS
from vidjacobi.shapes import Counts, Mask, Positions, Slots, Visible

Seen = Bool[Tensor, "b m a"]  # which of all slots that are read each input and rider sees


@dataclass(frozen=True)
class Places:
    """The slots of a cache.

    Attributes:
        riders: slots of riders.
        most: the most riders of one cell.
        slots: of the decoder.
    """

    riders: int
    most: int
    slots: int

    @property
    def dump(self) -> int:
        """The slot of what nobody sees."""
        return self.riders + SIBLINGS * self.most

    @property
    def core(self) -> int:
        """The first of the decoder's slots."""
        return self.dump + 1

    @property
    def total(self) -> int:
        """All slots."""
        return self.core + self.slots

    def loose(self, slots: Slots) -> Slots:
        """The first place for the riders of siblings in some slots, which are neighbours: no two share one."""
        return self.riders + slots % SIBLINGS * self.most


@dataclass(frozen=True)
class Ranks:
    """How many riders the inputs of a pass have.

    Attributes:
        counts: of each input; ``ends``: of each and all before it.
        siblings: inputs at another slot than their position, but for padding.
    """

    counts: Int[Tensor, "b n"]
    ends: Int[Tensor, "b n"]
    siblings: Mask

    @classmethod
    def of(cls, rows: ConditionRows, positions: Positions, slots: Slots, visible: Visible) -> "Ranks":
        """Padding, which does not see its own slot, has none."""
        read = visible.shape[-1]
        own = visible.gather(2, slots.clamp(max=read - 1)[..., None])[..., 0]
        real = own & (slots < read)
        counts = torch.where(real, rows.riders.gather(1, positions), 0)
        return cls(counts, counts.cumsum(1), real & (slots != positions))

    @property
    def total(self) -> Counts:
        """Riders of each clip."""
        return self.ends[:, -1]

    def last(self) -> Int[Tensor, "b n"]:
        """For each input the place among inputs and riders whose logits are those of the next cell."""
        n = self.counts.shape[1]
        own = torch.arange(n, device=self.counts.device)
        return torch.where(self.counts > 0, n + self.ends - 1, own)


@dataclass(frozen=True)
class Seats:
    """The riders of a pass, in the order of their inputs.

    Attributes:
        given: which of the clip's riders each is.
        sequence: its place in the sequence.
        where: its slot in the cache.
        visible: what it sees, of all slots that are read.
    """

    given: Int[Tensor, "b e"]
    sequence: Int[Tensor, "b e"]
    where: Int[Tensor, "b e"]
    visible: Bool[Tensor, "b e a"]


def cells_see(rows: ConditionRows, slots: Slots, visible: Visible, places: Places) -> Seen:
    """What each input sees, of all slots: a rider wherever it sees the cell that the rider rides on, but not its own.

    Its own riders stand behind it.
    """
    read = visible.shape[-1]
    slot = torch.arange(read, device=slots.device)
    others = visible & (slot != slots[..., None])
    owner = rows.owner[:, None].expand(-1, slots.shape[1], -1)
    riders = others.gather(2, owner.clamp(max=read - 1)) & (owner < read)
    rest = visible.new_zeros(*slots.shape, places.core - owner.shape[-1])
    return torch.cat([riders, rest, visible], -1)


def seat_riders(
    rows: ConditionRows,
    positions: Positions,
    slots: Slots,
    seen: Seen,
    places: Places,
    ranks: Ranks,
    count: int,
) -> Seats:
    """Room for ``count`` riders, at least as many as any clip has in this pass.

    Each sees what its cell sees and the riders of that cell up to itself.
    """
    index = torch.arange(count, device=slots.device).expand(len(slots), -1).contiguous()
    # Inputs with 0, 2 and 1 riders: ends = 0 2 3, so the riders belong to the inputs 1 1 2, with ranks 0 1 0.
    owner = torch.searchsorted(ranks.ends, index, right=True).clamp(max=slots.shape[1] - 1)
    real = index < ranks.total[:, None]

    def of_owner(table: Tensor) -> Tensor:
        return table.gather(1, owner)

    rank = index - of_owner(ranks.ends - ranks.counts)
    position, slot = of_owner(positions), of_owner(slots)
    given = torch.where(real, rows.before.gather(1, position) + rank, 0)
    own = torch.where(slot == position, given, places.loose(slot) + rank)
    where = torch.where(real, own, places.dump)
    sequence = torch.where(real, rows.sequence.gather(1, position) + 1 + rank, 0)
    company = (owner[:, :, None] == owner[:, None]) & (index[:, None] <= index[:, :, None]) & real[:, None]
    visible = seen.gather(1, owner[..., None].expand(-1, -1, seen.shape[-1]))
    beside = torch.zeros_like(visible).scatter(2, where[:, None].expand(-1, count, -1), company)
    slot_of = torch.arange(seen.shape[-1], device=slots.device)
    visible = (visible | beside) & (slot_of != places.dump)
    return Seats(given, sequence, where, torch.where(real[..., None], visible, slot_of == places.dump))


def moved_riders(
    rows: ConditionRows, source: Slots, target: Slots, places: Places
) -> tuple[Int[Tensor, "b m"], Int[Tensor, "b m"]]:
    """From where and to where the riders of accepted siblings move; where there are none, from the dump to it."""
    at = target.clamp(max=rows.riders.shape[1] - 1)
    rank = torch.arange(places.most, device=source.device)
    moved = (source != target) & (target == at)
    moves = moved[..., None] & (rank < rows.riders.gather(1, at)[..., None])
    old = torch.where(moves, places.loose(source)[..., None] + rank, places.dump)
    new = torch.where(moves, rows.before.gather(1, at)[..., None] + rank, places.dump)
    return old.flatten(1), new.flatten(1)
