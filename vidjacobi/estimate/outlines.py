"""A model's name to its outline."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.loading import is_shipped, locate, resolve
from vidjacobi.models.outline import Outline
from vidjacobi.registry import suggest

# name -> "module:function", called with the name and a dtype; imported only when asked for
OUTLINES = {
    **dict.fromkeys(("4b", "5b", "12b", "13b"), "cosmos_adapter.outline:released"),
    **dict.fromkeys(("nano", "micro"), "cosmos_adapter.outline:shipped"),
}
# by repository: what is known without its files
PUBLISHED = "cosmos_adapter.outline:published"
# any other name: a folder with a checkpoint
FOLDERS = "cosmos_adapter.outline:folder"
# a checkpoint and a tokenizer, wherever they lie
PAIRS = "cosmos_adapter.outline:in_folder"


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
        if found := _published(name, dtype):
            return found
        raise InvalidArgument(
            f"unknown model {name!r}{suggest(lower, OUTLINES)}. Name {', '.join(OUTLINES)}, a released "
            "repository, or a folder with a checkpoint (nothing is fetched here)"
        )
    return _made_by(FOLDERS)(name, dtype)


def outline_to_load(name: str, tokenizer: str | Path | None, dtype: torch.dtype) -> Outline:
    """The outline of what ``vidjacobi.load`` would load. Fetches a repository, unless it is a known release.

    Raises InvalidArgument, BadCheckpoint.
    """
    if is_shipped(name):
        return _made_by(OUTLINES[name])(name, dtype)
    if not Path(name).expanduser().exists() and (found := _published(name, dtype)):
        return found
    return resolve(PAIRS)(name, *locate(name, tokenizer), dtype)


def _published(name: str, dtype: torch.dtype) -> Outline | None:
    return cast(Callable[[str, torch.dtype], Outline | None], resolve(PUBLISHED))(name, dtype)


def _made_by(target: str) -> Callable[[str, torch.dtype], Outline]:
    return cast(Callable[[str, torch.dtype], Outline], resolve(target))
