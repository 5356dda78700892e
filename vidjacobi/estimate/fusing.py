"""Bytes moved by a compiled law stage, counted like everything else on tensors without numbers."""

import weakref
from typing import Any

import torch
from torch import Tensor

from vidjacobi.estimate.counting import ALLOCATES, PICKS, SORT_TRIPS, SORTS, Counter, size_of

# one element after the other, although PyTorch does not tag them so
POINTWISE = ("_to_copy", "clone", "copy_", "fill_")
MAKES = (
    "arange",
    "full",
    "full_like",
    "zeros",
    "zeros_like",
    "ones",
    "ones_like",
    "new_zeros",
    "scalar_tensor",
)


class Fusing(Counter):
    """Counts what code moves of which a compiler fuses what it can.

    Operations that go element by element cost nothing: one that does not (a reduction, a scatter, a sort) reads
    what the chain in front of it began with, and writes its result. Reductions of the same tensors that follow each
    other read them once. PyTorch's compiler does about this; where a chain has several ends it may do worse.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sources: dict[int, dict[int, int]] = {}  # of each storage: what its numbers are computed from
        self._names: dict[int, int] = {}  # of each storage that is alive, never given twice
        self._count_of_names = 0
        self._last: dict[int, int] = {}
        self._pointwise = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._pointwise = torch.Tag.pointwise in function.tags
        return super().__torch_dispatch__(function, types, args, kwargs)

    def _count(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if name in ALLOCATES:
            return
        if name in PICKS:  # what is picked is read wherever it is used
            for tensor in outputs:
                self._set(tensor, {self._name(tensor): size_of(tensor)})
            return
        reads: dict[int, int] = {}
        for tensor in () if name in MAKES else inputs:
            reads |= self._sources.get(self._name(tensor), {self._name(tensor): size_of(tensor)})
        if not (self._pointwise or name in POINTWISE or name in MAKES):
            read = 0 if reads == self._last else sum(reads.values())
            self.moved += (SORT_TRIPS if name in SORTS else 1) * (read + sum(map(size_of, outputs)))
            self.kernels += reads != self._last
            self._last = reads
            for tensor in outputs:
                self._set(tensor, {self._name(tensor): size_of(tensor)})
            return
        for tensor in outputs:
            self._set(tensor, reads)

    def _set(self, tensor: Tensor, sources: dict[int, int]) -> None:
        self._sources[self._name(tensor)] = sources

    def _name(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._names:
            self._count_of_names += 1
            self._names[address] = self._count_of_names
            weakref.finalize(storage, self._names.pop, address, None)
        return self._names[address]
