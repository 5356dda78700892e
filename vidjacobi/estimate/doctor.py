"""``vidjacobi doctor``: what is here, and whether a rollout fits."""

from argparse import Namespace
from functools import partial
from typing import Any

import torch

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate import text
from vidjacobi.estimate.admission import Ask, Place, admit, here
from vidjacobi.estimate.environment import extras, installed
from vidjacobi.estimate.gpus import load_gpu
from vidjacobi.estimate.memory_model import memory_of
from vidjacobi.estimate.outlines import outline
from vidjacobi.estimate.request import Request
from vidjacobi.models.offload import check_device
from vidjacobi.runtime import DTYPES, choose, gib


def examine(args: Namespace) -> dict[str, Any]:
    """Print what is here and what the rollout needs.

    Raises:
        InvalidArgument: the rollout does not fit; with the flags that would make it fit, if there are any.
    """
    _check(args)
    place = on_gpu(args.gpu, args.dtype) if args.gpu else here(choose(args.device, args.dtype))
    if args.offload and not args.gpu:
        check_device(choose(args.device, args.dtype).device)
    packages, optional = installed(), extras()
    print(f"device  {place.name}, {gib(place.room)} {place.free}")
    print(f"dtype   {_name(place.dtype)}: {place.reason}")
    print("\n".join(text.table(("package", "version"), list(packages.items()))))
    print("\n".join(text.table(("optional", ""), list(optional.items()))))
    ask = _ask(args)
    memory = memory_of(ask.setting(place.dtype))
    print(f"\n{_request_line(args, ask)}")
    print("\n".join(text.memory_lines(memory)))
    admit(ask, place, memory)
    print(f"It should fit: {gib(memory.peak)} of {gib(place.room)} (predicted).")
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


def on_gpu(name: str, dtype: str) -> Place:
    """A GPU by its data sheet."""
    gpu = load_gpu(name)
    given = dtype != "auto"
    found = choose("cpu", dtype).dtype if given else torch.bfloat16
    reason = "asked for" if given else "the checkpoints are bfloat16"
    return Place(f"{gpu.name} (by its data sheet)", found, reason, gpu.usable, "for tensors", True)


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
    if args.gpu and args.device != "auto":
        raise InvalidArgument(
            "--gpu asks about a GPU by its data sheet, --device about one that is here: not both"
        )


def _ask(args: Namespace) -> Ask:
    decoder = with_window(load_decoder(args.decoder), args.window)
    rows = args.batch if args.batch > 1 else args.samples
    request = Request(decoder, rows, 1, args.context, args.frames)
    return Ask(
        partial(outline, args.model), request, args.offload, args.batch > 1, args.stream, rows_flag="--batch"
    )


def _request_line(args: Namespace, ask: Ask) -> str:
    request = ask.request
    what = f"batch of {request.rows} rows" if ask.beside else f"rollout of {request.rows} futures"
    return (
        f"{args.model}, {what}, `{request.decoder.name}` at window {request.window}, "
        f"{request.context_frames} -> {request.new_frames} frames{', --offload' if args.offload else ''}"
    )


def _name(dtype: torch.dtype) -> str:
    return next(name for name, known in DTYPES.items() if known == dtype)
