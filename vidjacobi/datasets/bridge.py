"""Bridge as in the sample assets of Cosmos: annotation/SPLIT/ID.json and videos/SPLIT/ID/rgb.mp4.

The JSON file holds texts, actions, states and the path of the video; state.npy [T 8] is beside the video. The mp4
says 3 fps, which is not the rate of the robot (5 Hz), so the listing gives no rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vidjacobi.datasets.contract import (
    TROUBLE,
    Entry,
    Episode,
    Skipped,
    check_split,
    entry_or_reason,
    episode_id,
    reason_of,
)
from vidjacobi.datasets.frame_sources import File, trouble_with
from vidjacobi.datasets.recorded_actions import RecordedActions
from vidjacobi.datasets.side_files import path_below, read_json
from vidjacobi.errors import BadInput, number_of
from vidjacobi.registry import check_whole

LOOKS_FOR = "annotation/SPLIT/*.json and videos/ (Bridge as Cosmos has it)"


def open_bridge(root: Path, split: str | None = None, camera: int | str | None = None) -> Iterator[Entry]:
    """The episodes, split by split, each in the order of their ids.

    Args:
        split: train, val, test, ...; None for all of them.
        camera: index of one of the annotation's videos, from 0, as a number or as text. It is needed where there are
            several.

    Raises BadInput where the folder has another layout, InvalidArgument for a split that it does not have.
    """
    if not recognises(root):
        raise BadInput(f"{root}: not Bridge: {LOOKS_FOR} are needed")
    # Options of the command line arrive as text.
    if isinstance(camera, str) and camera.isdecimal():
        camera = int(camera)
    if camera is not None:
        check_whole("bridge", "camera", camera, 0)
    splits = sorted(path.name for path in (root / "annotation").iterdir() if path.is_dir())
    check_split(split, splits, root)
    return _entries(root, [split] if split else splits, None if camera is None else int(camera))


def recognises(root: Path) -> bool:
    """Whether ``root`` has this layout, judged by the names in it."""
    return (root / "videos").is_dir() and any(root.glob("annotation/*/*.json"))


def _entries(root: Path, splits: list[str], camera: int | None) -> Iterator[Entry]:
    for split in splits:
        for path in sorted((root / "annotation" / split).glob("*.json"), key=_by_number):
            made = episode_id(split, path.stem)
            where = f"{path}: not an annotation of Bridge"
            yield entry_or_reason(made, where, partial(_episode, root, path, made, split, camera))


def _by_number(path: Path) -> tuple[int, str]:
    # 2 before 10; names that are no number come first
    return (int(path.stem) if path.stem.isdecimal() else -1, path.stem)


def _episode(root: Path, path: Path, made: str, split: str, camera: int | None) -> Entry:
    note = read_json(path)
    videos = [str(video["video_path"]) for video in note["videos"]]
    if camera is None and len(videos) > 1:
        return Skipped(made, f"{path}: {len(videos)} cameras ({', '.join(videos)}); choose one with camera=0")
    if (camera or 0) >= len(videos):
        return Skipped(made, f"{path}: no camera {camera or 0}: it has {number_of(len(videos), 'video')}")
    video = path_below(root, videos[camera or 0])
    trouble = trouble_with(video)
    if trouble:
        return Skipped(made, trouble)
    facts: dict[str, object] = {"split": split, "annotation": str(path)}
    texts = note.get("texts") or []
    if texts:
        facts["text"] = str(texts[0])
    state = video.with_name("state.npy")
    if state.is_file():
        facts["state"] = str(state)
    actions = AnnotatedActions(path) if note.get("action") else None
    return Episode(made, File(video), None, str(video), facts, actions)


@dataclass(frozen=True)
class AnnotatedActions:
    """The actions of an annotation, one fewer than frames; see ``recorded_actions.ActionSource``. No rate is told."""

    path: Path

    @property
    def recording(self) -> str:
        """See ActionSource."""
        return str(self.path)

    def read(self) -> RecordedActions:
        """See ActionSource."""
        try:
            rows = read_json(self.path)["action"]
            if not isinstance(rows, list):
                raise ValueError(f"action is a {type(rows).__name__}")
        except TROUBLE as error:
            raise BadInput(f"{self.path}: no actions can be read: {reason_of(error)}") from error
        return RecordedActions(rows, None, by_number=True)
