"""Records as the tensors that they hold, whatever their fields are called."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


def mapped(record: T, change: Callable[[Tensor], Tensor]) -> T:
    """The record with every tensor changed, those of the records in it too."""
    made: Any = record
    if isinstance(made, Tensor):
        return change(made)
    if not is_dataclass(made):
        return record
    return replace(made, **{part.name: mapped(getattr(made, part.name), change) for part in fields(made)})


def tensors(*records: Any) -> list[Tensor]:
    """All tensors of some records, in the order of their fields."""
    found: list[Tensor] = []
    for record in records:
        mapped(record, lambda tensor: (found.append(tensor), tensor)[1])
    return found
