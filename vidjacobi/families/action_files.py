"""Actions from a file: the rows of an array, of a column of a table, or of JSON lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.models.action_spec import numbers_of

FORMS = "name a .npy file, FILE.parquet:COLUMN, or a .jsonl file with an action on each line"
LINES = (".jsonl", ".ndjson")


def read_actions(source: str) -> list[Any]:
    """The rows of a file, in order: lists of numbers, or what each JSON line says.

    Args:
        source: ``FILE.npy`` (``[rows, numbers]``), ``FILE.parquet:COLUMN`` or ``FILE.jsonl``.

    Raises InvalidArgument for a name of another form, BadInput for a file that is not there or cannot be read.
    """
    name, colon, column = source.rpartition(":")
    path = Path(name if colon and name.lower().endswith(".parquet") else source).expanduser()
    ending = path.suffix.lower()
    if ending == ".parquet" and not (colon and column):
        raise InvalidArgument(f"--actions {source} names no column: write {source.rstrip(':')}:COLUMN")
    if ending not in (".npy", ".parquet", *LINES):
        raise InvalidArgument(f"--actions {source}: {FORMS}")
    if not path.is_file():
        raise BadInput(f"--actions: there is no file {path}")
    if ending == ".npy":
        rows = _of_array(path)
    else:
        rows = _of_column(path, column) if ending == ".parquet" else _of_lines(path)
    if not rows:
        raise BadInput(f"--actions: {path} has no rows")
    return rows


def matrix_of(rows: Sequence[object], width: int, first: int = 0) -> Float[Tensor, "f a"]:
    """Rows of ``width`` finite numbers; ``first``: the number of the first, for messages. Raises InvalidArgument."""
    found = [numbers_of(row, width, f"action {first + index}") for index, row in enumerate(rows)]
    return torch.tensor(found, dtype=torch.float32).view(len(found), width)


def between(rows: Sequence[Any], first: int, count: int, source: str) -> Sequence[Any]:
    """``count`` rows from ``first`` on. Raises InvalidArgument where there are fewer."""
    if first + count > len(rows):
        raise InvalidArgument(
            f"--actions: {source} has {number_of(len(rows), 'row')}, and rows {first} to {first + count - 1} are "
            "wanted (row i leads from frame i of the clip to frame i + 1): give more, or predict fewer frames"
        )
    return rows[first : first + count]


def _of_array(path: Path) -> list[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"--actions: {path} is no array of numbers ({str(error).splitlines()[0]})") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise BadInput(f"--actions: {path} must hold numbers [rows, numbers], not {_shape_of(array)}")
    return array.reshape(len(array), -1).tolist() if array.size else []


def _shape_of(array: Any) -> str:
    return f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "several arrays"


def _of_column(path: Path, column: str) -> list[Any]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidArgument("--actions: parquet files need pyarrow: pip install pyarrow") from error
    try:
        names = pq.read_schema(path).names
        if column not in names:
            raise InvalidArgument(f"--actions: {path} has no column {column!r}. It has: {', '.join(names)}")
        return pq.read_table(path, columns=[column])[column].to_pylist()
    except InvalidArgument:
        raise
    except Exception as error:  # pyarrow raises nearly anything for damaged bytes
        raise BadInput(f"--actions: {path} cannot be read as parquet ({error})") from error


def _of_lines(path: Path) -> list[Any]:
    from vidjacobi.datasets.side_files import json_lines

    rows = []
    for number, value in json_lines(path):
        if isinstance(value, ValueError):
            raise BadInput(f"--actions: {path}, line {number}: {value}")
        rows.append(value)
    return rows
