"""Families by name: from a folder of an author's release to the object that makes models of prompts or actions."""

from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup
from vidjacobi.runtime import choose

# name -> "module:function", called with the path of the weights and a Runtime; docs/families.md says what it returns
FAMILIES = {
    "chameleon": "vidjacobi.families.chameleon:load",
    "emu3": "vidjacobi.families.emu3:load",
    "glm_image": "vidjacobi.families.glm_image:load",
    "ivideogpt": "vidjacobi.families.ivideogpt:load",
    "janus": "vidjacobi.families.janus:load",
    "llamagen": "vidjacobi.families.llamagen:load",
    "mineworld": "vidjacobi.families.mineworld:load",
    "simplear": "vidjacobi.families.simplear:load",
}


def open_family(
    name: str, path: str | Path, device: str = "auto", dtype: str = "auto", **options: Any
) -> Any:
    """The family ``name`` with the weights in a file or folder.

    Args:
        name: a key of FAMILIES.
        path: of the weights. Nothing is fetched.
        device, dtype: as for ``vidjacobi.load``.
        options: of the family, such as ``side`` of LlamaGen.

    Raises:
        InvalidArgument: an unknown name, option, device or dtype; a transformers that lacks the network.
        BadCheckpoint: files that are missing, damaged or do not fit.
    """
    module, _, function = lookup("family", name, FAMILIES).partition(":")
    load = getattr(import_module(module), function)
    known = list(signature(load).parameters)[2:]
    if unknown := sorted(set(options) - set(known)):
        there = f"its options are {', '.join(known)}" if known else "it has none"
        raise InvalidArgument(f"{name} has no option {', '.join(unknown)}: {there}")
    runtime = choose(device, dtype)
    try:
        return load(Path(path).expanduser(), runtime, **options)
    except ImportError as error:  # of a network that this transformers does not have yet
        raise InvalidArgument(f"{name} needs transformers 5.23 or newer ({error})") from error
