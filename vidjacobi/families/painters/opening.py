"""Painters by the name of their family."""

from importlib import import_module
from pathlib import Path

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.painters.contract import Painter, PainterOptions
from vidjacobi.registry import lookup
from vidjacobi.runtime import Runtime

# name -> "module:function", called with the path of the weights, a Runtime and PainterOptions
PAINTERS = {
    "chameleon": "vidjacobi.families.painters.lumina:open_painter",
    "emu3": "vidjacobi.families.painters.emu3:open_painter",
    "emu3_5": "vidjacobi.families.painters.emu3:open_emu3_5",
    "glm_image": "vidjacobi.families.painters.glm_image:open_painter",
    "imagegpt": "vidjacobi.families.painters.imagegpt:open_painter",
    "janus": "vidjacobi.families.painters.janus:open_painter",
    "llamagen": "vidjacobi.families.painters.llamagen:open_painter",
    "nano-image": "vidjacobi.families.painters.nano_image:open_painter",
    "simplear": "vidjacobi.families.painters.simplear:open_painter",
}
UNASKED = ("imagegpt",)  # of them, those whose pictures are of nothing in particular


def open_painter(name: str, path: Path, runtime: Runtime, options: PainterOptions) -> Painter:
    """The painter of the family ``name``, with the weights at ``path``. Nothing is fetched.

    Raises:
        InvalidArgument: a family that makes no pictures; an option that the family has no use for.
        BadCheckpoint: files that are missing, damaged or do not fit.
    """
    module, _, function = lookup("family that makes pictures", name, PAINTERS).partition(":")
    try:
        return getattr(import_module(module), function)(path, runtime, options)
    except ImportError as error:  # of a network that this transformers does not have yet
        raise InvalidArgument(f"{name} needs transformers 5.23 or newer ({error})") from error
