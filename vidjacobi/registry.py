"""Looking a name up in a plain dict, with a suggestion where it is not there, and making entries."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from vidjacobi.errors import InvalidArgument

T = TypeVar("T")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """``table[name]``. Raises InvalidArgument, which lists what exists and suggests the nearest spelling."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise InvalidArgument(f"unknown {kind} {name!r}{suggest(name, table)}. There are: {', '.join(table)}")


def suggest(name: str, names: Mapping[str, object] | list[str]) -> str:
    """The text " (did you mean 'nearest'?)", or an empty one where no name is near."""
    near = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def build(kind: str, options: Mapping[str, object], table: Mapping[str, type[T]]) -> T:
    """Make the entry ``options["name"]`` of ``table`` with the other options as its arguments.

    ``{"name": "mixture", "alpha": 0.5}`` calls ``table["mixture"](alpha=0.5)``. Raises InvalidArgument for an
    unknown name and for options that the entry does not take.
    """
    arguments = {key: value for key, value in options.items() if key != "name"}
    entry = lookup(kind, str(options.get("name")), table)
    try:
        return entry(**arguments)
    except TypeError as error:  # an argument that is missing or unknown, or of the wrong type
        raise InvalidArgument(f"{kind} {options['name']!r}: {error}") from error


def check_whole(part: str, name: str, value: object, least: int) -> None:
    """Raise InvalidArgument unless ``value``, the option ``name`` of ``part``, is a whole number >= ``least``."""
    # True and False are integers to Python, but YAML's "yes" as a width is a mistake.
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgument(f"{part}: {name} must be a whole number of at least {least}, not {value!r}")
