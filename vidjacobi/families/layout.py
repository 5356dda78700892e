"""Where given tokens stand: they *ride* on the cell in front of them, so that positions count cells alone.

A position of the decoder is a cell of the grid. What is given (row ends, delimiters, actions, the prompt) is fed in
the same pass as the cell before it, and the logits of the next cell are those of the last of them. A prompt is the
special token at position 0: its first token stands there, and the others ride on it.

Example, a prompt of two tokens and 2x2 cells with an end token behind each row::

    position     0      1   2      3   4
    sequence   p p'     a   b e    c   d e'
    riders       1      0   1      0   1
    before       0      1   1      2   2        riders in front of each position
    place        0      2   3      5   6        in the sequence
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import Grid

SIBLINGS = 32  # most siblings of a pass: so many have room for their riders


@dataclass(frozen=True, eq=False)
class Layout:
    """The places of one clip.

    Attributes:
        riders: given tokens behind each position ``[p]``, >= 0.
        rope: what each place of the sequence tells the rotary embedding, ``[s]``, or ``[3 s]`` for M-RoPE, where s
            is p and all riders; None: its index. Raises InvalidArgument for another length.
    """

    riders: Int[Tensor, " p"]
    rope: Int[Tensor, "... s"] | None = None

    def __post_init__(self) -> None:
        if self.rope is not None and self.rope.shape[-1] != self.length:
            raise InvalidArgument(
                f"rotary positions for {self.rope.shape[-1]} places, the sequence has {self.length}"
            )

    @property
    def length(self) -> int:
        """Places of the sequence."""
        return len(self.riders) + self.total

    @cached_property
    def total(self) -> int:
        """Riders of the clip."""
        return int(self.riders.sum())

    @property
    def before(self) -> Int[Tensor, " p"]:
        """Riders in front of each position."""
        return self.riders.cumsum(0) - self.riders

    @property
    def owner(self) -> Int[Tensor, " g"]:
        """The position that each rider rides on."""
        return torch.repeat_interleave(torch.arange(len(self.riders)), self.riders)

    @property
    def places(self) -> Int[Tensor, "... s"]:
        """What each place tells the rotary embedding."""
        return torch.arange(self.length) if self.rope is None else self.rope


@dataclass(frozen=True, eq=False)
class Condition:
    """What is given to one clip: where, and the embeddings ``[g dim]`` of all given tokens in sequence order.

    They are the first token of the prompt, if there is one, and all riders. ``origin``: what they were made of, such
    as token ids, so that a condition has one name in every dtype; empty: it is named by the embeddings themselves.
    """

    layout: Layout
    given: Float[Tensor, "g dim"]
    origin: bytes = b""

    @cached_property
    def name(self) -> str:
        """sha256 of all that makes it differ from others of one model."""
        parts = [self.layout.riders, self.layout.places.contiguous()]
        said = self.origin or bytes_of(self.given)
        return sha256(b"".join([*(bytes_of(part) for part in parts), said])).hexdigest()

    def check(self, specials: int) -> None:
        """Raise InvalidArgument unless there is an embedding for each given token, ``specials`` of them no riders."""
        wanted = specials + self.layout.total
        if len(self.given) != wanted:
            raise InvalidArgument(
                f"{number_of(len(self.given), 'embedding')} for {number_of(wanted, 'given token')}"
            )


def bytes_of(tensor: Tensor) -> bytes:
    """The numbers of a tensor, for a hash: what its dtype and shape are is not told."""
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()


def after_rows(grid: Grid, row_end: int, frame_end: int = 0) -> Int[Tensor, " c"]:
    """Riders of the cells of a grid: ``row_end`` behind each row, and ``frame_end`` more behind each frame."""
    riders = torch.zeros(grid.t, grid.h, grid.w, dtype=torch.long)
    riders[:, :, -1] = row_end
    riders[:, -1, -1] += frame_end
    return riders.flatten()


def behind_prompt(prompt: int, cells: Int[Tensor, " c"]) -> Int[Tensor, " p"]:
    """Riders of all positions: of a prompt of ``prompt`` tokens, then of the cells."""
    if prompt < 1:
        raise InvalidArgument("a prompt has at least one token")
    return torch.cat([torch.tensor([prompt - 1]), cells])


@dataclass(frozen=True)
class RiderBound:
    """The most riders that passes can have, as plain numbers, which compiled code may look at.

    Attributes:
        of_window: for 1, 2 ... inputs at different positions.
        of_cell: behind one cell.
    """

    of_window: tuple[int, ...]
    of_cell: int

    @classmethod
    def of(cls, cells: Int[Tensor, " c"]) -> "RiderBound":
        """Of clips with these riders behind cells. What rides on the prompt is fed by the prefill alone."""
        # Cells with 0 0 1 0 2 riders: one input has at most 2, two have at most 3, and more than that nobody has.
        window = cells.sort(descending=True).values.cumsum(0).tolist()
        return cls(tuple(window), window[0])

    def of_pass(self, inputs: int) -> int:
        """Of ``inputs`` inputs, whatever their positions are.

        Those of the window lie at different positions. Several siblings stand at *one*, each with its riders.
        """
        window = self.of_window[min(inputs, len(self.of_window)) - 1]
        return window + min(inputs, SIBLINGS) * self.of_cell
