"""Cosmos' batch lists: a file with a JSON object on every line, whose "visual_input" is the path of a video.

"actions" may name a file of JSON lines beside it, with an action for each frame.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeGuard

from vidjacobi.datasets.action_lines import SUFFIX, ActionLines
from vidjacobi.datasets.contract import Entry, Episode, Skipped, entry_or_reason, episode_id
from vidjacobi.datasets.frame_sources import File, trouble_with
from vidjacobi.datasets.side_files import json_lines
from vidjacobi.errors import BadInput

KEY = "visual_input"
LOOKS_FOR = f'a file of lines like {{"{KEY}": "clip.mp4"}} (Cosmos batch list)'


def open_jsonl(root: Path, base: str | Path | None = None) -> Iterator[Entry]:
    """The videos in the order of the list. "id" names an episode; other values of the line become metadata.

    Args:
        base: the folder that paths start from. For None this is the folder of the list or, where a path does not
        exist
            there, the working folder, for which Cosmos' lists are written.

    Raises BadInput where the file is no such list.
    """
    if not recognises(root):
        raise BadInput(f"{root}: not {LOOKS_FOR}")
    bases = [root.parent, Path.cwd()] if base is None else [Path(base).absolute()]
    return _entries(root, bases)


def recognises(root: Path) -> bool:
    """Whether one of the first lines is an object with the key."""
    if not root.is_file() or root.suffix.lower() not in (".jsonl", ".json", ".ndjson", ".txt"):
        return False
    # A few lines are enough, and a broken first line does not hide that it is such a list.
    return any(_is_clip(item) for _, item in islice(json_lines(root), 50))


def _is_clip(item: object) -> TypeGuard[dict[str, object]]:
    return isinstance(item, dict) and isinstance(item.get(KEY), str) and bool(item[KEY])


def _entries(root: Path, bases: list[Path]) -> Iterator[Entry]:
    for number, item in json_lines(root):
        made, where = f"line {number}", f"{root}, line {number}"
        if _is_clip(item):
            yield entry_or_reason(made, where, partial(_episode, item, bases))
        else:
            said = item if isinstance(item, ValueError) else f'no "{KEY}" with a path'
            yield Skipped(made, f"{where}: {said}")


def _episode(item: dict[str, object], bases: list[Path]) -> Entry:
    named = str(item[KEY])
    places = [base / named for base in bases]
    place = next((place for place in places if place.exists()), places[0])
    made = episode_id(str(item["id"])) if "id" in item else _id(place, bases[0])
    if not place.is_dir() and (trouble := trouble_with(place)):
        tried = f" (nor {places[1]})" if len(places) > 1 and not place.exists() else ""
        return Skipped(made, trouble + tried)
    facts = {key: value for key, value in item.items() if key not in (KEY, "id")}
    if "prompt" in facts:
        facts["text"] = facts.pop("prompt")  # the name that all datasets use for a caption
    return Episode(made, File(place), None, str(place), facts, _actions(item.get("actions"), bases))


def _actions(named: object, bases: list[Path]) -> ActionLines | None:
    if not isinstance(named, str) or not named.endswith(SUFFIX):
        return None
    places = [base / named for base in bases]
    return ActionLines(next((place for place in places if place.exists()), places[0]))


def _id(place: Path, base: Path) -> str:
    """The path below ``base`` without its ending or, of a file elsewhere, its last folder and name."""
    path = place.with_suffix("") if place.suffix and not place.is_dir() else place
    if path.is_relative_to(base) and ".." not in path.parts:
        return episode_id(*path.relative_to(base).parts)
    return episode_id(*path.parts[-2:])
