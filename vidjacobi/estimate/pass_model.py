"""Predicted seconds of a pass: bytes read, numbers multiplied, laws, launches. Nothing here was measured on a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.gpus import Gpu
from vidjacobi.models.outline import Arithmetic

# Host seconds per operation of a pass that is not captured in a graph. An assumption, fitted to nothing: 5 us is
# what a small eager PyTorch operation takes to launch.
HOST_SECONDS = 5e-6


@dataclass(frozen=True)
class Speed:
    """How near a GPU comes to its data sheet.

    Attributes:
        efficiency: share of the peak bandwidth and of the peak arithmetic, (0, 1].
        launch: seconds that every pass of a window decoder takes beside them (launches, host reads).
        host: seconds of the host per operation; a pass is no faster than that. 0 for a captured pass.
    """

    efficiency: float
    launch: float
    host: float = HOST_SECONDS

    def captured(self) -> "Speed":
        """The same, were every pass one CUDA graph."""
        return replace(self, launch=0.0, host=0.0)


@dataclass(frozen=True)
class Machine:
    """A GPU, how well it is used, and the dtype of the arithmetic."""

    gpu: Gpu
    speed: Speed
    dtype: str

    def seconds(self, bytes_moved: int, flops: int) -> float:
        """Of an operation that moves and multiplies: whichever takes longer."""
        moving = bytes_moved / self.gpu.bandwidth
        return max(moving, flops / peak(self.gpu, self.dtype)) / self.speed.efficiency


@dataclass(frozen=True)
class PassShape:
    """What a pass looks like.

    Attributes:
        rows: clips.
        inputs: tokens fed of each.
        slots: cache entries that each clip's queries read.
        law_bytes: moved between logits and the next state, all rows.
        operations: launched by the host.
    """

    rows: int
    inputs: int
    slots: int
    law_bytes: int
    operations: int


def peak(gpu: Gpu, dtype: str) -> float:
    """Operations per second. Raises InvalidArgument for a dtype that the GPU has no number for."""
    if dtype not in gpu.flops:
        raise InvalidArgument(f"{gpu.name} has no number for {dtype}: it has {', '.join(gpu.flops)}")
    return gpu.flops[dtype]


def pass_seconds(machine: Machine, arithmetic: Arithmetic, shape: PassShape) -> dict[str, float]:
    """Seconds of a pass by part; the pass takes their sum.

    ``host`` is what the host takes longer than the GPU, where it does.
    """
    inputs = shape.rows * shape.inputs
    weights = machine.seconds(arithmetic.matrix_bytes, 2 * arithmetic.matrix_parameters * inputs)
    cache = machine.seconds(
        shape.rows * shape.slots * arithmetic.kv_bytes + arithmetic.text_bytes,
        arithmetic.attention_flops * inputs * shape.slots,
    )
    parts = {"weights": weights, "cache": cache, "laws": machine.seconds(shape.law_bytes, 0)}
    parts["launch"] = machine.speed.launch
    waits = shape.operations * machine.speed.host - sum(parts.values())
    return {**parts, "host": max(0.0, waits)}


def total(parts: Mapping[str, float]) -> float:
    """Seconds of the whole."""
    return sum(parts.values())


def prefill_seconds(machine: Machine, arithmetic: Arithmetic, context: int, law_bytes: int) -> float:
    """Of one context of ``context`` tokens: every weight once for all of them, causal attention, its laws."""
    feeding = machine.seconds(arithmetic.matrix_bytes, 2 * arithmetic.matrix_parameters * context)
    attention = machine.seconds(
        context * arithmetic.kv_bytes, arithmetic.attention_flops * context * (context + 1) // 2
    )
    return feeding + attention + machine.seconds(law_bytes, 0)


def quantised(arithmetic: Arithmetic, bits: int) -> Arithmetic:
    """The same with weights of ``bits`` bits; their scales (one per row) are not counted."""
    return replace(arithmetic, matrix_bytes=arithmetic.matrix_parameters * bits // 8)
