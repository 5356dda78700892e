"""Looking a name up in a plain dict, with a suggestion where it is not there; and values of the right kind."""

import difflib
from collections.abc import Mapping
from numbers import Integral, Real
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


def whole(name: str, value: object, least: int | None = None) -> int:
    """The argument ``name`` as an int; numpy's whole numbers will do.

    Raises InvalidArgument for anything else, for True and False, and for a number below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidArgument(f"{name} must be a whole number, not {shown(value)}")
    if least is not None and value < least:
        raise InvalidArgument(f"{name} must be at least {least}, not {value}")
    return int(value)


def real(name: str, value: object) -> float:
    """The argument ``name`` as a float. Raises InvalidArgument for what is no number, and for True and False."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgument(f"{name} must be a number, not {shown(value)}")
    try:
        return float(value)
    except OverflowError:  # such as 10**400
        raise InvalidArgument(f"{name} is beyond every number that can be computed with") from None


def of_kind(name: str, value: T, kinds: type | tuple[type, ...], words: str) -> T:
    """``value``, if it is an instance of ``kinds``, which are ``words`` to the user. Raises InvalidArgument."""
    if not isinstance(value, kinds):
        raise InvalidArgument(f"{name} must be {words}, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """A value in a message: its type, and what it is as far as that fits."""
    text = repr(value)
    kind = type(value).__name__
    return f"{text} ({kind})" if len(text) <= 40 and "\n" not in text else f"a {kind}"
