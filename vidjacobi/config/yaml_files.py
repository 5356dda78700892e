"""The YAML files of ``configs/``: their names, their text, and their keys as the fields of a dataclass."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import suggest

Settings = TypeVar("Settings")


def config_names(kind: str) -> list[str]:
    """The names of the shipped configurations of one kind, such as ``decoder``, ``rollout`` or ``bench``."""
    files = (resources.files("vidjacobi.configs") / kind).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def read_config(kind: str, name: str) -> str:
    """The text of ``configs/KIND/NAME.yaml``, or of the file at a path that ends in .yaml or .yml.

    Raises:
        InvalidArgument: there is no such file, or no shipped configuration of this name.
    """
    # Only the ending tells a path from a name, so that a file called "pathwise" in the working folder cannot
    # replace the shipped decoder unnoticed.
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InvalidArgument(f"there is no {kind} file {name}")
        return Path(name).read_text(encoding="utf-8")
    names = config_names(kind)
    if name not in names:
        raise InvalidArgument(f"unknown {kind} {name!r}{suggest(name, names)}. There are: {', '.join(names)}")
    return (resources.files("vidjacobi.configs") / kind / f"{name}.yaml").read_text(encoding="utf-8")


def load_settings(kind: str, name: str, schema: type[Settings], flags: Mapping[str, Any]) -> Settings:
    """``configs/KIND/NAME.yaml`` (or the file at a path) as a ``schema`` dataclass, with ``flags`` laid over it.

    Flags that are None, or that ``schema`` has no field for, are left out.

    Raises:
        InvalidArgument: an unknown name or key, or a value of the wrong type.
    """
    known = list(schema.__dataclass_fields__)  # type: ignore[attr-defined]
    given = {key: value for key, value in flags.items() if key in known and value is not None}
    try:
        values = OmegaConf.create(read_config(kind, name))
        for key in values:
            if key not in known:
                raise InvalidArgument(f"{kind} {name!r} has no setting {key!r}{suggest(str(key), known)}")
        # Later arguments win: the defaults of the dataclass, then the file, then the command line.
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values, given))
    except OmegaConfBaseException as error:
        where = error.full_key or f"{kind} {name!r}"
        raise InvalidArgument(f"{where}: {str(error).splitlines()[0]}") from error
    assert isinstance(settings, schema)
    return settings


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Why a run with the settings ``now`` cannot resume one that was started with the settings ``before``.

    One text for each key that differs, dotted where it lies in a nested mapping; empty if none does.
    """
    found = []
    for key, value in now.items():
        there = before.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            found += [f"{key}.{text}" for text in differences(value, there)]
        elif there != value:
            found.append(f"{key}: {there} there, {value} here")
    return found
