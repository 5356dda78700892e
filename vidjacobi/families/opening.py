"""Families by name: from a folder of an author's release to the object that makes models of prompts or actions.

A model of a family is named ``NAME:PATH``, such as ``janus:weights/Janus-Pro-1B``, by ``--model`` and elsewhere.
The path is a file or folder, or a repository of the hub (``janus:deepseek-community/Janus-Pro-1B``) or a file of one
(``llamagen:hf://FoundationVision/LlamaGen/c2i_B_384.pt``), which is fetched because you named it. ``nano-image`` and
``nano-pusht`` name the weights that come with this package.
"""

from dataclasses import dataclass
from importlib import import_module, resources
from inspect import signature
from pathlib import Path
from typing import Any

from vidjacobi.errors import InvalidArgument
from vidjacobi.models import hub
from vidjacobi.registry import lookup
from vidjacobi.runtime import choose

# name -> "module:function", called with the path of the weights and a Runtime; docs/families.md says what it returns
FAMILIES = {
    "chameleon": "vidjacobi.families.chameleon:load",
    "emu3": "vidjacobi.families.emu3:load",
    "emu3_5": "vidjacobi.families.emu3_layouts:load_emu3_5",
    "glm_image": "vidjacobi.families.glm_image:load",
    "imagegpt": "vidjacobi.families.imagegpt:load",
    "ivideogpt": "vidjacobi.families.ivideogpt:load",
    "janus": "vidjacobi.families.janus:load",
    "llamagen": "vidjacobi.families.llamagen:load",
    "mineworld": "vidjacobi.families.mineworld:load",
    "nano-image": "vidjacobi.families.nano_image:load",
    "pusht": "vidjacobi.families.pusht:load",
    "simplear": "vidjacobi.families.simplear:load",
    "univla": "vidjacobi.families.emu3_layouts:load_univla",
}
# bundled model -> its family, and the folder of ``assets`` with its weights
BUNDLED = {"nano-image": ("nano-image", "nano_image"), "nano-pusht": ("pusht", "nano_pusht")}
# of a repository; a checkpoint that is one file among many (LlamaGen's) is named as a file
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
# of repositories that hold more than the model: its folders alone
HUB_FOLDERS = {
    "glm_image": ("vision_language_encoder/*", "processor/*"),
    "univla": ("WORLD_MODEL_POSTTRAIN/*",),
}


@dataclass(frozen=True)
class FamilyName:
    """A model of a family: a key of FAMILIES, and where its weights are."""

    family: str
    path: str

    @property
    def weights(self) -> Path:
        """The file or folder, which may not be there. A repository is fetched. Raises BadCheckpoint."""
        own = hub.local(self.path)
        if own.exists() or self.path.startswith((".", "~")) or not hub.is_repository(self.path):
            return own
        return hub.fetch(self.path, HUB_FOLDERS.get(self.family, HUB_FILES))


def family_name(name: str) -> FamilyName | None:
    """What ``NAME:PATH`` names, or a bundled model; None for what begins with no family's name.

    Raises InvalidArgument for a family without a path.
    """
    if name in BUNDLED:
        own, folder = BUNDLED[name]
        return FamilyName(own, str(Path(str(resources.files("vidjacobi"))) / "assets" / folder))
    family, colon, path = name.partition(":")
    if not colon or family not in FAMILIES:
        return None
    if not path:
        raise InvalidArgument(f"{name} says no path: name the weights too, {family}:FOLDER")
    return FamilyName(family, path)


def load_family(name: str, device: str = "auto", dtype: str = "auto", **options: Any) -> Any:
    """``open_family`` of a name as ``NAME:PATH``. Raises InvalidArgument for another name, and as ``open_family``."""
    found = family_name(name)
    if found is None:
        raise InvalidArgument(
            f"{name!r} names no model of a family: write NAME:PATH, such as janus:FOLDER. Families: "
            f"{', '.join(FAMILIES)}"
        )
    return open_family(found.family, found.weights, device, dtype, **options)


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
