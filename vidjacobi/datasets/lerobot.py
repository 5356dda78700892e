"""LeRobot datasets v2.0, v2.1 and v3.0, read with pyarrow and our own video reader.

In v2, meta/episodes.jsonl lists the episodes, and each has a video of its own for every camera. In v3.0,
meta/episodes/**.parquet lists them, and a video holds several episodes, which are told apart by from_timestamp. In
both, meta/info.json has the templates of the paths, pictures may be in or beside the data files instead of videos,
and the rows of the data say by their timestamps which frames of the video are the episode's. Source:
huggingface/lerobot, docs/source/lerobot-dataset-v3.mdx, and datasets written by it.

With the template "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" and the camera
observation.images.top, the frames of a v3.0 episode may be in videos/observation.images.top/chunk-000/file-002.mp4,
from second 12.4 on.
"""

from collections.abc import Iterator
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
)
from vidjacobi.datasets.frame_sources import trouble_with
from vidjacobi.datasets.lerobot_actions import LeRobotActions
from vidjacobi.datasets.lerobot_frames import DataRows, InParquet, InVideo
from vidjacobi.datasets.lerobot_meta import (
    Meta,
    Row,
    choose_camera,
    episodes,
    read_meta,
    read_tasks,
    rows_v2,
    rows_v3,
    split_range,
)
from vidjacobi.datasets.side_files import read_json, whole
from vidjacobi.errors import BadInput

LOOKS_FOR = "meta/info.json with codebase_version v2.0, v2.1 or v3.0 (LeRobot)"


def open_lerobot(root: Path, camera: str | None = None, split: str | None = None) -> Iterator[Entry]:
    """The episodes in the order of their numbers.

    Args:
        camera: key of the camera ("observation.images.top") or its last part ("top"). It is needed where there are
            several.
        split: name of a range in info.json; None for all episodes.

    Raises BadInput where the folder has another layout or version, InvalidArgument for a camera or split that it does
    not have.
    """
    meta = read_meta(root)
    chosen = choose_camera(meta, camera)
    check_split(split, meta.splits, root)
    numbers = split_range(meta, split) if split else None
    _check_pyarrow(root)
    rows = rows_v3(meta, chosen) if meta.version == "v3.0" else rows_v2(meta)
    return _entries(meta, chosen, numbers, rows)


def recognises(root: Path) -> bool:
    """Whether ``root`` has a meta/info.json with a codebase_version."""
    try:
        return "codebase_version" in read_json(root / "meta" / "info.json")
    except TROUBLE:
        return False


def _check_pyarrow(root: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise BadInput(f"{root}: reading it needs pyarrow: pip install pyarrow") from error


def _entries(
    meta: Meta, camera: str, numbers: range | None, rows: Iterator[Row | Skipped]
) -> Iterator[Entry]:
    texts = TaskTexts(meta.root)
    for found in episodes(rows):
        if isinstance(found, Skipped):
            yield found
            continue
        number, row = found
        if numbers is None or number in numbers:
            made = episode_id(f"episode_{number:06d}")
            where = f"{meta.root}: what meta/ says about this episode cannot be used"
            yield entry_or_reason(made, where, partial(_entry, meta, camera, number, row, made, texts))


class TaskTexts:
    """The texts of tasks; the file that numbers them is read once, when a number is first met."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[int, str] | BadInput | None = None

    def of(self, tasks: object) -> str | None:
        """The texts of a list of texts or numbers; None for an empty one. Raises BadInput and ValueError."""
        if not isinstance(tasks, list):
            raise ValueError(f"tasks must be a list, not {tasks!r:.80}")
        texts = [task if isinstance(task, str) else self._by_number(whole(task, "a task")) for task in tasks]
        return "; ".join(texts) or None

    def _by_number(self, number: int) -> str:
        if self._names is None:
            try:
                self._names = read_tasks(self._root)
            except BadInput as error:
                self._names = error
        if isinstance(self._names, BadInput):
            raise self._names
        if number not in self._names:
            raise ValueError(f"task {number} is not in meta/tasks")
        return self._names[number]


def _entry(meta: Meta, camera: str, number: int, row: Row, made: str, texts: TaskTexts) -> Entry:
    length = whole(row["length"], "length")
    if not length:
        raise ValueError("its length is 0")
    fields = _data_fields(meta, number, row)
    data = meta.data_file(fields)
    rows = DataRows(data, number, length)
    if meta.cameras[camera] == "image":
        frames: InParquet | InVideo = InParquet(rows, meta.root, camera, meta.fps)
    elif meta.version == "v3.0":
        column = f"videos/{camera}/"
        fields = {key: whole(row[column + key], column + key) for key in ("chunk_index", "file_index")}
        since = _seconds(row[f"{column}from_timestamp"], "from_timestamp")
        until = row.get(f"{column}to_timestamp")
        until = until if until is None else _seconds(until, "to_timestamp")
        video = meta.video_file({**fields, "video_key": camera})
        frames = InVideo(video, rows, since, until, meta.fps)
    else:
        frames = InVideo(meta.video_file({**fields, "video_key": camera}), rows, 0.0, None, meta.fps)
    source = frames.path if isinstance(frames, InVideo) else data
    for path in (source, data):
        if trouble := trouble_with(path):
            return Skipped(made, trouble)
    facts: dict[str, object] = {"episode": number, "camera": camera, "data": str(data)}
    if text := texts.of(row.get("tasks") or []):
        facts["text"] = text
    actions = LeRobotActions(rows, meta.fps) if meta.acts else None
    return Episode(made, frames, meta.fps, str(source), facts, actions)


def _data_fields(meta: Meta, number: int, row: Row) -> dict[str, int]:
    if meta.version != "v3.0":
        return {"episode_chunk": number // meta.chunks_size, "episode_index": number}
    return {key: whole(row[f"data/{key}"], f"data/{key}") for key in ("chunk_index", "file_index")}


def _seconds(value: object, what: str) -> float:
    if not isinstance(value, float) or not 0 <= value < 1e9:
        raise ValueError(f"{what} must be seconds from 0 on, not {value!r:.80}")
    return value
