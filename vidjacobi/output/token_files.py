"""Tokens in .npy files: written whole or not at all, and read as what somebody else may have damaged."""

from pathlib import Path
from typing import Any

import numpy as np

from vidjacobi.errors import BadInput
from vidjacobi.output.atomic import replacing


def write_tokens(path: Path, tokens: Any) -> None:
    """Write an integer array as int32, whole or not at all. Raises BadOutput."""
    with replacing(path) as partial:
        np.save(partial, np.asarray(tokens, dtype=np.int32))


def read_tokens(path: Path, axes: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The tokens in a file, which has so many axes. Raises BadInput for a file that is missing, cut or of others."""
    try:
        found = np.load(path, allow_pickle=False)
        good = found.ndim == axes and found.dtype.kind in "iu" and (found.size == 0 or found.min() >= 0)
    except Exception as error:  # damaged bytes make numpy raise nearly anything
        raise BadInput(f"{path} is missing or damaged ({error!r:.200}): remove it") from error
    if not good:
        raise BadInput(f"{path} holds {found.dtype} {list(found.shape)}, and no tokens: remove it")
    return found.astype(np.int64)
