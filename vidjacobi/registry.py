"""Looking a name up in a plain dict, with a suggestion when it is not there."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from vidjacobi.errors import InvalidArgument

T = TypeVar("T")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """``table[name]``, or an InvalidArgument that names what exists and the nearest spelling."""
    if name in table:
        return table[name]
    raise InvalidArgument(f"unknown {kind} {name!r}{suggest(name, table)}. There are: {', '.join(table)}")


def suggest(name: str, names: Mapping[str, object] | list[str]) -> str:
    """' (did you mean ...?)' or nothing."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def build(kind: str, options: Mapping[str, object], table: Mapping[str, type[T]]) -> T:
    """Make the entry ``options["name"]`` of ``table`` with the other options as its arguments."""
    arguments = {key: value for key, value in options.items() if key != "name"}
    entry = lookup(kind, str(options.get("name")), table)
    try:
        return entry(**arguments)
    except TypeError as error:
        raise InvalidArgument(f"{kind} {options['name']!r}: {error}") from error


def check_whole(part: str, name: str, value: object, least: int) -> None:
    """Refuse an option of a part that is no whole number of at least ``least``. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgument(f"{part}: {name} must be a whole number of at least {least}, not {value!r}")
