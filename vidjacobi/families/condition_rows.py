"""The conditions of the clips as tables with a row each, which live in the cache and move with its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.families.layout import Condition
from vidjacobi.shapes import RowIndex

NOBODY = 1 << 40  # owner of a rider that a clip does not have: no slot is as large


@dataclass(frozen=True)
class ConditionRows:
    """Tables of ``Layout``, and the given embeddings, padded on the right.

    Attributes:
        riders, before, sequence: of each position: riders behind it, riders in front of it, its place.
        owner: of each rider the position it rides on.
        rope: ``[r s]`` or ``[r 3 s]``, what each place tells the rotary embedding.
        given: embeddings of given tokens in sequence order.
    """

    riders: Int[Tensor, "r p"]
    before: Int[Tensor, "r p"]
    sequence: Int[Tensor, "r p"]
    owner: Int[Tensor, "r g"]
    rope: Int[Tensor, "r ... s"]
    given: Float[Tensor, "r e dim"]

    @classmethod
    def of(
        cls, conditions: Sequence[Condition], rows: int, device: torch.device, dtype: torch.dtype
    ) -> "ConditionRows":
        """Tables of ``rows`` rows, of one condition for all or of one for each. Raises InvalidArgument."""
        if len(conditions) not in (1, rows):
            raise InvalidArgument(
                f"{number_of(len(conditions), 'condition')} for a batch of {number_of(rows, 'clip')}: give one for "
                "each clip, or one for all"
            )
        layouts = [condition.layout for condition in conditions]

        def stacked(parts: list[Tensor], filler: int = 0) -> Tensor:
            table = pad_sequence(parts, batch_first=True, padding_value=filler).to(device)
            return table.expand(rows, *table.shape[1:]).clone()  # rows are written one by one

        rope = stacked([layout.places.movedim(-1, 0) for layout in layouts])
        return cls(
            riders=stacked([layout.riders for layout in layouts]),
            before=stacked([layout.before for layout in layouts]),
            sequence=stacked([torch.arange(len(layout.riders)) + layout.before for layout in layouts]),
            owner=stacked([layout.owner for layout in layouts], NOBODY),
            rope=rope.movedim(1, -1).contiguous(),
            given=stacked([condition.given.detach().to(device, dtype) for condition in conditions]),
        )

    def first(self, rows: int) -> "ConditionRows":
        """The first rows."""
        return ConditionRows(*(getattr(self, part.name)[:rows] for part in fields(self)))

    def rows(self, rows: RowIndex) -> "ConditionRows":
        """Some rows, in this order."""
        return ConditionRows(*(getattr(self, part.name)[rows] for part in fields(self)))

    def copy_rows(self, rows: RowIndex, source: "ConditionRows", source_rows: RowIndex) -> None:
        """Copy rows of another one of the same conditions, or of fewer and smaller ones, over rows of this one."""
        for part in fields(self):
            mine, other = getattr(self, part.name), getattr(source, part.name)
            region = tuple(slice(size) for size in other.shape[1:])
            mine[(rows, *region)] = other[source_rows]

    def rotary(self, sequence: Int[Tensor, "b n"]) -> Int[Tensor, "*k b n"]:
        """What some places tell the rotary embedding: ``[b n]``, or ``[3 b n]`` for M-RoPE."""
        if self.rope.ndim == 2:
            return self.rope.gather(1, sequence)
        return self.rope.gather(2, sequence[:, None].expand(-1, self.rope.shape[1], -1)).transpose(0, 1)
