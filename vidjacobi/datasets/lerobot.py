"""LeRobot datasets v2.0, v2.1 and v3.0, read with pyarrow and our own video reader.

In v2, meta/episodes.jsonl lists the episodes, and each has a video of its own for every camera. In v3.0,
meta/episodes/**.parquet lists them, and a video holds several episodes, which are told apart by from_timestamp. In
both, meta/info.json has the templates of the paths, and pictures may be in the data files instead of videos. Source:
huggingface/lerobot, docs/source/lerobot-dataset-v3.mdx, and datasets written by it.

With the template "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" and the camera
observation.images.top, the frames of a v3.0 episode may be in videos/observation.images.top/chunk-000/file-002.mp4,
from second 12.4 on.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.datasets.contract import Entry, Episode, FrameSource, Skipped, check_split, episode_id
from vidjacobi.datasets.frame_sources import trouble_with
from vidjacobi.datasets.lerobot_frames import AtTime, InParquet, whole_video
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.registry import suggest

LOOKS_FOR = "meta/info.json with codebase_version v2.0, v2.1 or v3.0 (LeRobot)"
VERSIONS = ("v2.0", "v2.1", "v3.0")
Row = dict[str, Any]


@dataclass(frozen=True)
class Meta:
    """What meta/info.json says, as far as it is needed here.

    Attributes:
        root: the folder of the dataset.
        version: one of VERSIONS.
        fps: frames per second of all episodes.
        cameras: key of each camera -> dtype, "video" or "image".
        splits: name -> range of episode numbers, such as "0:50".
        chunks_size: episodes in each folder of v2.
        data_path, video_path: templates of paths.
    """

    root: Path
    version: str
    fps: float
    cameras: dict[str, str]
    splits: dict[str, str]
    chunks_size: int
    data_path: str
    video_path: str


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
    numbers = _range(meta.splits[split], root) if split else None
    # Plain v2 with videos needs JSON only.
    if meta.version == "v3.0" or meta.cameras[chosen] == "image":
        _check_pyarrow(root)
    rows = _rows_v3(meta, chosen) if meta.version == "v3.0" else _rows_v2(meta)
    return _entries(meta, chosen, numbers, rows)


def recognises(root: Path) -> bool:
    """Whether ``root`` has a meta/info.json with a codebase_version."""
    try:
        return "codebase_version" in json.loads((root / "meta" / "info.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def read_meta(root: Path) -> Meta:
    """Parse meta/info.json. Raises BadInput, also for a version that is not read."""
    path = root / "meta" / "info.json"
    trouble = trouble_with(path)
    if trouble:
        raise BadInput(f"not a LeRobot dataset: {trouble}")
    try:
        info = json.loads(path.read_text("utf-8"))
        version = str(info["codebase_version"])
        if version not in VERSIONS:
            raise BadInput(
                f"{path}: version {version} is not read ({', '.join(VERSIONS)} are); convert it with lerobot"
            )
        features = {key: str(feature["dtype"]) for key, feature in info["features"].items()}
        cameras = {key: dtype for key, dtype in features.items() if dtype in ("video", "image")}
        fps = float(info["fps"])
        if not 0 < fps < 10_000:
            raise ValueError(f"fps {fps}")
        return Meta(
            root,
            version,
            fps,
            cameras,
            {str(key): str(value) for key, value in (info.get("splits") or {}).items()},
            int(info.get("chunks_size") or 1000),
            str(info["data_path"]),
            str(info.get("video_path") or ""),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path}: not LeRobot's info.json: {error!r}") from error


def choose_camera(meta: Meta, camera: str | None) -> str:
    """The key of the camera that is asked for, or of the only one. Raises InvalidArgument, which lists them all."""
    there = ", ".join(meta.cameras)
    if not meta.cameras:
        raise BadInput(f"{meta.root}: this dataset has no camera (no feature of type video or image)")
    if camera is None:
        if len(meta.cameras) > 1:
            raise InvalidArgument(f"{meta.root}: several cameras, choose one with camera=: {there}")
        return next(iter(meta.cameras))
    matches = [key for key in meta.cameras if key == camera or key.rsplit(".", 1)[-1] == camera]
    if camera in meta.cameras:
        return camera
    if len(matches) != 1:
        near = suggest(camera, list(meta.cameras))
        raise InvalidArgument(f"{meta.root}: no camera {camera!r}{near}. There are: {there}")
    return matches[0]


def _range(text: str, root: Path) -> range:
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal()):
        raise BadInput(f"{root}: meta/info.json: the split {text!r} is no range like 0:50")
    return range(int(first), int(last))


def _check_pyarrow(root: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise BadInput(f"{root}: reading it needs pyarrow: pip install pyarrow") from error


def _rows_v2(meta: Meta) -> Iterator[Row | Skipped]:
    path = meta.root / "meta" / "episodes.jsonl"
    trouble = trouble_with(path)
    if trouble:
        raise BadInput(trouble)
    return _lines(path)


def _lines(path: Path) -> Iterator[Row | Skipped]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("episode_index"), int):
                    raise ValueError("no episode_index")
                yield row
            except ValueError as error:
                yield Skipped(f"{path.name} line {number}", f"{path}, line {number}: {error}")


def _rows_v3(meta: Meta, camera: str) -> Iterator[Row | Skipped]:
    files = sorted((meta.root / "meta" / "episodes").rglob("*.parquet"))
    if not files:
        raise BadInput(f"{meta.root}: no parquet file below meta/episodes; the download is not complete")
    columns = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index"]
    if meta.cameras[camera] == "video":
        # Columns are named "videos/observation.images.top/chunk_index" and so on.
        place = ("chunk_index", "file_index", "from_timestamp")
        columns += [f"videos/{camera}/{column}" for column in place]
    return _tables(files, columns)


def _tables(files: list[Path], columns: list[str]) -> Iterator[Row | Skipped]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            trouble = trouble_with(path)
            if trouble:
                raise ValueError(trouble)
            with pq.ParquetFile(path) as table:
                missing = [column for column in columns if column not in table.schema_arrow.names]
                if missing:
                    raise ValueError(f"{path}: lacks the columns {', '.join(missing)}")
                # Read in parts, so that the first episodes of a large dataset are listed at once.
                for batch in table.iter_batches(batch_size=1000, columns=columns):
                    yield from batch.to_pylist()
        except (OSError, ValueError, pa.ArrowException) as error:
            yield Skipped(f"episodes of {path.parent.name}/{path.name}", f"{path}: {str(error)[:200]}")


def _entries(
    meta: Meta, camera: str, numbers: range | None, rows: Iterator[Row | Skipped]
) -> Iterator[Entry]:
    place = _frames_v3 if meta.version == "v3.0" else _frames_v2
    names: dict[int, str] | None = None
    for row in rows:
        if isinstance(row, Skipped):
            yield row
            continue
        if numbers is not None and row["episode_index"] not in numbers:
            continue
        made = episode_id(f"episode_{row['episode_index']:06d}")
        tasks = row.get("tasks") or []
        # Some datasets list the numbers of tasks instead of their texts, which are then read once.
        if names is None and any(isinstance(task, int) for task in tasks):
            names = read_tasks(meta.root)
        try:
            yield _entry(meta, camera, row, made, place, [(names or {}).get(t, t) for t in tasks])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            yield Skipped(made, f"{meta.root}: what meta/ says about this episode cannot be used: {error!r}")


def _entry(
    meta: Meta,
    camera: str,
    row: Row,
    made: str,
    place: Callable[[Meta, str, Row], tuple[Path, Path, FrameSource]],
    tasks: list[object],
) -> Entry:
    path, data, frames = place(meta, camera, row)
    trouble = trouble_with(path)
    if trouble:
        return Skipped(made, trouble)
    facts: dict[str, object] = {"episode": row["episode_index"], "camera": camera, "data": str(data)}
    if tasks:
        facts["text"] = "; ".join(map(str, tasks))
    return Episode(made, frames, meta.fps, str(path), facts)


# (path that must exist, data file, frames) of an episode, for each version
def _frames_v2(meta: Meta, camera: str, row: Row) -> tuple[Path, Path, FrameSource]:
    number = row["episode_index"]
    fields = {"episode_chunk": number // meta.chunks_size, "episode_index": number, "video_key": camera}
    data = meta.root / meta.data_path.format(**fields)
    if meta.cameras[camera] == "image":
        return data, data, InParquet(data, camera, number, meta.fps)
    video = meta.root / meta.video_path.format(**fields)
    return video, data, whole_video(video, int(row["length"]), meta.fps)


def _frames_v3(meta: Meta, camera: str, row: Row) -> tuple[Path, Path, FrameSource]:
    fields = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
    data = meta.root / meta.data_path.format(**fields)
    if meta.cameras[camera] == "image":
        return data, data, InParquet(data, camera, row["episode_index"], meta.fps)
    column = f"videos/{camera}/"
    fields = {"chunk_index": row[f"{column}chunk_index"], "file_index": row[f"{column}file_index"]}
    video = meta.root / meta.video_path.format(video_key=camera, **fields)
    since = float(row[f"{column}from_timestamp"])
    return video, data, AtTime(video, since, int(row["length"]), meta.fps)


def read_tasks(root: Path) -> dict[int, str]:
    """The texts of tasks by number, from meta/tasks.jsonl or meta/tasks.parquet."""
    lines, table = root / "meta" / "tasks.jsonl", root / "meta" / "tasks.parquet"
    if lines.is_file():
        rows = [json.loads(line) for line in lines.read_text("utf-8").splitlines() if line.strip()]
        return {int(row["task_index"]): str(row["task"]) for row in rows}
    if not table.is_file():
        return {}
    import pyarrow.parquet as pq

    names: dict[int, str] = {}
    # pandas wrote the table, whose index is the text: a column called "task" or "__index_level_0__".
    for row in pq.read_table(table).to_pylist():
        number = row.pop("task_index")
        names[int(number)] = str(row.get("task", next(iter(row.values()), "")))
    return names
