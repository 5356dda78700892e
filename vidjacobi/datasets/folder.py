"""Videos and folders of frames in a folder and everything below it, matching a pattern, or in a single file."""

import os
from collections.abc import Iterator
from glob import escape, has_magic, iglob
from pathlib import Path

from vidjacobi.datasets.action_lines import SUFFIX, lines_beside
from vidjacobi.datasets.contract import Entry, Episode, Skipped, episode_id
from vidjacobi.datasets.frame_sources import File, trouble_with
from vidjacobi.errors import BadInput
from vidjacobi.video.probe import counted, is_image_name, is_video_name

LOOKS_FOR = "videos (*.mp4 ...) or folders of images, at any depth; or a pattern that matches some"


def open_folder(root: Path) -> Iterator[Entry]:
    """The files with endings of videos and the folders that hold images, in the order of their paths.

    A single file is taken whatever its ending is. Ids are the paths below the folder, or below the fixed part of the
    pattern, without their endings. A folder below that cannot be listed is Skipped. Raises BadInput where there is no
    clip.
    """
    # The first clip is looked for now, so that a folder without any is an error before the first entry.
    found, first = _places(root), []
    for place in found:
        first.append(place)
        if isinstance(place, Path):
            return _entries(first, found, _base(root))
    unlisted = "".join(f"; {place.reason}" for place in first[:1] if isinstance(place, Skipped))
    raise BadInput(f"{root}: neither {LOOKS_FOR}{unlisted}")


def recognises(root: Path) -> bool:
    """Whether ``root`` is, holds or matches a video or a folder of images."""
    return any(isinstance(place, Path) for place in _places(root))


def no_clips(root: Path) -> str | None:
    """Counts and names the files below ``root``, or that match it, which are no clip, frame or actions of one."""
    if root.is_dir():
        files = [folder / name for folder, names in _folders(root, []) for name in names]
        others = [file for file in files if not (is_video_name(file.name) or is_image_name(file.name))]
    elif root.exists() or not has_magic(str(root)):
        return None
    else:
        matches = map(Path, sorted(iglob(str(root), recursive=True)))
        others = [path for path in matches if not path.is_dir() and not is_video_name(path.name)]
    base = _base(root)
    others = [path for path in others if not _are_actions(path)]
    return counted([str(path.relative_to(base)) for path in others]) if others else None


def _are_actions(path: Path) -> bool:
    """Whether a file is what ``lines_beside`` of a clip finds."""
    if path.suffix != SUFFIX:
        return False
    clip = path.with_suffix("")
    return clip.is_dir() or any(
        is_video_name(beside.name) for beside in path.parent.glob(f"{escape(clip.name)}.*")
    )


def _places(root: Path) -> Iterator[Path | Skipped]:
    if root.is_file():
        yield root
    elif root.exists():
        yield from _search(root)
    elif has_magic(str(root)):
        for path in map(Path, sorted(iglob(str(root), recursive=True))):
            try:
                yield from [path] if _is_clip(path) else []
            except OSError as error:
                yield _unlisted(path, error, _base(root))


def _is_clip(path: Path) -> bool:
    # a folder that matches a pattern is a clip only if the images are directly in it
    return any(map(is_image_name, os.listdir(path))) if path.is_dir() else is_video_name(path.name)


def _search(root: Path) -> Iterator[Path | Skipped]:
    unlisted: list[OSError] = []
    for folder, names in _folders(root, unlisted):
        if any(map(is_image_name, names)):
            yield folder
        yield from (folder / name for name in names if is_video_name(name))
    yield from (_unlisted(Path(error.filename or root), error, root) for error in unlisted)


def _unlisted(folder: Path, error: OSError, base: Path) -> Skipped:
    made = episode_id(*folder.relative_to(base).parts or (folder.name,))
    return Skipped(made, f"{folder}: this folder cannot be listed: {error.strerror or error}")


def _folders(root: Path, unlisted: list[OSError]) -> Iterator[tuple[Path, list[str]]]:
    """All folders from ``root`` down with the names of their files, hidden ones left out, both sorted.

    Links are followed, each folder is visited once; errors are added to ``unlisted``.
    """
    seen: set[tuple[int, int]] = set()
    for folder, below, files in os.walk(root, onerror=unlisted.append, followlinks=True):
        status = os.stat(folder)
        below[:] = sorted(name for name in below if not name.startswith("."))
        if (status.st_dev, status.st_ino) in seen:  # a link back to a folder that was searched
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield Path(folder), sorted(name for name in files if not name.startswith("."))


def _base(root: Path) -> Path:
    # "runs/2024*/clips/*.mp4" has the fixed part "runs"; of a single file it is the folder of the file.
    if root.is_dir():
        return root
    fixed = root
    while has_magic(str(fixed)) or not fixed.is_dir():
        fixed = fixed.parent
    return fixed


def _entries(first: list[Path | Skipped], others: Iterator[Path | Skipped], base: Path) -> Iterator[Entry]:
    for places in (first, others):
        for place in places:
            yield place if isinstance(place, Skipped) else _entry(place, base)


def _entry(place: Path, base: Path) -> Entry:
    below = place.relative_to(base).parts or (place.name,)
    actions = lines_beside(place)
    if place.is_dir():
        return Episode(episode_id(*below), File(place), None, str(place), actions=actions)
    made = episode_id(*below[:-1], Path(below[-1]).stem)
    trouble = trouble_with(place)
    return (
        Skipped(made, trouble) if trouble else Episode(made, File(place), None, str(place), actions=actions)
    )
