"""Running code on tensors without numbers and counting: bytes that live at once, bytes moved, kernels."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SORT_TRIPS = 4  # a radix sort of 32-bit keys, 8 bits a trip, goes over its data so often
# Operations that read only the rows that they return, not their whole first argument.
PICKS = ("gather", "index", "index_select", "embedding")
SORTS = ("sort", "topk")
ALLOCATES = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")
# Operations that go element by element, although PyTorch does not tag them so.
POINTWISE = ("_to_copy", "clone", "copy_", "fill_")
# Operations whose values come from no tensor.
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


@dataclass(frozen=True)
class Work:
    """What some operations took.

    Attributes:
        peak: most bytes that lived at once beyond those alive before them.
        moved: bytes read and written.
        kernels: operations that are more than another view of the same numbers.
    """

    peak: int
    moved: int
    kernels: int


_COUNTING: list["WorkCounter"] = []  # those that have been entered; the last one counts


class WorkCounter(TorchDispatchMode):
    """Counts what is allocated and moved by everything that runs inside it, on any device.

    A counter that is entered inside of another one counts in its place.

    Every operation is counted by itself: nothing is fused, and no cache is hit. Autograd must be off with
    ``no_grad`` rather than ``inference_mode``, under which composite operations hide what they allocate. Memory
    that kernels take and give back inside one operation is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}  # bytes by storage
        self.now = self.peak = self.moved = self.kernels = 0
        self._lap = (0, 0, 0)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if self is not _COUNTING[-1]:
            return result
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        known = {tensor.untyped_storage()._cdata for tensor in inputs}
        for tensor in outputs:
            self._hold(tensor, known)
        if not function.is_view and outputs:
            self._count(function, inputs, outputs)
        return result

    def __enter__(self) -> "WorkCounter":
        _COUNTING.append(self)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        _COUNTING.pop()

    def add(self, work: Work) -> None:
        """Count work that was counted before."""
        self.peak = max(self.peak, self.now + work.peak)
        self.moved += work.moved
        self.kernels += work.kernels

    def of(self, work: Callable[[], Any]) -> tuple[Any, Work]:
        """Do ``work`` and say what it took; its result stays alive."""
        self.lap()
        result = work()
        return result, self.lap()

    def lap(self) -> Work:
        """What was done since the last lap (or the beginning), and begin the next one."""
        now, moved, kernels = self._lap
        work = Work(self.peak - now, self.moved - moved, self.kernels - kernels)
        self._lap, self.peak = (self.now, self.moved, self.kernels), self.now
        return work

    def _hold(self, tensor: Tensor, known: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live or key in known:  # a view of something made before the counting began
            return
        self.live[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        # Once it is gone another storage may get its address.
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self.live.pop(key)

    def _count(self, function: Any, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        name = function.overloadpacket.__name__
        if name in ALLOCATES:
            return
        written = sum(map(size_of, outputs))
        read = written if name in PICKS else sum(map(size_of, inputs))
        trips = SORT_TRIPS if name in SORTS else 1
        self.moved += trips * (read + written)
        self.kernels += 1


class FusedWorkCounter(WorkCounter):
    """Counts what code moves of which a compiler fuses what it can.

    Operations that go element by element cost nothing: one that does not (a reduction, a scatter, a sort) reads
    what the chain before it began with, and writes its result. Reductions of the same tensors that follow each
    other read them once. PyTorch's compiler does about this; where a chain has several ends it may do worse.

    Example, x and y of 4 kB each: (x * 2 + y).exp().sum() reads x and y once and writes one number, in one kernel.
    A WorkCounter finds four kernels, three of which write 4 kB.
    """

    def __init__(self) -> None:
        super().__init__()
        # Of each tensor: the tensors in memory that its numbers are computed from, and their bytes. Tensors go by
        # the names that ``_name`` gives to their storages.
        self._sources: dict[int, dict[int, int]] = {}
        self._names: dict[int, int] = {}  # by address of a storage that is alive; no name is given twice
        self._count_of_names = 0
        self._last: dict[int, int] = {}  # what the last kernel read

    def _count(self, function: Any, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        name = function.overloadpacket.__name__
        if name in ALLOCATES:
            return
        if name in PICKS:  # what is picked is read wherever it is used
            self._write(outputs)
            return
        reads: dict[int, int] = {}
        for tensor in () if name in MAKES else inputs:
            reads |= self._sources.get(self._name(tensor), self._itself(tensor))
        if torch.Tag.pointwise in function.tags or name in POINTWISE or name in MAKES:
            # A link of a chain: nothing is written, and what the link read is read where the chain ends.
            for tensor in outputs:
                self._sources[self._name(tensor)] = reads
            return
        again = reads == self._last  # another reduction of the same tensors is part of the same kernel
        read = 0 if again else sum(reads.values())
        self.moved += (SORT_TRIPS if name in SORTS else 1) * (read + sum(map(size_of, outputs)))
        self.kernels += not again
        self._last = reads
        self._write(outputs)

    def _write(self, outputs: list[Tensor]) -> None:
        """These tensors are in memory: new chains begin with them."""
        for tensor in outputs:
            self._sources[self._name(tensor)] = self._itself(tensor)

    def _itself(self, tensor: Tensor) -> dict[int, int]:
        return {self._name(tensor): size_of(tensor)}

    def _name(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address not in self._names:
            self._count_of_names += 1
            self._names[address] = self._count_of_names
            weakref.finalize(storage, self._names.pop, address, None)
        return self._names[address]


class FusedAttention(TorchFunctionMode):
    """Attention on tensors without numbers as GPUs do it: scores never stand in memory."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.scaled_dot_product_attention and (
            args[0].is_meta or isinstance(args[0], FakeTensor)
        ):
            query, value = args[0], args[2]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return function(*args, **(kwargs or {}))


def account_for(work: Work) -> None:
    """Add work that was counted before to what is being counted, if anything is."""
    if _COUNTING:
        _COUNTING[-1].add(work)


def counted(work: Callable[[], Any]) -> Work:
    """What ``work`` takes, on tensors without numbers."""
    with torch.no_grad(), FusedAttention(), WorkCounter() as counter:
        return counter.of(work)[1]


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor's numbers, those that repeat (expanded) counted once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
