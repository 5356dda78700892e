"""``vidjacobi plan`` for pictures: seconds of Janus-Pro 7B and Lumina-mGPT 7B beside a paper's, and on another GPU.

Bytes and operations of a pass follow from the sizes in ``configs/picture_plan``. What the papers' eager code takes
besides is one number for ``ar`` and one for windows, fitted to the same table: the errors are printed with it.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vidjacobi.config.yaml_files import config_names, read_config
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.estimate.pass_seconds import (
    Gpu,
    Machine,
    PassShape,
    PublishedRow,
    Speed,
    fit_published,
    load_gpu,
    peak_flops,
    seconds_by_part,
    total,
)
from vidjacobi.models.outline import Arithmetic
from vidjacobi.output.columns import columns

KIND, BYTES = "picture_plan", 2  # of bfloat16
NOT_OF_PICTURES = ("bench", "curve", "batch")


@dataclass(frozen=True)
class LlamaSizes:
    """What a pass over a picture or clip reads and multiplies follows from these; see the YAML files."""

    layers: int
    dim: int
    heads: int
    kv_heads: int
    ffn: int
    head: int
    prompt: int
    cells: int
    given: int
    branches: int

    @property
    def arithmetic(self) -> Arithmetic:
        """Of a Llama of these sizes in bfloat16."""
        keys = self.dim * self.kv_heads // self.heads
        layer = 2 * self.dim * self.dim + 2 * self.dim * keys + 3 * self.dim * self.ffn
        parameters = self.layers * layer + self.head
        return Arithmetic(
            matrix_parameters=parameters,
            matrix_bytes=parameters * BYTES,
            kv_bytes=2 * keys * self.layers * BYTES,
            attention_flops=4 * self.dim * self.layers,
            score_rows=self.heads * self.layers,
        )

    def shape(self, window: int) -> PassShape:
        """A pass in the middle of the picture or clip."""
        slots = self.prompt + (self.cells + self.given) // 2 + window
        return PassShape(self.branches, window, slots, 0, 0)


@dataclass(frozen=True)
class PicturePlan:
    """A model, a table of latencies, and the GPU that it was made on; ``note``: what of it is not known."""

    model: str
    paper: str
    gpu: Gpu
    sizes: LlamaSizes
    rows: tuple[PublishedRow, ...]
    note: str | None = None

    def work(self, machine: Machine, row: PublishedRow) -> float:
        """Seconds that the GPU works in a row's passes; the prefill, one pass more, is left out."""
        parts = seconds_by_part(machine, self.sizes.arithmetic, self.sizes.shape(row.window))
        return row.passes * total(parts)


@dataclass(frozen=True)
class Predicted:
    """One decoder at a window: published and fitted seconds of a picture, and those on the GPU that is asked about.

    Attributes:
        fitted: seconds of the published rows with the fitted overheads; ``error`` is their share too much.
        carried: the same with the overhead of the video table alone, which knows nothing of this one.
        eager, captured: on the GPU that is asked about, with the fitted overhead and without any.
    """

    decoder: str
    window: int
    passes: float
    published: float
    fitted: float
    carried: float
    eager: float
    captured: float

    @property
    def error(self) -> float:
        """Of ``fitted``."""
        return self.fitted / self.published - 1


def is_picture_plan(model: str) -> bool:
    """Whether a name is one of ``configs/picture_plan``."""
    return model.lower() in config_names(KIND)


def load_plan(name: str) -> PicturePlan:
    """A file of ``configs/picture_plan``."""
    values = read_config(KIND, name.lower())
    rows = tuple(PublishedRow(str(d), int(w), float(n), float(s)) for d, w, n, s in values["rows"])
    gpu, sizes = load_gpu(values["gpu"]), LlamaSizes(**values["sizes"])
    return PicturePlan(values["model"], values["paper"], gpu, sizes, rows, values.get("note"))


def plan_picture(args: Namespace) -> dict[str, Any]:
    """Predict and print. Raises InvalidArgument."""
    for name in NOT_OF_PICTURES:
        if getattr(args, name) is not None:
            raise InvalidArgument(
                f"--{name} is about clips: {args.model} is predicted from its paper's table alone"
            )
    if args.quant != "none" or args.dtype != "bfloat16":
        raise InvalidArgument(
            f"{args.model} is predicted in bfloat16, as its table was made: leave --dtype and --weights out"
        )
    plan, gpu = load_plan(args.model), load_gpu(args.gpu)
    peak_flops(gpu, args.dtype)  # refuses a GPU without a number for it
    video = fit_published().speed
    found, overheads = predicted(plan, gpu, video)
    if args.window is not None:
        known = sorted({one.window for one in found if one.decoder != "ar"})
        found = [one for one in found if one.decoder == "ar" or one.window in args.window]
        if len(found) == 1:
            raise InvalidArgument(f"{plan.paper} has no window {args.window} of {plan.model}: it has {known}")
    print("\n".join(lines_of(plan, gpu, found, overheads, video)))
    return {
        "model": plan.model,
        "gpu": gpu.name,
        "predicted": True,
        "fit": {
            "launch_seconds": overheads,
            "efficiency": video.efficiency,
            "mean_error": mean_error(found),
            "worst_error": max(abs(one.error) for one in found),
        },
        "pictures": [{**vars(one), "error": one.error} for one in found],
    }


def predicted(plan: PicturePlan, gpu: Gpu, video: Speed) -> tuple[list[Predicted], dict[str, float]]:
    """Every published row, and the overheads in seconds a pass: of ``ar``, and of windows."""
    theirs, asked = (Machine(one, Speed(video.efficiency, 0.0, 0.0), "bfloat16") for one in (plan.gpu, gpu))
    overheads = {
        kind: fitted_overhead(
            [(row, plan.work(theirs, row)) for row in plan.rows if (row.decoder == "ar") is alone]
        )
        for kind, alone in (("ar", True), ("windows", False))
    }
    found = []
    for row in plan.rows:
        work, own = plan.work(theirs, row), overheads["ar" if row.decoder == "ar" else "windows"]
        mine = plan.work(asked, row)
        carried = work + row.passes * (0.0 if row.decoder == "ar" else video.launch)
        eager = mine + row.passes * own
        fitted = work + row.passes * own
        found.append(
            Predicted(row.decoder, row.window, row.passes, row.seconds, fitted, carried, eager, mine)
        )
    return found, overheads


def fitted_overhead(rows: Sequence[tuple[PublishedRow, float]]) -> float:
    """Seconds a pass that make ``work + passes * overhead`` nearest to the published seconds, errors relative."""
    # least squares of (work + passes x) / seconds - 1 over the rows
    slopes = [row.passes / row.seconds for row, _ in rows]
    gaps = [1 - work / row.seconds for row, work in rows]
    return max(0.0, sum(a * b for a, b in zip(slopes, gaps, strict=True)) / sum(a * a for a in slopes))


def mean_error(found: Sequence[Predicted]) -> float:
    """Of the fitted seconds, signs dropped."""
    return sum(abs(one.error) for one in found) / len(found)


def lines_of(
    plan: PicturePlan, gpu: Gpu, found: Sequence[Predicted], overheads: dict[str, float], video: Speed
) -> list[str]:
    """What is printed."""
    rows = [
        (
            one.decoder,
            one.window,
            f"{one.passes:.1f}",
            f"{one.published:.2f}",
            f"{one.fitted:.2f}",
            f"{one.error:+.1%}",
            f"{one.carried:.2f}",
            f"{one.eager:.2f}",
            f"{one.captured:.2f}",
        )
        for one in found
    ]
    heads = ("decoder", "window", "passes", "paper s", "fitted s", "error", "carried s", "eager s", "graph s")
    rest = [one for one in found if one.decoder != "ar"]
    return [
        f"{plan.model} on {gpu.name} (bfloat16). PREDICTED: nothing was measured on this GPU.",
        *columns(heads, rows),
        f"  paper: {plan.paper}, on {plan.gpu.name}, the authors' eager code.",
        *([f"  {plan.note}."] if plan.note else []),
        f"  fitted: bytes and operations of a pass at {video.efficiency:.3f} of the data sheet (of the table of",
        f"  videos), and {1e3 * overheads['ar']:.1f} ms a pass of ar and {1e3 * overheads['windows']:.1f} ms of",
        "  windows, both fitted to these rows.",
        f"  error: {mean_error(rest):.1%} in the mean of {number_of(len(rest), 'row')}, "
        f"{max(abs(one.error) for one in rest):.1%} at worst; that of ar is 0, since its one row is fitted.",
        "  carried: with the overhead of the videos' table alone, that is without looking at these seconds.",
        f"  eager, graph: on {gpu.name}, with the fitted overhead, and were every pass one CUDA graph without any.",
        "  Not in it: the prefill, and pixels. This project's code was not timed on a GPU.",
    ]
