"""What the tokenizer's layers keep of a clip's earlier pieces, so that the next comes out as in the whole clip."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Act = Float[Tensor, "b c t h w"]


class StreamState:
    """The memory of one clip on its way through an encoder or a decoder, piece after piece.

    Every layer that looks back in time keeps the tail of its input here: a convolution over time its last one or
    two frames, attention over time its keys and values. The first piece is the first frame (or latent frame) of a
    clip and any that follow it; later pieces are whole groups of ``temporal_compression`` frames, or any latent
    frames.
    """

    def __init__(self) -> None:
        self.started = False  # whether a piece has gone through
        self.ends = False  # whether the current piece is the last one, after which nothing needs to be kept
        self._kept: dict[nn.Module, Tensor] = {}

    def fork(self) -> "StreamState":
        """A copy of the memory, for another continuation of the clip."""
        # Tensors in the memory are replaced and never changed, so a shallow copy is enough: the two states share all
        # tensors until they meet different pieces.
        other = StreamState()
        other.started, other._kept = self.started, dict(self._kept)
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors that it holds."""
        return sum(tensor.nbytes for tensor in self._kept.values())

    def extend(self, layer: nn.Module, x: Tensor, dim: int, most: int | None = None) -> Tensor:
        """What ``layer`` kept of the earlier pieces, if anything, followed by ``x`` along ``dim``.

        The last ``most`` places of the result are kept for the next piece; None keeps all of it.
        """
        kept = self._kept.pop(layer, None)
        if kept is not None:
            x = torch.cat([kept, x], dim)
        if not self.ends:
            # A slice would keep all of the tensor that it is a part of in memory, so the tail is copied.
            self._kept[layer] = x if most is None else x.narrow(dim, x.shape[dim] - most, most).clone()
        return x


def is_start(state: StreamState | None) -> bool:
    """Whether a piece is the first of its clip. A whole clip, which has no state, is one."""
    return state is None or not state.started


def with_history(
    x: Act, frames: int, layer: nn.Module, state: StreamState | None
) -> Float[Tensor, "b c t2 h w"]:
    """``x`` after ``frames`` earlier frames: the last ones of the piece before, or the clip's first one repeated."""
    # A kernel of 3 over time needs two earlier frames. Frames 0 1 2 3 4 in one piece become 0 0 0 1 2 3 4. In
    # pieces of 1 and 4 frames, the first becomes 0 0 0, of which 0 0 is kept, and the second becomes 0 0 1 2 3 4:
    # the convolution over them yields the same five frames.
    if not frames:
        return x
    # b t h w c, as it lies in memory: concatenating along t copies whole blocks
    rows = x.permute(0, 2, 3, 4, 1)
    if is_start(state):
        rows = torch.cat([rows[:, :1].expand(-1, frames, -1, -1, -1), rows], 1)
    if state is not None:
        rows = state.extend(layer, rows, 1, frames)
    return rows.permute(0, 4, 1, 2, 3)
