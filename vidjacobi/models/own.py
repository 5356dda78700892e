"""Models of the user's own, named as ``package.module:load`` or by an entry point of an installed package.

``load(runtime)`` returns ``(model, tokenizer)``, on the runtime's device and in its dtype; the tokenizer may be None
where only tokens are wanted. The function may have four attributes: ``load.outline``, a function of a dtype that
returns the ``vidjacobi.models.outline.Outline`` of the model before it is there; ``load.modules``, a function of
the pair that returns the two ``torch.nn.Module`` that hold all weights, so that the pair can be offloaded;
``load.files``, a list of the paths that it reads, so that nothing is resumed with other weights; and
``load.actions``, a function of the pair that returns the ``vidjacobi.models.action_spec.ActionSpec`` of a model
whose frames follow actions.

Naming a module runs its code.
"""

import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidjacobi.errors import BadCheckpoint, InvalidArgument, VidjacobiError
from vidjacobi.kinds import check_members, value_words
from vidjacobi.models.action_spec import ActionSpec
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.runtime import Runtime

GROUP = "vidjacobi.models"  # of the entry points
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # package.module:function
Pair = tuple[VideoModel, VideoTokenizer | None]


@dataclass(frozen=True)
class OwnModel:
    """A name and the function that it stands for."""

    name: str
    load: Callable[[Runtime], Pair]

    def pair(self, runtime: Runtime) -> Pair:
        """The model and its tokenizer, if it has one.

        Raises InvalidArgument for a result that is no such pair, and BadCheckpoint where the function fails.
        """
        made = self._call(self.load, runtime)
        if not isinstance(made, tuple) or len(made) != 2:
            raise InvalidArgument(
                f"{self.name} must return (model, tokenizer), the tokenizer may be None, and returned "
                f"{type(made).__name__}"
            )
        model, tokenizer = made
        check_members(f"the model of {self.name}", model, VideoModel)
        if tokenizer is not None:
            check_members(f"the tokenizer of {self.name}", tokenizer, VideoTokenizer)
        return model, tokenizer

    def outline(self, dtype: torch.dtype) -> Outline | None:
        """What its function ``outline`` says; None where it has none. Raises InvalidArgument, BadCheckpoint."""
        make = getattr(self.load, "outline", None)
        if make is None:
            return None
        made = self._call(make, dtype)
        if not isinstance(made, Outline):
            raise InvalidArgument(
                f"the function outline of {self.name} must return a vidjacobi.models.outline.Outline, and returned "
                f"{type(made).__name__}"
            )
        return made

    def modules(self, model: VideoModel, tokenizer: VideoTokenizer) -> tuple[nn.Module, nn.Module]:
        """The modules that hold all weights. Raises InvalidArgument where they are not named."""
        name = getattr(self.load, "modules", None)
        if name is None:
            raise InvalidArgument(
                f"{self.name} cannot be offloaded: set load.modules to a function of (model, tokenizer) that returns "
                "the two torch.nn.Module that hold their weights"
            )
        return self._call(name, model, tokenizer)

    def actions(self, model: VideoModel, tokenizer: VideoTokenizer) -> ActionSpec | None:
        """What its function ``actions`` says; None where it has none. Raises InvalidArgument, BadCheckpoint."""
        make = getattr(self.load, "actions", None)
        if make is None:
            return None
        made = self._call(make, model, tokenizer)
        if not isinstance(made, ActionSpec):
            raise InvalidArgument(
                f"the function actions of {self.name} must return a vidjacobi.models.action_spec.ActionSpec, and "
                f"returned {type(made).__name__}"
            )
        return made

    def files(self) -> dict[str, Path]:
        """What the pair is made of, by name: the code of its package, or of its module alone, and ``load.files``.

        Raises InvalidArgument where these are no paths. What else the function reads is not known.
        """
        module = self.load.__module__
        code = {path.name: path for path in _files_of(module)}
        if root := _package_of(module):
            code = {path.relative_to(root.parent).as_posix(): path for path in sorted(root.rglob("*.py"))}
        named = getattr(self.load, "files", ())
        if not isinstance(named, list | tuple) or not all(isinstance(path, str | Path) for path in named):
            raise InvalidArgument(
                f"{self.name}: load.files must be a list of paths, not {value_words(named)}"
            )
        return code | {str(path): Path(path) for path in named}

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except VidjacobiError:
            raise
        except Exception as error:
            raise BadCheckpoint(f"{self.name} failed: {in_words(error)}") from error


def refuse_family(name: str) -> None:
    """Raise InvalidArgument for a model that is given texts, classes or actions, which commands of clips have not.

    That is NAME:PATH of a family of other authors, or the name of a bundled model of pictures.
    """
    from vidjacobi.config.model_facts import load_facts, model_names  # other names need nothing of it

    family, colon, _ = name.partition(":")
    if family not in model_names():
        return
    facts = load_facts(family)
    world = "world" in facts.presets and not facts.command
    takes_clips = world if facts.kind == "bundled" else not colon
    if takes_clips:
        return
    commands = {
        "image": "`vidjacobi image` (--prompts LIST for many) and `vidjacobi bench pictures` take it, and "
        "`vidjacobi eval pictures` judges what it made",
        "batch": "`vidjacobi batch --actions`, `vidjacobi play` and `vidjacobi eval policies` take it",
        "rollout": "`vidjacobi rollout` takes it with --actions, and its rollout.json says passes and seconds",
    }
    python = f"in Python, vidjacobi.load_family({name!r}) makes a model of them"
    usual = commands["image"] if facts.kind == "bundled" else python
    which = commands.get(str(facts.command), usual)
    whose = name if name == facts.title else f"{name}: {facts.title}"
    raise InvalidArgument(f"{whose} makes {facts.makes}, which this command has no way to give: {which}")


def find_own(name: str) -> OwnModel | None:
    """The model of the user's own that has this name, None if there is none. Its module is imported.

    Raises InvalidArgument for a module or function that is not there, BadCheckpoint for a module that fails.
    """
    refuse_family(name)
    if TARGET.fullmatch(name):
        return OwnModel(name, _function(name, *name.split(":")))
    found = _installed().get(name, [])
    if len(found) > 1:
        places = ", ".join(entry.value for entry in found)
        raise InvalidArgument(f"several installed packages offer a model {name!r}: name one of {places}")
    if not found:
        return None
    module, _, function = found[0].value.partition(":")
    return OwnModel(name, _function(f"{name} ({found[0].value})", module, function))


def own_names() -> list[str]:
    """The names that installed packages offer."""
    return sorted(_installed())


def _installed() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        if entry.value not in [other.value for other in found.get(entry.name, [])]:
            found.setdefault(entry.name, []).append(entry)
    return found


def _function(name: str, module: str, function: str) -> Callable[..., Any]:
    here = str(Path.cwd())
    # A command that was installed does not look here. At the end, so that nothing here hides an installed package.
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise InvalidArgument(
                f"--model {name}: there is no module {error.name!r} in {here} or among the installed packages"
            ) from None
        raise BadCheckpoint(f"--model {name}: importing {module} failed: {in_words(error)}") from error
    except Exception as error:
        raise BadCheckpoint(f"--model {name}: importing {module} failed: {in_words(error)}") from error
    found = getattr(loaded, function, None)
    if not callable(found):
        raise InvalidArgument(f"--model {name}: {module} has no function {function!r}")
    return found


def _files_of(module: str) -> list[Path]:
    """The file of a module that was imported; none of a namespace."""
    origin = getattr(sys.modules.get(module), "__file__", None)
    return [Path(origin)] if origin else []


def _package_of(module: str) -> Path | None:
    """The folder of the outermost package around a module, or None. A namespace, which any folder may be, is none."""
    names = module.split(".")
    for end in range(1, len(names) + 1):
        for path in _files_of(".".join(names[:end])):
            if path.name == "__init__.py":
                return path.parent
    return None


def in_words(error: BaseException) -> str:
    """An exception of foreign code: its kind, its message, and the line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
