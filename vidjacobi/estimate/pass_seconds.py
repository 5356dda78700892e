"""Predicted seconds of a pass: bytes read, numbers multiplied, launches. Nothing here was measured on a GPU.

What a GPU can do is on its data sheet (``configs/gpu``). How near a pass comes to it is fitted to a published table
(``configs/published``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.scenario import RolloutShape, lengths_of
from vidjacobi.loading import outline
from vidjacobi.models.outline import Arithmetic, Outline

GPU_KEYS = ("name", "memory_mib", "reserved_mib", "bandwidth_gb_s", "tflops", "source")
TABLE = "mc_sjd_table2"
# Host seconds per operation of a pass that is not captured in a graph. An assumption, fitted to nothing: 5 us is
# what a small eager PyTorch operation takes to launch.
HOST_SECONDS = 5e-6


@dataclass(frozen=True)
class Gpu:
    """Peak numbers of a GPU, for dense matrices.

    Attributes:
        name: as sold.
        memory: bytes that there are.
        reserved: bytes of them that no tensor gets (context, libraries, gaps); an assumption.
        bandwidth: bytes per second.
        flops: operations per second, by dtype.
        source: where the numbers are from.
    """

    name: str
    memory: int
    reserved: int
    bandwidth: float
    flops: Mapping[str, float]
    source: str

    @property
    def usable(self) -> int:
        """Bytes for tensors."""
        return self.memory - self.reserved


def load_gpu(name: str) -> Gpu:
    """A GPU by name or YAML file. Raises InvalidArgument: unknown name, missing or impossible number."""
    values = read_config("gpu", name)
    absent = [key for key in GPU_KEYS if key not in values]
    if absent:
        raise InvalidArgument(f"gpu {name!r} lacks {', '.join(absent)}; see configs/gpu/h100.yaml")
    flops = values["tflops"]
    if not isinstance(flops, dict) or not flops:
        raise InvalidArgument(f"gpu {name!r}: tflops must be {{dtype: number, ...}}, not {flops!r}")
    mib, giga = 1 << 20, 1e9
    return Gpu(
        name=str(values["name"]),
        memory=int(_positive(name, "memory_mib", values["memory_mib"]) * mib),
        reserved=int(_positive(name, "reserved_mib", values["reserved_mib"]) * mib),
        bandwidth=_positive(name, "bandwidth_gb_s", values["bandwidth_gb_s"]) * giga,
        flops={str(dtype): _positive(name, f"tflops.{dtype}", peak) * 1e12 for dtype, peak in flops.items()},
        source=str(values["source"]),
    )


def _positive(name: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise InvalidArgument(f"gpu {name!r}: {key} must be a number above 0, not {value!r}")
    return float(value)


def peak_flops(gpu: Gpu, dtype: str) -> float:
    """Operations per second. Raises InvalidArgument for a dtype that the GPU has no number for."""
    if dtype not in gpu.flops:
        raise InvalidArgument(f"{gpu.name} has no number for {dtype}: it has {', '.join(gpu.flops)}")
    return gpu.flops[dtype]


@dataclass(frozen=True)
class Speed:
    """How near a GPU comes to its data sheet.

    Attributes:
        efficiency: share of the peak bandwidth and of the peak arithmetic, (0, 1].
        launch: seconds that every pass of a window decoder takes besides (launches, host reads).
        host: seconds of the host per operation; a pass is no faster than that. 0 for a captured pass.
    """

    efficiency: float
    launch: float
    host: float = HOST_SECONDS

    def captured(self) -> "Speed":
        """The same, were every pass one CUDA graph."""
        return replace(self, launch=0.0, host=0.0)


# Nothing but bytes and operations: nobody waits for a launch.
PERFECT = Speed(1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Machine:
    """A GPU, how well it is used, and the dtype of the arithmetic."""

    gpu: Gpu
    speed: Speed
    dtype: str

    def seconds(self, bytes_moved: int, flops: int) -> float:
        """Of an operation that moves and multiplies: whichever takes longer (the roofline model)."""
        moving = bytes_moved / self.gpu.bandwidth
        return max(moving, flops / peak_flops(self.gpu, self.dtype)) / self.speed.efficiency


@dataclass(frozen=True)
class PassShape:
    """The numbers that decide how long a pass takes.

    Attributes:
        rows: clips.
        inputs: tokens fed of each.
        slots: cache entries that each clip's queries read.
        outside_bytes: moved outside the forward call (draft, verify, commit), all rows.
        operations: launched by the host.
    """

    rows: int
    inputs: int
    slots: int
    outside_bytes: int
    operations: int


def seconds_by_part(machine: Machine, arithmetic: Arithmetic, shape: PassShape) -> dict[str, float]:
    """Seconds of a pass by part; the pass takes their sum.

    ``outside`` is everything but the forward call, ``host`` what the host takes longer than the GPU, where it does.
    """
    inputs = shape.rows * shape.inputs
    # A weight is read once for all inputs, and each input multiplies it and adds: two operations.
    weights = machine.seconds(arithmetic.matrix_bytes, 2 * arithmetic.matrix_parameters * inputs)
    cache = machine.seconds(
        shape.rows * shape.slots * arithmetic.kv_bytes + arithmetic.text_bytes,
        arithmetic.attention_flops * inputs * shape.slots,
    )
    parts = {"weights": weights, "cache": cache, "outside": machine.seconds(shape.outside_bytes, 0)}
    parts["launch"] = machine.speed.launch
    # The host launches operations while the GPU works; only what it takes longer is waited for.
    waits = shape.operations * machine.speed.host - sum(parts.values())
    return {**parts, "host": max(0.0, waits)}


def total(parts: Mapping[str, float]) -> float:
    """Seconds of the whole."""
    return sum(parts.values())


def prefill_seconds(machine: Machine, arithmetic: Arithmetic, context: int, outside_bytes: int) -> float:
    """Of one context of ``context`` tokens: every weight once for all of them, causal attention, and its probs."""
    feeding = machine.seconds(arithmetic.matrix_bytes, 2 * arithmetic.matrix_parameters * context)
    attention = machine.seconds(
        context * arithmetic.kv_bytes, arithmetic.attention_flops * context * (context + 1) // 2
    )
    return feeding + attention + machine.seconds(outside_bytes, 0)


def quantised(arithmetic: Arithmetic, bits: int) -> Arithmetic:
    """The same with weights of ``bits`` bits; their scales (one per row) are not counted."""
    return replace(arithmetic, matrix_bytes=arithmetic.matrix_parameters * bits // 8)


@dataclass(frozen=True)
class PublishedRow:
    """One line of a published table: passes and seconds are per clip."""

    decoder: str
    window: int
    passes: float
    seconds: float


@dataclass(frozen=True)
class PublishedTable:
    """A table, the GPU it was made on, and what the authors' code does (see the YAML)."""

    paper: str
    model: str
    gpu: Gpu
    context_frames: int
    new_frames: int
    new_tokens: int
    code: dict[str, int]
    rows: tuple[PublishedRow, ...]


def published(name: str = TABLE) -> PublishedTable:
    """A table of ``configs/published``."""
    values = read_config("published", name)
    rows = tuple(
        PublishedRow(str(decoder), int(window), float(n), float(s))
        for decoder, window, n, s in values["rows"]
    )
    return PublishedTable(**{**values, "gpu": load_gpu(values["gpu"]), "rows": rows})


@dataclass(frozen=True)
class Residual:
    """A row beside its prediction."""

    row: PublishedRow
    predicted: float

    @property
    def error(self) -> float:
        """Share by which the prediction is too long."""
        return self.predicted / self.row.seconds - 1


@dataclass(frozen=True)
class Fit:
    """The two fitted numbers, and how well they fit.

    Attributes:
        speed: ``efficiency`` and ``launch`` are fitted to all rows at once, ``host`` is not.
        residuals: of every row.
    """

    speed: Speed
    residuals: tuple[Residual, ...]

    @property
    def worst(self) -> float:
        """Largest error, its sign dropped."""
        return max(abs(residual.error) for residual in self.residuals)

    @property
    def mean(self) -> float:
        """Mean error, signs dropped."""
        return sum(abs(residual.error) for residual in self.residuals) / len(self.residuals)


def fit_published(table: PublishedTable | None = None) -> Fit:
    """Fit one efficiency and one launch overhead to a table by least squares of the relative errors.

    Predicted seconds are linear in 1/efficiency and in the overhead: ``a / efficiency + b launch``. AR has no
    overhead: its pass is captured in a CUDA graph.
    """
    table = table or published()
    model = outline(table.model, torch.bfloat16)
    terms = [_terms(table, model, row) for row in table.rows]
    seconds = torch.tensor([row.seconds for row in table.rows], dtype=torch.float64)
    # Divided by the published seconds, every row wants to be 1, so that errors are relative.
    matrix = torch.tensor(terms, dtype=torch.float64) / seconds[:, None]
    found = torch.linalg.lstsq(matrix, torch.ones(len(terms), 1, dtype=torch.float64)).solution[:, 0]
    inverse, launch = found.tolist()
    predictions = [busy * inverse + passes * launch for busy, passes in terms]
    residuals = tuple(Residual(*pair) for pair in zip(table.rows, predictions, strict=True))
    return Fit(Speed(1 / inverse, launch), residuals)


def _terms(table: PublishedTable, model: Outline, row: PublishedRow) -> tuple[float, float]:
    """(seconds at the data sheet's peak, passes with an overhead) of a row, as the authors' code makes them."""
    code, arithmetic, captured = table.code, model.arithmetic, row.decoder == "ar"
    shape = RolloutShape(load_decoder("ar"), context_frames=table.context_frames, new_frames=table.new_frames)
    context = lengths_of(model, shape).context
    busy = row.passes * _authors_pass(table, model, row.window, captured)
    flops = (2 * arithmetic.matrix_parameters + arithmetic.attention_flops * code["slots"]) * context
    busy += flops / peak_flops(
        table.gpu, "bfloat16"
    )  # the prefill; its attention runs over the whole cache too
    return busy, 0.0 if captured else row.passes


def _authors_pass(table: PublishedTable, model: Outline, window: int, captured: bool) -> float:
    code, arithmetic = table.code, model.arithmetic
    entries = window * model.model.vocab_size
    probs = entries * (2 * code["probs_trips"] + code["sort_bytes"])
    repeated = replace(arithmetic, kv_bytes=arithmetic.kv_bytes * code["cache_traffic"])
    scores = code["score_trips"] * 2 * code["slots"] * window * arithmetic.score_rows if captured else 0
    machine = Machine(table.gpu, PERFECT, "bfloat16")
    return total(seconds_by_part(machine, repeated, PassShape(1, window, code["slots"], probs + scores, 0)))
