"""From a path to episodes: which layout a folder is of, and opening it with checked options."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidjacobi.datasets import realestate10k
from vidjacobi.datasets.contract import Entry, distinct
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.registry import lookup, suggest


@dataclass(frozen=True)
class Dataset:
    """An entry of DATASETS.

    open: (root, **options) -> entries; raises BadInput before the first one where the layout is another.
    recognises: whether a path is of this layout, by its content.
    looks_for: what ``recognises`` looks for, as messages say it.
    """

    open: Callable[..., Iterator[Entry]]
    recognises: Callable[[Path], bool]
    looks_for: str


DATASETS: dict[str, Dataset] = {
    "realestate10k": Dataset(
        realestate10k.open_realestate10k, realestate10k.recognises, realestate10k.LOOKS_FOR
    ),
}


def open_dataset(path: str | Path, layout: str = "auto", **options: object) -> Iterator[Entry]:
    """The entries of the dataset at ``path``: usable episodes, and what is skipped, with distinct ids.

    ``layout`` is a name in DATASETS, or auto. Options are those of its opener. Raises BadInput where
    nothing is there or the layout is another, InvalidArgument for unknown names and options.
    """
    root = Path(os.path.abspath(path))
    name = detect(root) if layout == "auto" else layout
    dataset = lookup("dataset", name, DATASETS)
    _check_exists(root)
    known = options_of(dataset)
    for option in options:
        if option not in known:
            raise InvalidArgument(
                f"{name} has no option {option!r}{suggest(option, known)}. There are: {', '.join(known)}"
            )
    return distinct(dataset.open(root, **options))


def detect(path: str | Path) -> str:
    """The name in DATASETS of the layout at ``path``, by content. Raises BadInput, naming what was missed."""
    root = Path(os.path.abspath(path))
    _check_exists(root)
    for name, dataset in DATASETS.items():
        if dataset.recognises(root):
            return name
    sought = "; ".join(f"{name}: {dataset.looks_for}" for name, dataset in DATASETS.items())
    raise BadInput(f"{root}: no known dataset. Looked for: {sought}")


def options_of(dataset: Dataset) -> Mapping[str, inspect.Parameter]:
    """The keyword options of an opener, with their defaults."""
    parameters = list(inspect.signature(dataset.open).parameters.items())
    return dict(parameters[1:])


def _check_exists(root: Path) -> None:
    if not root.exists():
        raise BadInput(f"{root}: no such file or folder")
