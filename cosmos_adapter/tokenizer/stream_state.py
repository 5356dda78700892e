"""What the tokenizer's layers keep of a clip's earlier pieces, so that the next comes out as in the whole clip."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Act = Float[Tensor, "b c t h w"]


class StreamState:
    """The memory of one clip on its way through an encoder or a decoder, piece after piece.

    The first piece is a clip's first frame (or latent frame) and whatever follows it, later ones are whole groups
    of ``temporal_compression`` frames (any latent frames). Tensors in it are replaced and never changed, so that
    a fork costs nothing until the two go different ways.
    """

    def __init__(self) -> None:
        self.started = False  # a piece has gone through
        self.ends = False  # the piece that goes through is the last: what is kept is given up on the way
        self._kept: dict[nn.Module, Tensor] = {}

    def fork(self) -> "StreamState":
        """The same memory, for another continuation of the clip."""
        other = StreamState()
        other.started, other._kept = self.started, dict(self._kept)
        return other

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(tensor.nbytes for tensor in self._kept.values())

    def join(self, layer: nn.Module, x: Tensor, dim: int, most: int | None = None) -> Tensor:
        """``x`` behind what ``layer`` kept, if anything, along ``dim``; the last ``most`` of it are kept."""
        kept = self._kept.pop(layer, None)
        if kept is not None:
            x = torch.cat([kept, x], dim)
        if not self.ends:
            # a copy, so that what it is a part of can go
            self._kept[layer] = x if most is None else x.narrow(dim, x.shape[dim] - most, most).clone()
        return x


def is_start(state: StreamState | None) -> bool:
    """Whether a piece is a clip's first: the only one where no state is kept."""
    return state is None or not state.started


def behind(x: Act, frames: int, layer: nn.Module, state: StreamState | None) -> Float[Tensor, "b c t2 h w"]:
    """``x`` with ``frames`` frames in front of it: the last ones of the piece before, or its first one repeated."""
    if not frames:
        return x
    rows = x.permute(0, 2, 3, 4, 1)  # as it lies in memory
    if state is None or not state.started:
        rows = torch.cat([rows[:, :1].expand(-1, frames, -1, -1, -1), rows], 1)
    if state is not None:
        rows = state.join(layer, rows, 1, frames)
    return rows.permute(0, 4, 1, 2, 3)
