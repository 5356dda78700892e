"""A model's name to its outline."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.loading import resolve
from vidjacobi.outline import Outline
from vidjacobi.registry import suggest

# name -> "module:function", called with the name and a dtype; imported only when asked for
OUTLINES = {
    **dict.fromkeys(("4b", "5b", "12b", "13b"), "cosmos_adapter.outline:released"),
    **dict.fromkeys(("nano", "micro"), "cosmos_adapter.outline:shipped"),
}
# any other name: a folder with a checkpoint
FOLDERS = "cosmos_adapter.outline:folder"


def outline(name: str, dtype: torch.dtype) -> Outline:
    """The outline of a named model or of the checkpoint in a folder.

    Raises:
        InvalidArgument: neither a name nor a folder.
        BadCheckpoint: a folder without usable weights.
    """
    lower = name.lower()
    if lower in OUTLINES and not Path(name).exists():
        return _made_by(OUTLINES[lower])(lower, dtype)
    if not Path(name).exists():
        raise InvalidArgument(
            f"unknown model {name!r}{suggest(lower, OUTLINES)}. Name {', '.join(OUTLINES)}, or a folder with a "
            "checkpoint (nothing is fetched here)"
        )
    return _made_by(FOLDERS)(name, dtype)


def _made_by(target: str) -> Callable[[str, torch.dtype], Outline]:
    return cast(Callable[[str, torch.dtype], Outline], resolve(target))
