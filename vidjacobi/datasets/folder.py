"""Videos and folders of frames in a folder and everything below it, matching a pattern, or in a single file."""

import os
from collections.abc import Iterator
from glob import has_magic, iglob
from pathlib import Path

from vidjacobi.datasets.contract import Entry, Episode, Skipped, episode_id
from vidjacobi.datasets.frame_sources import VIDEO_SUFFIXES, File, trouble_with
from vidjacobi.errors import BadInput
from vidjacobi.video.probe import IMAGE_SUFFIXES

LOOKS_FOR = "videos (*.mp4 ...) or folders of images, at any depth; or a pattern that matches some"


def open_folder(root: Path) -> Iterator[Entry]:
    """The files with endings of videos and the folders that hold images, in the order of their paths.

    A single file is taken whatever its ending is. Ids are the paths below the folder, or below the fixed part of the
    pattern, without their endings. Raises BadInput where there is none.
    """
    # The first place is looked for now, so that a folder without any is an error before the first entry.
    found = _places(root)
    first = next(found, None)
    if first is None:
        raise BadInput(f"{root}: neither {LOOKS_FOR}")
    base = _base(root)
    return _entries([first], found, base)


def recognises(root: Path) -> bool:
    """Whether ``root`` is, holds or matches a video or a folder of images."""
    return next(_places(root), None) is not None


def _places(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    elif root.exists():
        yield from _search(root)
    elif has_magic(str(root)):
        for match in sorted(iglob(str(root), recursive=True)):
            path = Path(match)
            if path.is_dir():
                # a folder that matches is a clip only if the images are directly in it
                yield from [path] if _holds_images(os.listdir(path)) else []
            elif path.suffix.lower() in VIDEO_SUFFIXES:
                yield path


def _search(root: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for folder, below, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        below[:] = sorted(name for name in below if not name.startswith("."))
        if (status.st_dev, status.st_ino) in seen:  # a link back to a folder that was searched
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        visible = sorted(name for name in files if not name.startswith("."))
        if _holds_images(visible):
            yield Path(folder)
        for name in visible:
            if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                yield Path(folder, name)


def _holds_images(names: list[str]) -> bool:
    endings = (os.path.splitext(name)[1].lower() for name in names if not name.startswith("."))
    return any(ending in IMAGE_SUFFIXES for ending in endings)


def _base(root: Path) -> Path:
    # "runs/2024*/clips/*.mp4" has the fixed part "runs"; of a single file it is the folder of the file.
    if root.is_dir():
        return root
    fixed = root
    while has_magic(str(fixed)) or not fixed.is_dir():
        fixed = fixed.parent
    return fixed


def _entries(first: list[Path], others: Iterator[Path], base: Path) -> Iterator[Entry]:
    for places in (first, others):
        for place in places:
            is_folder = place.is_dir()
            path = place if is_folder else place.with_name(place.stem or place.name)
            below = path.relative_to(base).parts or (path.name,)
            trouble = None if is_folder else trouble_with(place)
            made = episode_id(*below)
            yield Skipped(made, trouble) if trouble else Episode(made, File(place), None, str(place))
