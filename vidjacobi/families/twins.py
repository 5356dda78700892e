"""Twins of the modules of ``transformers``: the same weights, in passes that do not depend on their width.

A twin is a copy of a module that shares its parameters and buffers. In it linear layers are products that a probe has
seen (``vidjacobi.invariance``), activations are computed in float32 at least, and attention reads a cache by slots.
The network itself is left as it is, with its own ``generate``.
"""

import copy
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from cosmos_adapter.transformer.linear import silu
from vidjacobi.families.slot_attention import NAME
from vidjacobi.families.trunk import AngleTable
from vidjacobi.invariance import by_inputs, product, silu_is_invariant

ACTIVATIONS = ("transformers.activations", "torch.nn.modules.activation")
LOOKED_UP = (nn.Embedding, nn.LayerNorm)  # have weights of two axes, and no product
COUNTS = (1, 2, 3, 17, 65, 255)  # rows of a probe


class TwinLinear(nn.Module):
    """A ``Linear`` or a ``Conv1D``, whose weight lies input by input, in products of at most ``most`` rows."""

    most = 0  # any number; ``Passes`` sets it
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, original: nn.Linear | Conv1D) -> None:
        super().__init__()
        self.turned = isinstance(original, Conv1D)
        self._parameters = (
            original._parameters
        )  # the very dictionary: a weight that is replaced is replaced here too

    @property
    def sizes(self) -> tuple[int, int]:
        """Inputs and outputs."""
        outputs, inputs = self.weight.shape[::-1] if self.turned else self.weight.shape
        return inputs, outputs

    def store(self) -> None:
        """Have the weight stored as its products are fastest."""
        if not self.turned:
            with torch.inference_mode(False):  # else it could not be trained any more
                self.weight.data = by_inputs(self.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        found = product(x, self.weight.t() if self.turned else self.weight, self.most)
        return found if self.bias is None else found + self.bias


class TwinActivation(nn.Module):
    """An activation, computed in float32 or float64. SiLU in separate operations where its kernel will not do."""

    plain = True  # whether SiLU is PyTorch's own kernel; ``settle`` finds out
    columns: tuple[int, ...] = ()  # of what it may be given

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.original = original
        self.is_silu = "SiLU" in type(original).__name__

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """What tells it from others."""
        return type(self.original).__name__, self.columns

    def settle(self, dtype: torch.dtype, device: torch.device, threads: int) -> None:
        """Compute SiLU by PyTorch's own kernel from now on, if a probe finds no difference at any place."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.plain = all(_silu_is_invariant(columns, wide, device, threads) for columns in self.columns)

    def is_invariant(self, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether a row has the same numbers beside any number of others; SiLU is made so."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        generator = torch.Generator().manual_seed(0)
        for columns in () if self.is_silu else self.columns:
            rows = 4 * torch.randn(256, columns, generator=generator).to(device, wide)
            wanted = torch.cat([self.original(row) for row in rows.split(1)])
            if not all(torch.equal(self.original(rows[:count]), wanted[:count]) for count in COUNTS):
                return False
        return True

    def forward(self, x: Tensor) -> Tensor:
        if self.is_silu:
            return silu(x, self.plain)
        return self.original(x if x.dtype == torch.float64 else x.float()).to(x.dtype)


@lru_cache
def _silu_is_invariant(columns: int, dtype: torch.dtype, device: torch.device, threads: int) -> bool:
    return silu_is_invariant(columns, dtype, device)


def twin(module: nn.Module, depth: int | None = None) -> nn.Module:
    """The twin of a module and of all in it. ``depth``: of a list of so many layers only the first is there."""
    made = _twin(module, depth, {})
    outputs = tuple(sorted({part.sizes[1] for part in linears(made)}))
    for part in activations(made):
        part.columns = outputs
    return made


def _twin(module: nn.Module, depth: int | None, configs: dict[int, Any]) -> nn.Module:
    if type(module) in (nn.Linear, Conv1D):
        return TwinLinear(module)
    if type(module).__module__ in ACTIVATIONS and not module._parameters:
        return TwinActivation(module)
    made = copy.copy(module)
    made.training = False
    parts = list(module._modules.items())
    if isinstance(module, nn.ModuleList) and len(module) == depth:
        parts = parts[:1]
    made._modules = {name: None if part is None else _twin(part, depth, configs) for name, part in parts}
    if (config := module.__dict__.get("config")) is not None:
        if id(config) not in configs:
            # of its own: the network's says which attention the network has
            configs[id(config)] = copy.deepcopy(config)
            configs[id(config)]._attn_implementation = NAME
        made.config = configs[id(config)]
    return made


def without(module: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """The same module but for some in it."""
    made = copy.copy(module)
    made._modules = {name: part for name, part in module._modules.items() if name not in names}
    return made


def is_known(module: nn.Module) -> bool:
    """Whether all that sums products in a module, before it has a twin, is something that a twin computes."""
    return all(_is_known(part) for part in module.modules())


def _is_known(part: nn.Module) -> bool:
    name = type(part).__name__
    # what accelerate has wrapped calls the module that it wrapped, not its twin
    if "forward" in part.__dict__ or "_hf_hook" in part.__dict__:
        return False
    if type(part) in (nn.Linear, Conv1D) or isinstance(part, LOOKED_UP) or "Norm" in name:
        return True
    return all(own is None or own.ndim < 2 for own in part._parameters.values())


def linears(*modules: nn.Module) -> Iterator[TwinLinear]:
    """Of twins."""
    return (part for module in modules for part in module.modules() if isinstance(part, TwinLinear))


def activations(*modules: nn.Module) -> Iterator[TwinActivation]:
    """Of twins."""
    return (part for module in modules for part in module.modules() if isinstance(part, TwinActivation))


def rotaries(module: nn.Module) -> Iterator[nn.Module]:
    """What makes cosines and sines of places."""
    return (
        part for part in module.modules() if isinstance(part, AngleTable) or "Rotary" in type(part).__name__
    )


def heads_of(config: Any) -> tuple[int, int, int]:
    """Key heads, query heads that read each, and numbers of a head."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return kv_heads, heads // kv_heads, size
