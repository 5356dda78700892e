"""Projections, several of them as one product, and the feed-forward network that is made of them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.invariance import by_inputs, product

Hidden = Float[Tensor, "b n c"]


class Linear(nn.Linear):
    """A projection without bias (the architecture has none), in matrix products of at most ``most_rows`` rows."""

    most_rows = 0  # 0: any number

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... e"]:
        return product(x, self.weight, self.most_rows)

    def settle(self, most_rows: int, fake: bool) -> None:
        """Compute products of so many rows from now on, and unless it is ``fake`` store the weight for them."""
        self.most_rows = most_rows
        if not fake:
            with torch.inference_mode(False):  # else it could not be trained any more
                self.weight.data = by_inputs(self.weight.data)


class SideBySide:
    """Projections of the same input whose weights lie one after the other in memory: one product computes them all.

    Each weight is a view of its part, so nothing is stored twice, and whoever trains or saves a projection finds it
    as it was. Where a weight has been replaced since (moved, or cast), ``product`` has nothing to offer.
    """

    def __init__(self, parts: Sequence[Linear]) -> None:
        self.parts = tuple(parts)
        with torch.inference_mode(False):
            self.whole = by_inputs(torch.cat([part.weight.data for part in parts]))
            sizes = [part.out_features for part in parts]
            for part, own in zip(parts, self.whole.split(sizes), strict=True):
                part.weight.data = own
        self._addresses = self._places()

    def _places(self) -> list[int]:
        return [part.weight.data_ptr() for part in self.parts]

    @property
    def is_whole(self) -> bool:
        """Whether the projections still have the weights that were joined."""
        # whole lives on, so no other tensor can have got one of the addresses
        return self._places() == self._addresses

    def product(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... e"] | None:
        """What all projections make of x, side by side; None where they must be asked one by one."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or not self.is_whole:
            return None
        return product(x, self.whole, self.parts[0].most_rows)


def side_by_side(parts: Sequence[Linear], before: SideBySide | None) -> SideBySide | None:
    """The projections as one, on a CPU; as they are where they have been joined already. None: not joined.

    Weights of a device stay where they are: their turns there are ``vidjacobi.models.offload``'s affair.
    """
    if any(part.weight.device.type != "cpu" for part in parts):
        return None
    return before if before and before.is_whole else SideBySide(parts)


class FeedForward(nn.Module):
    """The SwiGLU feed-forward network: w2(silu(w1 x) * w3 x) (Shazeer 2020)."""

    plain_silu = True  # ``CosmosTransformer.settle`` sets it
    joined: SideBySide | None = None  # w1 and w3; ``settle`` sets it

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.w1 = Linear(spec.dim, spec.ffn_hidden_size)
        self.w2 = Linear(spec.ffn_hidden_size, spec.dim)
        self.w3 = Linear(spec.dim, spec.ffn_hidden_size)

    @property
    def alike(self) -> tuple[Linear, ...]:
        """The projections of the same input."""
        return self.w1, self.w3

    def settle(self, plain_silu: bool, fake: bool) -> None:
        """How SiLU is computed from now on; the projections of the input are joined unless they are ``fake``."""
        self.plain_silu = plain_silu
        if not fake:
            self.joined = side_by_side(self.alike, self.joined)

    def forward(self, x: Hidden) -> Hidden:
        if torch.is_grad_enabled():
            return self.w2(F.silu(self.w1(x)) * self.w3(x))
        made = None if self.joined is None else self.joined.product(x)
        gate, up = (self.w1(x), self.w3(x)) if made is None else made.chunk(2, -1)
        return self.w2(silu(gate, self.plain_silu).mul_(up))


def silu(x: Hidden, plain: bool) -> Hidden:
    """x / (1 + exp(-x)), computed in float32 or float64: by PyTorch's own kernel, or (not ``plain``) in separate
    operations, for where a row's numbers depend on its place in that kernel (``invariance.silu_is_invariant``).
    """
    wide = x if x.dtype == torch.float64 else x.float()
    return (F.silu(wide) if plain else wide / wide.neg().exp_().add_(1)).to(x.dtype)
