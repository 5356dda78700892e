"""``vidjacobi doctor``: what is here, and whether a rollout fits."""

from argparse import Namespace
from dataclasses import dataclass, fields
from typing import Any

import torch

from vidjacobi.config import RolloutConfig, load_decoder, with_window
from vidjacobi.errors import InvalidArgument
from vidjacobi.planning import text
from vidjacobi.planning.gpus import load_gpu
from vidjacobi.planning.memory_model import (
    Knob,
    Memory,
    Setting,
    fewer_clips,
    fewer_samples,
    make_fit,
    memory_of,
    offloading,
    other_dtype,
    smaller_window,
)
from vidjacobi.planning.models import outline
from vidjacobi.planning.simulate import Request
from vidjacobi.planning.surroundings import extras, free_memory, installed
from vidjacobi.runtime import DTYPES, choose, describe_device


@dataclass(frozen=True)
class Place:
    """Where the rollout would run: a device that is here, or a GPU by its data sheet."""

    name: str
    dtype: torch.dtype
    reason: str
    room: int
    free: str


def examine(args: Namespace) -> dict[str, Any]:
    """Print what is here and what the rollout needs.

    Raises:
        InvalidArgument: the rollout does not fit; with the flags that would make it fit, if there are any.
    """
    _check(args)
    place = _place(args)
    packages, optional = installed(), extras()
    print(f"device  {place.name}, {text.gib(place.room)} {place.free}")
    print(f"dtype   {_name(place.dtype)}: {place.reason}")
    print("\n".join(text.table(("package", "version"), list(packages.items()))))
    print("\n".join(text.table(("optional", ""), list(optional.items()))))
    setting = _setting(args, place.dtype)
    memory = memory_of(setting)
    print(f"\n{_request_line(args, setting)}")
    print("\n".join(text.memory_lines(memory)))
    if args.offload and not _offloads():
        print("  note: this version's rollout has no --offload; these are the numbers if it had")
    if memory.peak > place.room:
        raise InvalidArgument(_refusal(args, setting, memory, place))
    print(f"It should fit: {text.gib(memory.peak)} of {text.gib(place.room)} (predicted).")
    return {
        "device": place.name,
        "dtype": _name(place.dtype),
        "packages": packages,
        "optional": optional,
        "memory": memory.parts,
        "phases": memory.phases,
        "peak": memory.peak,
        "room": place.room,
        "fits": True,
    }


def _check(args: Namespace) -> None:
    for name in ("batch", "samples"):
        if getattr(args, name) < 1:
            raise InvalidArgument(f"{name} must be at least 1, not {getattr(args, name)}")
    if args.window is not None and args.window < 1:
        raise InvalidArgument(f"window must be at least 1, not {args.window}")
    if args.gpu and args.device != "auto":
        raise InvalidArgument(
            "--gpu asks about a GPU by its data sheet, --device about one that is here: not both"
        )


def _place(args: Namespace) -> Place:
    if args.gpu:
        gpu = load_gpu(args.gpu)
        dtype = choose("cpu", args.dtype).dtype if args.dtype != "auto" else torch.bfloat16
        reason = "asked for" if args.dtype != "auto" else "the checkpoints are bfloat16"
        return Place(f"{gpu.name} (by its data sheet)", dtype, reason, gpu.usable, "for tensors")
    runtime = choose(args.device, args.dtype)
    name = describe_device(runtime.device)
    return Place(name, runtime.dtype, runtime.reason, free_memory(runtime.device), "free now")


def _setting(args: Namespace, dtype: torch.dtype) -> Setting:
    decoder = with_window(load_decoder(args.decoder), args.window)
    request = Request(decoder, args.batch * args.samples, args.batch, args.context, args.frames)
    return Setting(outline(args.model, dtype), request, args.offload)


def _request_line(args: Namespace, setting: Setting) -> str:
    request = setting.request
    return (
        f"{setting.outline.name}, `{request.decoder.name}` at window {request.window}, {args.batch} x {args.samples} "
        f"clips, {request.context_frames} -> {request.new_frames} frames{', --offload' if args.offload else ''}"
    )


def _refusal(args: Namespace, setting: Setting, memory: Memory, place: Place) -> str:
    """Why not, and what to do."""
    why = (
        f"this rollout would not fit: {text.gib(memory.peak)} in its phase {memory.worst!r} (predicted), "
        f"{text.gib(place.room)} on {place.name}"
    )
    flags = make_fit(setting, place.room, _knobs(args, place.dtype))
    if flags is None:
        return f"{why}. No smaller window or batch makes it fit: use a larger device or a smaller model"
    return f"{why}. It would with {' '.join(flags)}"


def _knobs(args: Namespace, dtype: torch.dtype) -> list[Knob]:
    """What costs least first: the same tokens, then fewer at a time."""
    knobs: list[Knob] = []
    if _offloads():
        knobs.append(offloading)
    if dtype != torch.bfloat16:
        knobs.append(other_dtype("bfloat16", lambda: outline(args.model, torch.bfloat16)))
    return [*knobs, fewer_samples, fewer_clips, smaller_window]


def _offloads() -> bool:
    """Whether this version's rollout can offload."""
    return "offload" in {field.name for field in fields(RolloutConfig)}


def _name(dtype: torch.dtype) -> str:
    return next(name for name, known in DTYPES.items() if known == dtype)
