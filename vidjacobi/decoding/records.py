"""Records as the tensors that they hold, whatever their fields are called."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def mapped(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The record with every tensor changed, those of the records in it too."""
    if isinstance(record, Tensor):
        return change(record)
    if not is_dataclass(record) or isinstance(record, type):
        return record
    return replace(
        record, **{part.name: mapped(getattr(record, part.name), change) for part in fields(record)}
    )


def tensors(*records: Any) -> list[Tensor]:
    """All tensors of some records, in the order of their fields."""
    found: list[Tensor] = []
    for record in records:
        if isinstance(record, Tensor):
            found.append(record)
        elif is_dataclass(record):
            found += tensors(*(getattr(record, part.name) for part in fields(record)))
    return found
