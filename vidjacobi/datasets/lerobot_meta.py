"""The folder ``meta`` of a LeRobot dataset: info.json, the list of episodes, and the texts of their tasks."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from vidjacobi.datasets.contract import TROUBLE, Skipped, reason_of
from vidjacobi.datasets.frame_sources import trouble_with
from vidjacobi.datasets.side_files import json_lines, path_below, read_json, whole
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.registry import suggest

VERSIONS = ("v2.0", "v2.1", "v3.0")
FIELDS_V2, FIELDS_V3 = ("episode_chunk", "episode_index"), ("chunk_index", "file_index")
Row = dict[str, Any]


@dataclass(frozen=True)
class Meta:
    """What meta/info.json says, as far as it is needed here.

    Attributes:
        root: the folder of the dataset.
        version: one of VERSIONS.
        fps: frames per second of all episodes.
        cameras: key of each camera -> dtype, "video" or "image"; depth maps left out.
        depth_maps: keys of the depth maps.
        splits: name -> range of episode numbers, such as "0:50".
        chunks_size: episodes in each folder of v2.
        data_path, video_path: templates of paths.
        acts: whether the rows have actions.
    """

    root: Path
    version: str
    fps: float
    cameras: dict[str, str]
    depth_maps: tuple[str, ...]
    splits: dict[str, str]
    chunks_size: int
    data_path: str
    video_path: str
    acts: bool = False

    def data_file(self, fields: Mapping[str, Any]) -> Path:
        """Where the rows are. Raises ValueError for a path outside ``root``."""
        return path_below(self.root, self.data_path.format(**fields))

    def video_file(self, fields: Mapping[str, Any]) -> Path:
        """Where the video is. Raises ValueError for a path outside ``root``."""
        return path_below(self.root, self.video_path.format(**fields))


def read_meta(root: Path) -> Meta:
    """Parse meta/info.json. Raises BadInput, also for a version that is not read."""
    path = root / "meta" / "info.json"
    trouble = trouble_with(path)
    if trouble:
        raise BadInput(f"not a LeRobot dataset: {trouble}")
    try:
        return _meta(root, read_json(path), path)
    except BadInput:
        raise
    except TROUBLE as error:
        raise BadInput(f"{path}: not LeRobot's info.json: {reason_of(error)}") from error


def _meta(root: Path, info: Row, path: Path) -> Meta:
    version = str(info["codebase_version"])
    if version not in VERSIONS:
        raise BadInput(
            f"{path}: version {version} is not read ({', '.join(VERSIONS)} are); convert it with lerobot"
        )
    cameras = {str(key): f for key, f in info["features"].items() if f["dtype"] in ("video", "image")}
    depth = tuple(key for key, feature in cameras.items() if _is_depth_map(feature))
    fps = float(info["fps"])
    if not 0 < fps < 10_000:
        raise ValueError(f"fps {fps}")
    chunks_size = whole(info.get("chunks_size") or 1000, "chunks_size")
    fields = FIELDS_V3 if version == "v3.0" else FIELDS_V2
    return Meta(
        root,
        version,
        fps,
        {key: feature["dtype"] for key, feature in cameras.items() if key not in depth},
        depth,
        {str(key): str(value) for key, value in (info.get("splits") or {}).items()},
        chunks_size,
        _template(info["data_path"], fields),
        _template(info.get("video_path") or "", (*fields, "video_key")),
        "action" in info["features"],
    )


def _is_depth_map(feature: Row) -> bool:
    facts = feature.get("info") or feature.get("video_info") or {}
    return bool(facts.get("video.is_depth_map") or facts.get("is_depth_map"))


def _template(text: object, fields: tuple[str, ...]) -> str:
    """A template of paths that can do no more than put known fields into a text. Raises ValueError."""
    # Templates can look into their fields ({video_key.__class__}) and ask for gigabytes ({file_index:9999999999d}).
    if not isinstance(text, str):
        raise ValueError(f"{text!r:.80} is no template of paths")
    for _, name, width, conversion in Formatter().parse(text):
        known = name is None or (name in fields and not conversion)
        if not known or not re.fullmatch("(0?[0-9]d)?", width or ""):
            raise ValueError(f"{text!r:.80} is no template of paths of {', '.join(fields)}")
    return text


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
        if any(camera in (key, key.rsplit(".", 1)[-1]) for key in meta.depth_maps):
            near = " (it is a depth map)"
        raise InvalidArgument(f"{meta.root}: no camera {camera!r}{near}. There are: {there}")
    return matches[0]


def split_range(meta: Meta, split: str) -> range:
    """The numbers of the episodes of a split. Raises BadInput."""
    text = meta.splits[split]
    first, _, last = text.partition(":")
    if not (re.fullmatch("[0-9]{1,15}", first) and re.fullmatch("[0-9]{1,15}", last)):
        raise BadInput(f"{meta.root}: meta/info.json: the split {text!r:.80} is no range like 0:50")
    return range(int(first), int(last))


def episodes(rows: Iterator[Row | Skipped]) -> Iterator[tuple[int, Row] | Skipped]:
    """The episodes by number, each once, then what is wrong in their list.

    A recording that was taken up again lists an episode twice; as in LeRobot the last line counts.
    """
    found: dict[int, Row] = {}
    wrong: list[Skipped] = []
    for place, row in enumerate(rows, 1):
        if isinstance(row, Skipped):
            wrong.append(row)
            continue
        try:
            found[whole(row["episode_index"], "episode_index")] = row
        except TROUBLE as error:
            wrong.append(Skipped(f"entry {place} of meta/episodes", f"no episode: {reason_of(error)}"))
    yield from sorted(found.items())
    yield from wrong


def rows_v2(meta: Meta) -> Iterator[Row | Skipped]:
    """The lines of meta/episodes.jsonl. Raises BadInput where there is no such file."""
    path = meta.root / "meta" / "episodes.jsonl"
    trouble = trouble_with(path)
    if trouble:
        raise BadInput(trouble)
    return _lines(path)


def _lines(path: Path) -> Iterator[Row | Skipped]:
    for number, row in json_lines(path):
        if isinstance(row, dict) and "episode_index" in row:
            yield row
        else:
            what = row if isinstance(row, ValueError) else "no episode_index"
            yield Skipped(f"{path.name} line {number}", f"{path}, line {number}: {what}")


def rows_v3(meta: Meta, camera: str) -> Iterator[Row | Skipped]:
    """The rows of meta/episodes/**.parquet. Raises BadInput where there is none."""
    files = sorted((meta.root / "meta" / "episodes").rglob("*.parquet"))
    if not files:
        why = "the download is not complete"
        if (meta.root / "meta" / "episodes.jsonl").is_file():
            why = "its files are those of v2.1, so its conversion to v3.0 broke off: convert it again"
        raise BadInput(f"{meta.root}: no parquet file below meta/episodes; {why}")
    needed = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index"]
    may_be = []
    if meta.cameras[camera] == "video":
        # Columns are named "videos/observation.images.top/chunk_index" and so on.
        needed += [f"videos/{camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        may_be = [f"videos/{camera}/to_timestamp"]
    return _tables(files, needed, may_be)


def _tables(files: list[Path], needed: list[str], may_be: list[str]) -> Iterator[Row | Skipped]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            trouble = trouble_with(path)
            if trouble:
                raise ValueError(trouble)
            # by name, Arrow takes none that is not UTF-8
            with path.open("rb") as file, pq.ParquetFile(file) as table:
                there = table.schema_arrow.names
                missing = [column for column in needed if column not in there]
                if missing:
                    raise ValueError(f"lacks the columns {', '.join(missing)}")
                columns = needed + [column for column in may_be if column in there]
                for batch in table.iter_batches(batch_size=1000, columns=columns):
                    yield from batch.to_pylist()
        except (*TROUBLE, pa.ArrowException) as error:
            yield Skipped(f"episodes of {path.parent.name}/{path.name}", f"{path}: {str(error)[:200]}")


def read_tasks(root: Path) -> dict[int, str]:
    """The texts of tasks by number, from meta/tasks.jsonl or meta/tasks.parquet. Raises BadInput."""
    lines, table = root / "meta" / "tasks.jsonl", root / "meta" / "tasks.parquet"
    path = lines if lines.is_file() else table
    if not path.is_file():
        return {}
    try:
        rows = [row for _, row in json_lines(path)] if path is lines else _task_rows(path)
        return {whole(row["task_index"], "task_index"): str(row["task"]) for row in rows}
    except Exception as error:  # pyarrow raises nearly anything for damaged bytes
        raise BadInput(f"{path}: the texts of the tasks cannot be read: {reason_of(error)}") from error


def _task_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    # pandas wrote the table, whose index is the text: a column called "task" or "__index_level_0__".
    with path.open("rb") as file:
        rows = pq.read_table(file).to_pylist()
    for row in rows:
        number = row.pop("task_index")
        yield {"task_index": number, "task": row.get("task", next(iter(row.values()), ""))}
