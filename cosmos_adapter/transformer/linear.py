"""Projections, several of them as one product, and the feed-forward network that is made of them."""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from inspect import unwrap
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook as has_hooks_of_all

from cosmos_adapter.transformer.spec import ModelSpec
from vidjacobi.invariance import COUNTS, Sizes, by_inputs, product, zero_sum

Hidden = Float[Tensor, "b n c"]
Factor = tuple[Tensor, bool]  # what a product multiplies by: a weight [o c], or its packed copy (True)
PACKED_ROWS = 64  # weights are packed for products of about so many rows, and serve for any number
WORDS = 1 << 18  # that are summed at once: 2 MB
PACKED_BYTES = 1 << 28  # weights of a network of which a packed copy is kept: 2^27 numbers in bfloat16


def pack(weight: Float[Tensor, "o c"]) -> Tensor:
    """A copy of a weight in the order in which oneDNN, the library of bfloat16 products on a CPU, multiplies by it.

    Given a plain weight it copies for every product, which takes longer than few rows (docs/log/speed.md).
    """
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), PACKED_ROWS)


def product_by_packed(x: Float[Tensor, "... c"], packed: Tensor, most: int) -> Float[Tensor, "... o"]:
    """``vidjacobi.invariance.product`` by a weight that was packed."""
    flat = x.reshape(-1, x.shape[-1])
    pieces = flat.split(most) if most and len(flat) > most else [flat]
    times_packed = _scripted() if torch.jit.is_tracing() else _times_packed
    found = [times_packed(rows, packed) for rows in pieces]
    return (found[0] if len(found) == 1 else torch.cat(found)).view(*x.shape[:-1], -1)


def _times_packed(x: Tensor, packed: Tensor) -> Tensor:
    scalars: list[complex | float | int | None] = []
    return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", scalars, "")


@cache
def _scripted() -> Callable[[Tensor, Tensor], Tensor]:
    """The same as TorchScript: ``torch.jit.trace`` cannot take down a list such as ``scalars``."""
    scripted: Callable[[Tensor, Tensor], Tensor] = torch.jit.script(unwrap(_times_packed))
    return scripted


def times(x: Float[Tensor, "... c"], factor: Factor, most: int) -> Float[Tensor, "... o"]:
    """x times a weight, packed or not, in products of at most ``most`` rows."""
    weight, packed = factor
    return product_by_packed(x, weight, most) if packed else product(x, weight, most)


@lru_cache(maxsize=16)
def packing_keeps_bits(sizes: Sizes, dtype: torch.dtype, device: torch.device, threads: int) -> bool:
    """Whether weights are worth packing here, and products by packed ones have the bits of plain products.

    ``threads`` only tells settings apart, as in ``pass_shape``.
    """
    library = torch.ops.mkldnn
    if device.type != "cpu" or dtype != torch.bfloat16 or not torch.backends.mkldnn.is_available():
        return False
    # operations that torch.compile's code calls: another version of PyTorch may lack them
    if not (hasattr(library, "_linear_pointwise") and hasattr(library, "_reorder_linear_weight")):
        return False
    if not library._is_mkldnn_bf16_supported():
        return False
    with torch.no_grad():
        return all(_packed_is_alike(*size, dtype, device) for size in sizes.products)


def _packed_is_alike(inputs: int, outputs: int, dtype: torch.dtype, device: torch.device) -> bool:
    generator = torch.Generator().manual_seed(0)
    weight, row = zero_sum(outputs, inputs, generator, dtype, device)
    others, packed = torch.randn(max(COUNTS), inputs, generator=generator).to(device, dtype), pack(weight)
    others[::3] = row
    rows = (others[:count] for count in COUNTS)
    return all(torch.equal(product(x, weight, 0), product_by_packed(x, packed, 0)) for x in rows)


class NotCopied:
    """A copied, saved or sent network makes its own: this holds for the memory of one process."""

    def __deepcopy__(self, memo: Any) -> None:
        pass

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


class Packed(NotCopied):
    """A packed copy of a weight, or of several that lie one after the other.

    It knows what it was made of: for weights that have been loaded or moved since it does not hold. What is written
    by way of ``.data``, or by a fused optimiser, only ``is_of`` notices: passes that nobody settled before must do
    without (``CosmosTransformer.unpack``).
    """

    def __init__(self, weight: Float[Tensor, "o c"], parts: Sequence[Tensor]) -> None:
        self._numbers, self._of, self._sum = pack(weight), _state(parts), fingerprint(weight)

    def numbers(self, parts: Sequence[Tensor]) -> Tensor | None:
        """What ``product_by_packed`` takes; None where it does not hold, or where a copy would have no gradients."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or _state(parts) != self._of:
            return None
        return self._numbers

    def is_of(self, weight: Float[Tensor, "o c"], parts: Sequence[Tensor]) -> bool:
        """Whether it is still a copy of this, which is read: a change by way of ``.data`` leaves no other trace."""
        return _state(parts) == self._of and fingerprint(weight) == self._sum


def _state(parts: Sequence[Tensor]) -> list[tuple[int, int]]:
    return [(part.data_ptr(), version_of(part)) for part in parts]


def version_of(tensor: Tensor) -> int:
    """How often it was written; 0 for one that was made in inference mode, of which nobody counts that."""
    try:
        return tensor._version
    except RuntimeError:
        return 0


def fingerprint(tensor: Tensor) -> int:
    """A number that another content, or the same in another order, all but never has."""
    # Each word of 8 bytes counts an odd number of times, so that two that change places, or signs, show: sums modulo
    # 2^64 lose nothing of a word that way.
    flat = tensor.detach().reshape(-1)
    words = flat.view(torch.uint8 if flat.nbytes % 8 else torch.int64)
    parts = words.split(WORDS)
    times = torch.arange(1, 2 * len(parts[0]), 2, device=words.device)
    return sum((2 * number + 1) * int(part.dot(times[: len(part)])) for number, part in enumerate(parts))


def packed_again(old: Packed | None, weight: Tensor, parts: Sequence[Tensor], wanted: bool) -> Packed | None:
    """The packed copy of a weight, made anew only where it has changed; None where none is wanted."""
    if not wanted:
        return None
    return old if old and old.is_of(weight, parts) else Packed(weight, parts)


class Linear(nn.Linear):
    """A projection without bias (the architecture has none), in matrix products of at most ``most_rows`` rows."""

    most_rows = 0  # 0: any number
    packed: Packed | None = None

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    @property
    def factor(self) -> Factor:
        """What it multiplies by now."""
        packed = None if self.packed is None else self.packed.numbers([self.weight])
        return (self.weight, False) if packed is None else (packed, True)

    def forward(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... e"]:
        return times(x, self.factor, self.most_rows)

    def pack(self, wanted: bool) -> None:
        """Keep a packed copy of the weight, or none."""
        self.packed = packed_again(self.packed, self.weight, [self.weight], wanted)

    def settle(self, most_rows: int, fake: bool) -> None:
        """Compute products of so many rows from now on, and unless it is ``fake`` store the weight for them."""
        self.most_rows = most_rows
        if not fake:
            with torch.inference_mode(False):  # else it could not be trained any more
                self.weight.data = by_inputs(self.weight.data)


class SideBySide(NotCopied):
    """Projections of the same input whose weights lie one after the other in memory: one product computes them all.

    Each weight is a view of its part, so nothing is stored twice, and whoever trains or saves a projection finds it
    as it was. Where a weight has been replaced since (moved, or cast), or a projection of ``owner`` has hooks or is
    another module by now, ``product`` has nothing to offer.
    """

    packed: Packed | None = None
    most_rows = 0  # of a product; ``CosmosTransformer.settle`` sets it

    def __init__(self, parts: Sequence[Linear], owner: nn.Module | None = None) -> None:
        self.parts = tuple(parts)
        self._there = nn.ModuleList(parts)._modules if owner is None else owner._modules
        self._names = [next(name for name, part in self._there.items() if part is own) for own in parts]
        with torch.inference_mode(False):
            self.whole = by_inputs(torch.cat([part.weight.data for part in parts]))
            sizes = [part.out_features for part in parts]
            for part, own in zip(parts, self.whole.split(sizes), strict=True):
                part.weight.data = own
        self._addresses = self._places()

    def _places(self) -> list[int]:
        return [place_of(self._there[name]) for name in self._names]

    @property
    def is_whole(self) -> bool:
        """Whether the projections still have the weights that were joined."""
        # whole lives on, so no other tensor can have got one of the addresses
        return self._places() == self._addresses and not has_hooks_of_all()

    @property
    def factor(self) -> Factor | None:
        """What the projections multiply by now; None where they must be asked one by one."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or not self.is_whole:
            return None
        packed = None if self.packed is None else self.packed.numbers([part.weight for part in self.parts])
        return (self.whole, False) if packed is None else (packed, True)

    def product(self, x: Float[Tensor, "... c"]) -> Float[Tensor, "... e"] | None:
        """What all projections make of x, side by side; None where they must be asked one by one."""
        return times(x, factor, self.most_rows) if (factor := self.factor) else None

    def pack(self, wanted: bool) -> None:
        """Keep a packed copy of all the weights, or none."""
        parts = [part.weight for part in self.parts]
        self.packed = packed_again(self.packed, self.whole, parts, wanted and self.is_whole)


def is_changed(module: nn.Module) -> bool:
    """Whether a call of the module does something else than its class says."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(hooks or "forward" in module.__dict__ or "projected" in module.__dict__)


def place_of(part: Any) -> int:
    """The address of a projection's weight; 0 where it is not as it was built, as an adapter of a fine-tuning is."""
    weight = None if type(part) is not Linear or is_changed(part) else part._parameters.get("weight")
    return 0 if weight is None else weight.data_ptr()


def side_by_side(parts: Sequence[Any], before: SideBySide | None, owner: Any = None) -> SideBySide | None:
    """The projections as one, on a CPU; as they are where they have been joined already. None: not joined.

    Weights of a device stay where they are: their turns there are ``vidjacobi.models.offload``'s affair.
    """
    if any(part.weight.device.type != "cpu" or not place_of(part) for part in parts):
        return None
    return before if before and before.is_whole else SideBySide(parts, owner)


def pack_weights(linears: Sequence[Linear], joined: Sequence[SideBySide], wanted: bool) -> None:
    """Pack the weights of a network's products, unless they are too many or it is not ``wanted``.

    What is computed as one is not packed by itself.
    """
    wanted = wanted and sum(part.weight.nbytes for part in linears) <= PACKED_BYTES
    inside = {id(part) for owner in joined if owner.is_whole for part in owner.parts}
    for owner in joined:
        owner.pack(wanted)
    for part in linears:
        part.pack(wanted and id(part) not in inside)


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
            self.joined = side_by_side(self.alike, self.joined, self)

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
