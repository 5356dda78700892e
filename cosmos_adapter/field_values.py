"""Values out of a JSON config as the fields of a record want them."""

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, get_args, get_origin

from vidjacobi.errors import InvalidArgument


def field_values(record: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """What ``config`` says of the fields of a dataclass: lists become tuples, whole numbers floats.

    Other keys are left out. Raises InvalidArgument for a value that is not of its field's type.
    """
    return {
        field.name: _value(field.name, field.type, config[field.name])
        for field in fields(record)
        if field.name in config
    }


def _value(name: str, hint: Any, value: Any) -> Any:
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
    wanted = get_args(kind)
    if wanted[-1] is ...:
        wanted = wanted[:1] * len(values)
    return [type(value) for value in values] == list(wanted)
