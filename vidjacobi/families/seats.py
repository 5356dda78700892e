"""The riders of a pass: which there are, where their entries go, and what each input and rider sees.

The slots of a cache are ``[riders | the decoder's slots | loose riders | dump]``, so that attention reads a prefix.
A rider of the window has a slot of its own; those of siblings are loose until a sibling is accepted; places of riders
that a pass does not need go to the dump, which nobody sees.

The first rider stands right before the decoder's slots, the second before the first, and so on: a clip's entries are
as far from each other in any cache, however many riders there is room for. Rooms differ by whole blocks of attention,
so that it sums the entries of a clip in one order, beside whatever other clips.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vidjacobi.families.condition_rows import ConditionRows
from vidjacobi.families.layout import SIBLINGS
from vidjacobi.families.slot_attention import Company
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
    def core(self) -> int:
        """The first of the decoder's slots."""
        return self.riders

    @property
    def dump(self) -> int:
        """The slot of what nobody sees."""
        return self.riders + self.slots + SIBLINGS * self.most

    @property
    def total(self) -> int:
        """All slots."""
        return self.dump + 1

    def of_rider(self, riders: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """The slots of the clip's riders of some numbers."""
        return self.riders - 1 - riders

    def loose(self, slots: Slots) -> Slots:
        """The first place for the riders of siblings in some slots, which are neighbours: no two share one."""
        return self.riders + self.slots + slots % SIBLINGS * self.most


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
        visible: what it sees, of all slots that are read, beside its company.
        company: its cell and the riders up to itself.
    """

    given: Int[Tensor, "b e"]
    sequence: Int[Tensor, "b e"]
    where: Int[Tensor, "b e"]
    visible: Bool[Tensor, "b e a"]
    company: Company


def cells_see(rows: ConditionRows, slots: Slots, visible: Visible, places: Places) -> Seen:
    """What each input sees beside itself, of all slots: a rider wherever it sees the cell that the rider rides on.

    Its own riders stand behind it.
    """
    read = visible.shape[-1]
    slot = torch.arange(read, device=slots.device)
    others = visible & (slot != slots[..., None])
    owner = rows.owner[:, None].expand(-1, slots.shape[1], -1)
    riders = others.gather(2, owner.clamp(max=read - 1)) & (owner < read)
    return torch.cat([riders.flip(-1), others], -1)


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

    Each sees what its cell sees, and has that cell and its riders up to itself as company.
    """
    index = torch.arange(count, device=slots.device).expand(len(slots), -1).contiguous()
    inputs = slots.shape[1]
    # Inputs with 0, 2 and 1 riders: ends = 0 2 3, so the riders belong to the inputs 1 1 2, with ranks 0 1 0.
    owner = torch.searchsorted(ranks.ends, index, right=True).clamp(max=inputs - 1)
    real = index < ranks.total[:, None]

    def of_owner(table: Tensor) -> Tensor:
        return table.gather(1, owner)

    rank = torch.where(real, index - of_owner(ranks.ends - ranks.counts), 0)
    position, slot = of_owner(positions), of_owner(slots)
    given = torch.where(real, rows.before.gather(1, position) + rank, 0)
    own = torch.where(slot == position, places.of_rider(given), places.loose(slot) + rank)
    where = torch.where(real, own, places.dump)
    sequence = torch.where(real, rows.sequence.gather(1, position) + 1 + rank, 0)
    visible = seen.gather(1, owner[..., None].expand(-1, -1, seen.shape[-1])) & real[..., None]
    # The company of the rider of rank 1 above: its cell, input 1, then the riders 0 and 1, inputs 3 and 4.
    far = torch.arange(1 + places.most, device=slots.device)
    beside = inputs + (index - rank)[..., None] + (far - 1).clamp(min=0)
    company = torch.where(far == 0, owner[..., None], beside.clamp(max=inputs + count - 1))
    return Seats(given, sequence, where, visible, Company(inputs, company, (far <= rank[..., None] + 1)))


def moved_riders(
    rows: ConditionRows, source: Slots, target: Slots, places: Places
) -> tuple[Int[Tensor, "b m"], Int[Tensor, "b m"]]:
    """From where and to where the riders of accepted siblings move; where there are none, from the dump to it."""
    at = target.clamp(max=rows.riders.shape[1] - 1)
    rank = torch.arange(places.most, device=source.device)
    moved = (source != target) & (target == at)
    moves = moved[..., None] & (rank < rows.riders.gather(1, at)[..., None])
    old = torch.where(moves, places.loose(source)[..., None] + rank, places.dump)
    new = torch.where(moves, places.of_rider(rows.before.gather(1, at)[..., None] + rank), places.dump)
    return old.flatten(1), new.flatten(1)
