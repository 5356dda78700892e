"""The feed-forward network of a layer."""

import torch
import torch.nn.functional as F
from torch import nn

from cosmos_adapter.transformer.attention import Hidden
from cosmos_adapter.transformer.linear import Linear, SideBySide, side_by_side
from cosmos_adapter.transformer.spec import ModelSpec


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
