"""The parquet and JSON files of a LeRobot v3.0 dataset.

Source: huggingface/lerobot, docs/source/lerobot-dataset-v3.mdx.

meta/info.json, meta/stats.json, meta/tasks.parquet
meta/episodes/chunk-000/file-000.parquet    where each episode is, what it was made of, its statistics
data/chunk-000/file-000.parquet             a row per frame
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.batch.manifest import ManifestRow
from vidjacobi.errors import BadInput
from vidjacobi.export.source import NUMBERING, Features
from vidjacobi.export.videos import CHUNK, FILE, VideoPlace

TABLE = FILE.format(0, 0) + ".parquet"


@dataclass(frozen=True)
class ExportedEpisode:
    """An episode of the new dataset.

    Attributes:
        row: the future that it shows.
        number, first, length: its number, the number of its first frame in the dataset, and how many it has.
        place: where its pictures are; None: in the table.
        tasks: its texts.
        statistics: of each of its features.
    """

    row: ManifestRow
    number: int
    first: int
    length: int
    context: int
    place: VideoPlace | None
    tasks: Sequence[str]
    statistics: Mapping[str, Mapping[str, Any]]


def scalar(dtype: str) -> dict[str, Any]:
    """A feature of one number per frame."""
    return {"dtype": dtype, "shape": [1], "names": None}


def numbering(number: int, first: int, fps: int, tasks: Sequence[int]) -> dict[str, Any]:
    """The columns NUMBERING of an episode whose frames have these tasks."""
    import pyarrow as pa

    frames = range(len(tasks))
    columns = {
        "timestamp": [frame / fps for frame in frames],
        "frame_index": list(frames),
        "episode_index": [number] * len(frames),
        "index": [first + frame for frame in frames],  # counts through all episodes
        "task_index": list(tasks),
    }
    kinds = {"float32": pa.float32(), "int64": pa.int64()}
    return {name: pa.array(columns[name], kinds[dtype]) for name, dtype in NUMBERING.items()}


class GrowingTable:
    """A parquet file to which the rows of episode after episode are added, all with the columns of the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._file = ExitStack()

    def __enter__(self) -> "GrowingTable":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._file.close()

    def add(self, columns: Mapping[str, Any]) -> None:
        """Add the rows of an episode. Raises BadInput where a column has another type than before."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(dict(columns))
        if self._writer is None:
            self._path.parent.mkdir(parents=True)
            file = self._file.enter_context(
                self._path.open("wb")
            )  # by name, Arrow takes none that is not UTF-8
            self._writer = pq.ParquetWriter(file, table.schema)
        try:
            self._writer.write_table(table.cast(self._writer.schema))
        except (pa.ArrowException, ValueError) as error:
            raise BadInput(
                f"the source's columns differ from episode to episode: {str(error)[:200]}"
            ) from error


def write_episodes(path: Path, episodes: Sequence[ExportedEpisode], camera: str, fps: int) -> None:
    """Write where each episode lies and what it was made of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True)
    rows = [
        {
            "episode_index": episode.number,
            "tasks": list(map(as_utf8, episode.tasks)),
            "length": episode.length,
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": episode.first,
            "dataset_to_index": episode.first + episode.length,
            **video_columns(episode, camera, fps),
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "source_episode": as_utf8(episode.row.episode),
            "source_start": episode.row.start,
            "sample": episode.row.sample,
            "context_frames": episode.context,
            "tokens_sha256": episode.row.tokens_sha256,
            **({} if episode.row.actions_of is None else {"actions_of": as_utf8(episode.row.actions_of)}),
            **{
                f"stats/{feature}/{name}": value
                for feature, found in episode.statistics.items()
                for name, value in found.items()
            },
        }
        for episode in episodes
    ]
    with path.open("wb") as file:
        pq.write_table(pa.Table.from_pylist(rows), file)


def video_columns(episode: ExportedEpisode, camera: str, fps: int) -> dict[str, Any]:
    """Where the pictures of an episode are, if they are in a video."""
    if episode.place is None:
        return {}
    chunk, file = divmod(episode.place.file, CHUNK)
    return {
        f"videos/{camera}/chunk_index": chunk,
        f"videos/{camera}/file_index": file,
        f"videos/{camera}/from_timestamp": episode.place.since,
        f"videos/{camera}/to_timestamp": episode.place.since + episode.length / fps,
    }


def write_tasks(path: Path, texts: Sequence[str]) -> None:
    """Write the tasks' numbers. LeRobot reads the file with pandas, where the texts must be the index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = "__index_level_0__"
    kinds = {"task_index": ("int64", "int64"), index: ("unicode", "object")}
    # what pandas writes itself for a frame with one index; LeRobot looks tasks up by that index
    columns = [
        {
            "name": None if name == index else name,
            "field_name": name,
            "pandas_type": kind,
            "numpy_type": array,
        }
        | {"metadata": None}
        for name, (kind, array) in kinds.items()
    ]
    pandas = {"index_columns": [index], "column_indexes": [], "columns": columns}
    table = pa.table({"task_index": list(range(len(texts))), index: list(map(as_utf8, texts))})
    with path.open("wb") as file:
        pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), file)


def as_utf8(text: str) -> str:
    """The text with what UTF-8 has no code for (names of files may hold it) as backslashes and numbers."""
    return text.encode("utf-8", "backslashreplace").decode()


def info_json(fps: int, features: Features, totals: Mapping[str, int], robot: str | None) -> dict[str, Any]:
    """``meta/info.json``."""
    video = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    return {
        "codebase_version": "v3.0",
        "robot_type": robot,
        "total_episodes": totals["episodes"],
        "total_frames": totals["frames"],
        "total_tasks": totals["tasks"],
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{totals['episodes']}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": video if any(part["dtype"] == "video" for part in features.values()) else None,
        "features": features,
    }


def camera_feature(height: int, width: int, fps: int, codec: str) -> dict[str, Any]:
    """The feature of a camera whose pictures are in videos."""
    video = {"video.height": height, "video.width": width, "video.codec": codec}
    video |= {"video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": fps}
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {**video, "video.channels": 3, "has_audio": False},
    }
