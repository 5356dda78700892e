"""``vidjacobi plan`` for worlds that follow actions: a step of MineWorld, beside its authors' frames a second.

Bytes and operations of a pass follow from the sizes in ``configs/world_plan``. How near a GPU comes to its data sheet
and what an eager pass takes besides are those of the table of videos (``fit_published``), and so are the tokens per
pass, unless a bench is named: nobody published them of this model.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vidjacobi.config.yaml_files import config_names, read_config
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.pass_seconds import (
    Fit,
    Gpu,
    Machine,
    fit_published,
    load_gpu,
    peak_flops,
    published,
    seconds_by_part,
    total,
)
from vidjacobi.estimate.pictures import LlamaSizes
from vidjacobi.estimate.predictions import Acceptance, acceptance_of_bench, acceptance_of_paper
from vidjacobi.output.columns import columns

KIND = "world_plan"
OF_CLIPS = ("curve", "batch")


@dataclass(frozen=True)
class WorldPlan:
    """A model whose frames follow actions.

    Attributes:
        model, paper: as they are printed; ``paper`` is what its authors say of its speed.
        sizes: of a whole clip.
        frames: of it; a step decides one.
    """

    model: str
    paper: str
    sizes: LlamaSizes
    frames: int

    @property
    def step_tokens(self) -> int:
        """Tokens that a step decides."""
        return self.sizes.cells // self.frames


@dataclass(frozen=True)
class PredictedStep:
    """One decoder at a window.

    Attributes:
        tokens: that a pass decides; ``passes``: of a step.
        graph: seconds of a step, were every pass one CUDA graph; ``eager``: with the overhead of the table of videos.
    """

    decoder: str
    window: int
    tokens: float
    passes: float
    graph: float
    eager: float


def is_world_plan(model: str) -> bool:
    """Whether a name is one of ``configs/world_plan``."""
    return model.lower() in config_names(KIND)


def load_world(name: str) -> WorldPlan:
    """A file of ``configs/world_plan``."""
    values = read_config(KIND, name.lower())
    return WorldPlan(values["model"], values["paper"], LlamaSizes(**values["sizes"]), int(values["frames"]))


def plan_world(args: Namespace) -> dict[str, Any]:
    """Predict and print. Raises InvalidArgument or BadInput."""
    for name in OF_CLIPS:
        if getattr(args, name) is not None:
            raise InvalidArgument(f"--{name} is about clips of Cosmos: a step of {args.model} is one frame")
    if args.quant != "none":
        raise InvalidArgument(f"{args.model} is predicted with its own weights: leave --weights out")
    world, gpu, fit = load_world(args.model), load_gpu(args.gpu), fit_published()
    peak_flops(gpu, args.dtype)  # refuses a dtype that the GPU has no number for
    acceptance = acceptance_of_paper(published()) if args.bench is None else acceptance_of_bench(args.bench)
    acceptance = acceptance.covering(args.decoder)
    found = predicted_steps(world, Machine(gpu, fit.speed.captured(), args.dtype), fit, acceptance)
    if args.window is not None:
        known = sorted({one.window for one in found if one.decoder != "ar"})
        found = [one for one in found if one.decoder == "ar" or one.window in args.window]
        if len(found) == 1:
            raise InvalidArgument(f"{acceptance.source} has no window {args.window}: it has {known}")
    print("\n".join(lines_of(world, gpu, args.dtype, found, fit, acceptance)))
    return {
        "model": world.model,
        "gpu": gpu.name,
        "predicted": True,
        "tokens_from": acceptance.source,
        "steps": [vars(one) for one in found],
    }


def predicted_steps(
    world: WorldPlan, machine: Machine, fit: Fit, acceptance: Acceptance
) -> list[PredictedStep]:
    """AR, then every decoder and window that there are tokens per pass of, in the middle of a clip."""
    known = {("ar", 1): 1.0, **acceptance.tokens}
    found = []
    for (decoder, window), tokens in known.items():
        parts = seconds_by_part(machine, world.sizes.arithmetic, world.sizes.shape(window))
        passes = world.step_tokens / tokens
        graph = passes * total(parts)
        found.append(PredictedStep(decoder, window, tokens, passes, graph, graph + passes * fit.speed.launch))
    return found


def lines_of(
    world: WorldPlan, gpu: Gpu, dtype: str, found: Sequence[PredictedStep], fit: Fit, acceptance: Acceptance
) -> list[str]:
    """What is printed."""
    heads = ("decoder", "window", "tokens a pass", "passes", "graph ms", "frames/s", "eager ms", "frames/s")
    rows = [
        (
            one.decoder,
            one.window,
            f"{one.tokens:.1f}",
            f"{one.passes:.1f}",
            f"{1e3 * one.graph:.0f}",
            f"{1 / one.graph:.1f}",
            f"{1e3 * one.eager:.0f}",
            f"{1 / one.eager:.1f}",
        )
        for one in found
    ]
    borrowed = [f"  {name}: tokens a pass of {other}." for name, other in acceptance.borrowed.items()]
    return [
        f"{world.model} on {gpu.name} ({dtype}), a step of one frame. PREDICTED: nothing was measured on this GPU.",
        *columns(heads, rows),
        f"  published: {world.paper}.",
        f"  tokens a pass: {acceptance.source}, counted on {acceptance.model}, which is another model.",
        *borrowed,
        f"  graph: bytes and operations of a pass at {fit.speed.efficiency:.3f} of the data sheet (of the table of",
        f"  videos), were every pass one CUDA graph; eager: {1e3 * fit.speed.launch:.1f} ms a pass besides, of that",
        "  table too. Not in it: the first prefill, and pixels. This project's code was not timed on a GPU.",
    ]
