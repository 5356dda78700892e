"""``vidjacobi doctor``: what is installed here, and whether a rollout fits."""

import importlib.util
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.config.model_facts import load_facts
from vidjacobi.decoding.recipe import BITWISE, ROUNDED
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.estimate.family_memory import WORLDS, family_at, sizes_of
from vidjacobi.estimate.memory import (
    Memory,
    MemoryQuestion,
    TargetDevice,
    predicted,
    require_fit,
    this_device,
)
from vidjacobi.estimate.pass_seconds import load_gpu
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.loading import load_model, outline, resolve
from vidjacobi.models.offload import check_device, refuse_family
from vidjacobi.models.protocol import ExactModel
from vidjacobi.output.columns import columns
from vidjacobi.runtime import DTYPES, choose, describe_device, gib, versions

EXTRAS = {
    "eval": ("pytorchvideo", "scipy", "torchmetrics"),
    "batch": ("pyarrow",),
    "ray": ("ray",),
}
OTHERS = ("torchvision", "safetensors", "decord")
FAMILY = "vidjacobi.families.opening:load_family"
FVD = "vidjacobi.eval.i3d_weights:find_installed"


def examine(args: Namespace) -> dict[str, Any]:
    """Print what is here and what the rollout needs.

    Raises:
        InvalidArgument: the rollout does not fit; with the flags that would make it fit, if there are any.
    """
    _check(args)
    if args.gpu:
        device = data_sheet_device(args.gpu, args.dtype)
    else:
        runtime = choose(args.device, args.dtype)
        device = this_device(runtime)
        if args.offload:
            check_device(runtime.device)
    packages, optional = installed(), extras()
    print(f"device  {device.name}, {gib(device.room)} {device.free}")
    print(f"dtype   {_name(device.dtype)}: {device.reason}")
    print("\n".join(columns(("package", "version"), list(packages.items()))))
    print("\n".join(facts("optional", optional)))
    found = family_at(args.model)
    if found and args.offload:
        refuse_family(args.model)
    if found and args.stream:
        raise InvalidArgument("--stream: memory of families is predicted without pixels: leave it out")
    promised = probed(args, found[0] if found else None) if args.exact else None
    if found:
        told = {"identical": promised} if promised else {}
        return {"packages": packages, "optional": optional} | told | family_fits(args, device, *found)
    question = _question(args)
    print(f"\n{_question_line(args, question)}")
    memory = predicted(question, device)
    print("\n".join(memory_lines(memory)))
    if device.dtype == torch.bfloat16 and not device.may_offload:
        print(
            "  nor the second copy that a CPU keeps of weights in bfloat16, of Cosmos networks of at most 256 MiB."
        )
    require_fit(question, device, memory)
    print(f"It should fit: {gib(memory.peak)} of {gib(device.room)} (predicted).")
    return {
        "device": device.name,
        "dtype": _name(device.dtype),
        "packages": packages,
        "optional": optional,
        **({"identical": promised} if promised else {}),
        "memory": memory.parts,
        "phases": memory.phases,
        "peak": memory.peak,
        "room": device.room,
        "fits": True,
    }


def family_fits(args: Namespace, device: TargetDevice, family: str, folder: Path) -> dict[str, Any]:
    """Whether pictures or clips of a family fit, printed. Raises InvalidArgument where they do not, BadCheckpoint."""
    rows, window = max(args.batch, args.samples), with_window(load_decoder(args.decoder), args.window).window
    sizes = sizes_of(family, folder)
    presets = load_facts(family).presets.values()
    branches = 1 if all(own.guidance is None for own in presets) else 2
    parts = sizes.parts(rows, branches, window, device.dtype)
    peak = sum(parts.values())
    what = "clip" if family in WORLDS else "picture"
    together = f"{number_of(rows, what)} of {sizes.cells:,} cells{' a chunk' * (what == 'clip')} at a time"
    print(f"\n{args.model}, {together}, `{args.decoder}` at window {window}")
    print("\n".join(columns(("part", "bytes"), [(name, gib(n)) for name, n in parts.items()])))
    print(
        "  not in it: the prefill, what turns tokens into pixels, and what single kernels take for themselves."
    )
    if peak > device.room:
        each, fewer = (
            peak - parts["weights"],
            "--rows of `image`" if what == "picture" else "--samples or --rows",
        )
        raise InvalidArgument(
            f"{gib(peak)} are needed (predicted) and {gib(device.room)} are {device.free}: the weights take "
            f"{gib(parts['weights'])}, and each of {rows} {what}s {gib(each // rows)}: fewer with {fewer}"
        )
    print(f"It should fit: {gib(peak)} of {gib(device.room)} (predicted).")
    about = {"device": device.name, "dtype": _name(device.dtype), "memory": parts}
    return {**about, "peak": peak, "room": device.room, "fits": True}


def probed(args: Namespace, family: str | None) -> str:
    """What ``identical`` means for the model here, printed with what was found.

    Raises as ``load_model``, and InvalidArgument for a family whose models need more than its weights.
    """
    runtime = choose(args.device, args.dtype)
    if family is None or family in WORLDS:
        model = load_model(args.model, args.device, args.dtype)
    elif "class" in load_facts(family).presets:
        model = resolve(FAMILY)(args.model, args.device, args.dtype).of_classes([0], 1.0)
    else:
        raise InvalidArgument(
            f"--exact: models of {args.model} are made of prompts, which doctor is not given: `vidjacobi image` says "
            "for each picture whether it is bitwise, in image.json too"
        )
    exact = isinstance(model, ExactModel) and model.bitwise
    promised = BITWISE if exact else ROUNDED
    how = f"zero-sum probes of {args.model} in {_name(runtime.dtype)} on {describe_device(runtime.device)}"
    print(f"exact   {promised}: {how}")
    if isinstance(model, ExactModel):
        print(f"        {model.padding}")
    else:
        print(f"        {type(model).__name__} does not say whether its passes are width-invariant")
    return promised


def facts(head: str, found: Mapping[str, str]) -> list[str]:
    """A table of texts that may be as long as a path: both columns begin at the left."""
    width = max(map(len, found))
    return [f"  {head}", *(f"  {name.ljust(width)}  {text}" for name, text in found.items())]


def installed() -> dict[str, str]:
    """Versions of what a rollout needs, CUDA's among them."""
    found = versions() | {name: version_of(name) for name in OTHERS}
    found["cuda of torch"] = torch.version.cuda or "none (a CPU build)"
    return found


def extras() -> dict[str, str]:
    """For each optional extra whether it is complete, else what is missing."""
    answers = {}
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        answers[extra] = f"not installed: {', '.join(missing)}" if missing else "installed"
    # The weights of the FVD network are a file of the user's, so they are looked for apart.
    weights = resolve(FVD)()
    answers["FVD weights"] = (
        str(weights) if weights else "not found: `vidjacobi eval setup` says how to get them"
    )
    return answers


def version_of(package: str) -> str:
    """Version of a package, if it is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def data_sheet_device(name: str, dtype: str) -> TargetDevice:
    """A GPU by its data sheet. Raises InvalidArgument for an unknown GPU or dtype."""
    gpu = load_gpu(name)
    given = dtype != "auto"
    found = choose("cpu", dtype).dtype if given else torch.bfloat16
    reason = "asked for" if given else "the checkpoints are bfloat16"
    return TargetDevice(f"{gpu.name} (by its data sheet)", found, reason, gpu.usable, "for tensors", True)


def memory_lines(memory: Memory) -> list[str]:
    """By part, then by phase."""
    phases = [
        (f"{name} (worst)" if name == memory.worst else name, gib(n)) for name, n in memory.phases.items()
    ]
    return [
        "Predicted memory by part (not all at once):",
        *columns(("part", "bytes"), [(name, gib(n)) for name, n in memory.parts.items()]),
        "Predicted peak of each phase:",
        *columns(("phase", "bytes"), phases),
        "  not in it: what loading takes, and what single kernels take for themselves.",
    ]


def _check(args: Namespace) -> None:
    for name in ("batch", "samples"):
        if getattr(args, name) < 1:
            raise InvalidArgument(f"{name} must be at least 1, not {getattr(args, name)}")
    if args.batch > 1 and args.samples > 1:
        raise InvalidArgument("--samples is about one rollout, --batch about the rows of a batch: not both")
    if args.batch > 1 and args.stream:
        raise InvalidArgument("--stream is about one rollout, --batch about the rows of a batch: not both")
    if args.window is not None and args.window < 1:
        raise InvalidArgument(f"window must be at least 1, not {args.window}")
    if args.gpu and args.exact:
        raise InvalidArgument(
            "--exact probes what is here, --gpu asks about a GPU by its data sheet: not both"
        )
    if args.gpu and args.device != "auto":
        raise InvalidArgument(
            "--gpu asks about a GPU by its data sheet, --device about one that is here: not both"
        )


def _question(args: Namespace) -> MemoryQuestion:
    decoder = with_window(load_decoder(args.decoder), args.window)
    in_batch = args.batch > 1  # a batch of one row is a rollout
    rows = args.batch if in_batch else args.samples
    shape = RolloutShape(decoder, rows, 1, args.context, args.frames)
    model = partial(outline, args.model)
    return MemoryQuestion(model, shape, args.offload, in_batch, args.stream, rows_flag="--batch")


def _question_line(args: Namespace, question: MemoryQuestion) -> str:
    shape = question.shape
    what = (
        f"batch of {number_of(shape.rows, 'row')}"
        if question.in_batch
        else f"rollout of {number_of(shape.rows, 'future')}"
    )
    return (
        f"{args.model}, {what}, `{shape.decoder.name}` at window {shape.window}, "
        f"{shape.context_frames} -> {number_of(shape.new_frames, 'frame')}{', --offload' if args.offload else ''}"
    )


def _name(dtype: torch.dtype) -> str:
    return next(name for name, known in DTYPES.items() if known == dtype)
