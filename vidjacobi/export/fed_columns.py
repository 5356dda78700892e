"""The actions that futures were made with as a column of an exported set, in place of the recording's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vidjacobi.batch.fed_actions import FedActions, read_actions
from vidjacobi.batch.manifest import ManifestRow
from vidjacobi.errors import BadInput
from vidjacobi.export.source import Features, SourceRows

ACTION = "action"


def fed_features(out: Path, rows: Sequence[ManifestRow], source: Features) -> Features:
    """The feature of the actions fed; none where the batch was told nothing.

    It is the source's own where that has as many numbers a frame. Raises BadInput where futures differ in what they
    were told.
    """
    shapes = {None if fed is None else fed.names for fed in (fed_in(out, row) for row in rows)}
    if len(shapes) > 1:
        raise BadInput(
            f"{out}: its futures differ in the numbers of their actions: begin anew with --overwrite"
        )
    names = shapes.pop()
    if names is None:
        return {}
    own = source.get(ACTION)
    if own is not None and (own.get("dtype"), own.get("shape")) == ("float32", [len(names)]):
        return {ACTION: own}
    return {ACTION: {"dtype": "float32", "shape": [len(names)], "names": list(names)}}


def fed_in(out: Path, row: ManifestRow) -> FedActions | None:
    """What a finished future was told. Raises BadInput."""
    return read_actions(out / str(row.tokens))


def with_fed(told: SourceRows, fed: FedActions | None) -> SourceRows:
    """Rows of a future's frames with the actions fed; the last frame, behind which is none, has the last again."""
    if fed is None:
        return told
    import pyarrow as pa

    values: Float[np.ndarray, "T k"] = fed.values[np.minimum(np.arange(len(told.tasks)), len(fed.values) - 1)]
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])
    return replace(told, columns={**told.columns, ACTION: column})
