"""The conditions of the clips as tables with a row each, which live in the cache and move with its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vidjacobi.families.layout import Condition
from vidjacobi.shapes import RowIndex

NOBODY = 1 << 40  # owner of a rider that a clip does not have: no slot is as large


@dataclass(frozen=True)
class ConditionRows:
    """Tables of ``Layout``, and the given embeddings, padded on the right.

    Attributes:
        riders, before, sequence: of each position: riders behind it, riders in front of it, its place.
        owner: of each rider the position it rides on.
        rope: what each place tells the rotary embedding, k numbers: 1, or 3 for M-RoPE.
        given: embeddings of given tokens in sequence order.
        there: whether the row has a condition.
    """

    riders: Int[Tensor, "r p"]
    before: Int[Tensor, "r p"]
    sequence: Int[Tensor, "r p"]
    owner: Int[Tensor, "r g"]
    rope: Int[Tensor, "r k s"]
    given: Float[Tensor, "r e dim"]
    there: Bool[Tensor, " r"]

    @classmethod
    def blank(
        cls, rows: int, positions: int, axes: int, specials: int, like: Float[Tensor, "_ dim"]
    ) -> "ConditionRows":
        """Rows without a condition and without room for riders. ``like``: an embedding."""
        none = torch.zeros(rows, positions, dtype=torch.long, device=like.device)
        given, there = like.new_zeros(rows, specials, like.shape[1]), none.new_zeros(rows, dtype=torch.bool)
        rope = none[:, None].expand(-1, axes, -1).clone()
        return cls(none, none.clone(), none.clone(), none[:, :0].clone(), rope, given, there)

    @classmethod
    def of(cls, conditions: Sequence[Condition], like: Float[Tensor, "_ dim"]) -> "ConditionRows":
        """A row for each condition. ``like``: an embedding, for its dtype and device."""
        layouts = [condition.layout for condition in conditions]

        def stacked(parts: list[Tensor], filler: int = 0) -> Tensor:
            return pad_sequence(parts, batch_first=True, padding_value=filler).to(like.device)

        rope = stacked([layout.places.reshape(-1, layout.length).T for layout in layouts])
        return cls(
            riders=stacked([layout.riders for layout in layouts]),
            before=stacked([layout.before for layout in layouts]),
            sequence=stacked([torch.arange(len(layout.riders)) + layout.before for layout in layouts]),
            owner=stacked([layout.owner for layout in layouts], NOBODY),
            rope=rope.movedim(1, -1).contiguous(),
            given=stacked([condition.given.detach().to(like.device, like.dtype) for condition in conditions]),
            there=torch.ones(len(layouts), dtype=torch.bool, device=like.device),
        )

    def widened(self, riders: int) -> "ConditionRows":
        """With room for so many riders more."""
        return replace(
            self,
            owner=F.pad(self.owner, (0, riders), value=NOBODY),
            rope=F.pad(self.rope, (0, riders)),
            given=F.pad(self.given, (0, 0, 0, riders)),
        )

    def first(self, rows: int) -> "ConditionRows":
        """The first rows."""
        return ConditionRows(*(getattr(self, part.name)[:rows] for part in fields(self)))

    def rows(self, rows: RowIndex) -> "ConditionRows":
        """Some rows, in this order."""
        return ConditionRows(*(getattr(self, part.name)[rows] for part in fields(self)))

    def copy_rows(self, rows: RowIndex, source: "ConditionRows", source_rows: RowIndex) -> None:
        """Copy rows of another one, which has no more room, over rows of this one."""
        for part in fields(self):
            mine, other = getattr(self, part.name), getattr(source, part.name)
            region = tuple(slice(size) for size in other.shape[1:])
            mine[rows] = NOBODY if part.name == "owner" else 0
            mine[(rows, *region)] = other[source_rows]

    def rotary(self, sequence: Int[Tensor, "b n"]) -> Int[Tensor, "*k b n"]:
        """What some places tell the rotary embedding: ``[b n]``, or ``[3 b n]`` for M-RoPE."""
        if self.rope.shape[1] == 1:
            return self.rope[:, 0].gather(1, sequence)
        return self.rope.gather(2, sequence[:, None].expand(-1, self.rope.shape[1], -1)).transpose(0, 1)
