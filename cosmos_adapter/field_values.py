"""Values of a JSON config, checked and converted to the types of a dataclass's fields."""

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, get_args, get_origin

from vidjacobi.errors import InvalidArgument


def field_values(record: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """The values in ``config`` for the fields of the dataclass ``record``; other keys are left out.

    Lists become tuples, and whole numbers become floats where the field is a float. Raises InvalidArgument for a
    value that is not of its field's type.
    """
    return {
        field.name: _value(field.name, field.type, config[field.name])
        for field in fields(record)
        if field.name in config
    }


def _value(name: str, hint: Any, value: Any) -> Any:
    # ``type(value) in kinds`` instead of isinstance: True is an int to isinstance, and no number of layers.
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if type(value) in kinds or (value is None and type(None) in kinds):
        return value
    if type(value) is int and float in kinds:
        return float(value)
    if isinstance(value, list | tuple) and any(_holds(kind, value) for kind in kinds):
        return tuple(value)
    raise InvalidArgument(f"{name}={value!r} is not possible")


def _holds(kind: Any, values: "list[Any] | tuple[Any, ...]") -> bool:
    """Whether ``kind`` is the type of a tuple with the types of ``values``."""
    if get_origin(kind) is not tuple:
        return False
    wanted = get_args(kind)  # (int, int, int) of tuple[int, int, int], (int, ...) of tuple[int, ...]
    if wanted[-1] is ...:
        wanted = wanted[:1] * len(values)
    return [type(value) for value in values] == list(wanted)
