"""From a path to episodes: which layout the path has, and how it is opened with checked options."""

import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from vidjacobi.datasets import bridge, folder, jsonl, lerobot, realestate10k, webdataset
from vidjacobi.datasets.clip_list import choose, cut, read_clip_list
from vidjacobi.datasets.contract import TROUBLE, Entry, distinct, reason_of, to_the_end
from vidjacobi.errors import BadInput, InvalidArgument, VidjacobiError
from vidjacobi.registry import check_whole, lookup, suggest


@dataclass(frozen=True)
class Dataset:
    """An entry of DATASETS.

    Attributes:
        open: (root, **options) -> entries. It raises BadInput before the first entry where the layout is another.
        recognises: whether a path has this layout, judged by its content.
        looks_for: what ``recognises`` looks for, in the words of messages.
        leaves_out: counts and names what lies there and becomes no entry, such as files with unknown endings.
    """

    open: Callable[..., Iterator[Entry]]
    recognises: Callable[[Path], bool]
    looks_for: str
    leaves_out: Callable[[Path], str | None] = lambda root: None


# In the order in which ``detect`` tries them. Nearly every dataset is also a folder with videos, so "folder" is last.
DATASETS: dict[str, Dataset] = {
    "realestate10k": Dataset(
        realestate10k.open_realestate10k, realestate10k.recognises, realestate10k.LOOKS_FOR
    ),
    "lerobot": Dataset(lerobot.open_lerobot, lerobot.recognises, lerobot.LOOKS_FOR),
    "bridge": Dataset(bridge.open_bridge, bridge.recognises, bridge.LOOKS_FOR),
    "jsonl": Dataset(jsonl.open_jsonl, jsonl.recognises, jsonl.LOOKS_FOR),
    "webdataset": Dataset(
        webdataset.open_webdataset, webdataset.recognises, webdataset.LOOKS_FOR, webdataset.no_clips
    ),
    "folder": Dataset(folder.open_folder, folder.recognises, folder.LOOKS_FOR, folder.no_clips),
}
COMMON = ("clips", "start", "stride")  # options that every layout takes


def open_dataset(
    path: str | Path,
    layout: str = "auto",
    clips: str | Path | None = None,
    start: int = 0,
    stride: int = 1,
    **options: object,
) -> Iterator[Entry]:
    """The entries of the dataset at ``path``: episodes, and entries that are skipped, all with different ids.

    Args:
        path: a folder, a file, or a pattern such as "videos/*.mp4".
        layout: a name in DATASETS, or auto.
        clips: a clip list, see ``clip_list``. Its start frames and strides replace the next two arguments.
        start: first frame of every episode.
        stride: take only every stride-th frame.
        options: options of this layout; see ``options_of``.

    Raises BadInput where nothing is there or the layout is another, InvalidArgument for unknown names and options.
    Nothing is listed before the first entry is asked for, unless there is a clip list. After that nothing is raised:
    whatever is wrong with an entry, it is Skipped with the reason.
    """
    root = root_of(path)
    name = detect(root) if layout == "auto" else layout
    dataset = lookup("dataset", name, DATASETS)
    _check_exists(root)
    check_whole(name, "start", start, 0)
    check_whole(name, "stride", stride, 1)
    known = options_of(dataset)
    for option in options:
        if option not in known:
            raise InvalidArgument(
                f"{name} has no option {option!r}{suggest(option, known)}. There are: {', '.join(known)}"
            )
    wanted = None if clips is None else read_clip_list(clips)
    try:
        listed = dataset.open(root, **options)
    except VidjacobiError:
        raise
    except TROUBLE as error:
        raise BadInput(f"{root}: cannot be listed: {reason_of(error)}") from error
    entries = distinct(to_the_end(listed, root))
    if wanted is None:
        return (cut(entry, start, stride) for entry in entries)
    return choose(entries, wanted, start, stride)


def detect(path: str | Path) -> str:
    """The name in DATASETS of the layout at ``path``. Raises BadInput, which says what each layout looks for."""
    root = root_of(path)
    _check_exists(root)
    for name, dataset in DATASETS.items():
        try:
            if dataset.recognises(root):
                return name
        except TROUBLE as error:
            raise BadInput(f"{root}: cannot be listed: {reason_of(error)}") from error
    sought = "".join(f"\n  {name}: {dataset.looks_for}" for name, dataset in DATASETS.items())
    raise BadInput(f"{root}: no known dataset. Looked for:{sought}")


def left_out(path: str | Path, layout: str = "auto") -> str | None:
    """A line that counts and names what lies at ``path`` and becomes no entry, or None. Raises BadInput."""
    root = root_of(path)
    dataset = lookup("dataset", detect(root) if layout == "auto" else layout, DATASETS)
    others = dataset.leaves_out(root)
    return f"left out of {root}: {others}" if others else None


def root_of(path: str | Path) -> Path:
    """The absolute path of a dataset. Raises InvalidArgument for what is no path, and an empty one."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument(f"a dataset is a path, not {path!r:.80}")
    if not os.fspath(path):
        raise InvalidArgument("a dataset is named by an empty path; the working folder is '.'")
    return Path(os.path.abspath(path))


def options_of(dataset: Dataset) -> list[str]:
    """The names of the options that ``open_dataset`` takes for a layout."""
    # The parameters of the opening function after the first one, the root, are the options of the layout.
    return [*COMMON, *list(inspect.signature(dataset.open).parameters)[1:]]


def _check_exists(root: Path) -> None:
    try:
        there = root.exists()
    except (OSError, ValueError) as error:  # such as a name that is too long, or holds a NUL
        raise BadInput(f"{root}: {getattr(error, 'strerror', None) or error}") from error
    if not there and not has_magic(str(root)):
        raise BadInput(f"{root}: no such file or folder")
