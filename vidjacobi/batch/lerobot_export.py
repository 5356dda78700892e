"""A finished batch as a LeRobot v3.0 dataset: every future is an episode that begins with its context.

    meta/info.json, meta/stats.json, meta/tasks.parquet (a task per source episode)
    meta/episodes/chunk-000/file-000.parquet            where each episode is, and what it was made of
    data/chunk-000/file-000.parquet                     a row per frame; `predicted`: 0 in the context, 1 after it
    videos/observation.images.rollout/chunk-*/file-*    the batch's mp4 files, one per episode, copied as they are

There are no actions or states: the world model predicts pictures. Layout: huggingface/lerobot,
docs/source/lerobot-dataset-v3.mdx.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.batch.manifest import DONE, ManifestRow, merged
from vidjacobi.batch.report import settings_of
from vidjacobi.errors import BadInput, BadOutput
from vidjacobi.output.atomic import replacing_folder, write_json
from vidjacobi.video.records import ClipInfo
from vidjacobi.video.timed_reader import open_clip, read_frames

CAMERA = "observation.images.rollout"
CHUNK = 1000  # files in a folder
LOOKED_AT = 3  # frames of an episode that the pictures' statistics are taken from
_FILE = "chunk-{:03d}/file-{:03d}"
_SCALARS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
_SCALARS |= {"task_index": "int64", "predicted": "int64"}


@dataclass(frozen=True)
class ExportedFuture:
    """An episode of the new dataset."""

    row: ManifestRow
    video: Path
    frames: int
    task: int


@dataclass(frozen=True)
class VideoFormat:
    """What all videos of a dataset share."""

    fps: int
    height: int
    width: int


def export_lerobot(out: Path, destination: Path) -> dict[str, int]:
    """Write the finished futures of the batch in ``out`` to the new folder ``destination``, whole or not at all.

    Returns the numbers of episodes, frames and tasks. Raises BadInput if the batch kept no videos, one of them
    is missing, or they differ in rate or size; BadOutput if ``destination`` exists or cannot be written.
    """
    settings = settings_of(out)
    if settings["output"] != "videos":
        raise BadInput(f"{out}: this batch kept {settings['output']}, and LeRobot needs --output videos")
    if destination.exists():
        raise BadOutput(f"{destination} exists: give another folder")
    rows = [row for row in merged(out) if row.status == DONE]
    if not rows:
        raise BadInput(f"{out}: no future is finished yet")
    infos = [info_of(out, row) for row in rows]
    shared = format_of(infos)
    tasks = {episode: number for number, episode in enumerate(dict.fromkeys(row.episode for row in rows))}
    futures = [
        ExportedFuture(row, Path(info.source), info.frames, tasks[row.episode])
        for row, info in zip(rows, infos, strict=True)
    ]
    destination.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(destination) as folder:
        copy_videos(folder, futures)
        write_tables(folder, futures, list(tasks), shared.fps, settings["context"])
        totals = {"episodes": len(futures), "frames": sum(future.frames for future in futures)}
        totals["tasks"] = len(tasks)
        write_json(folder / "meta" / "info.json", info_json(shared, totals), indent=4)
        write_json(folder / "meta" / "stats.json", {CAMERA: picture_statistics(futures)}, indent=4)
    return totals


def info_of(out: Path, row: ManifestRow) -> ClipInfo:
    """What is known of a future's video. Raises BadInput where it is missing."""
    path = out / str(row.video)
    if not path.is_file():
        raise BadInput(f"{path} is missing: run the batch once more, and it is made again")
    return open_clip(path)


def format_of(infos: Sequence[ClipInfo]) -> VideoFormat:
    """Rate and size of all videos. Raises BadInput where they differ or the rate is no whole number."""
    first = infos[0]
    for info in infos:
        if (info.fps, info.height, info.width) != (first.fps, first.height, first.width):
            raise BadInput(
                f"{info.source}: {info.width}x{info.height} at {float(info.fps):g} fps, but {first.source} "
                f"has {first.width}x{first.height} at {float(first.fps):g}: a LeRobot dataset has one rate "
                "and size; make a batch for each"
            )
    if first.fps.denominator != 1:
        raise BadInput(f"{first.source}: {float(first.fps):g} fps, and LeRobot takes whole numbers only")
    return VideoFormat(int(first.fps), first.height, first.width)


def copy_videos(folder: Path, futures: Sequence[ExportedFuture]) -> None:
    """Copy a file per episode; nothing is encoded again."""
    for number, future in enumerate(futures):
        target = folder / "videos" / CAMERA / (_FILE.format(*divmod(number, CHUNK)) + ".mp4")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(future.video, target)


def write_tables(
    folder: Path, futures: Sequence[ExportedFuture], tasks: Sequence[str], fps: int, context: int
) -> None:
    """Write episodes, frames and tasks as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = Path(_FILE.format(0, 0) + ".parquet")
    for name in ("data", "meta/episodes"):
        (folder / name / first).parent.mkdir(parents=True)
    kinds = {"float32": pa.float32(), "int64": pa.int64()}
    schema = pa.schema([(name, kinds[dtype]) for name, dtype in _SCALARS.items()])
    with pq.ParquetWriter(folder / "data" / first, schema) as writer:
        for columns in frame_columns(futures, fps, context):
            writer.write_table(pa.table(columns, schema))
    pq.write_table(
        pa.Table.from_pylist(list(episode_rows(futures, tasks, fps))), folder / "meta/episodes" / first
    )
    write_tasks(folder / "meta" / "tasks.parquet", tasks)


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
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
    table = pa.table({"task_index": list(range(len(tasks))), index: [task_of(task) for task in tasks]})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def task_of(episode: str) -> str:
    """What the futures of an episode show, in words."""
    return f"predicted future of {episode}"


def frame_columns(
    futures: Sequence[ExportedFuture], fps: int, context: int
) -> Iterator[dict[str, list[Any]]]:
    """The rows of each episode's frames."""
    index = 0
    for number, future in enumerate(futures):
        frames = range(future.frames)
        yield {
            "timestamp": [frame / fps for frame in frames],
            "frame_index": list(frames),
            "episode_index": [number] * len(frames),
            "index": list(range(index, index + len(frames))),
            "task_index": [future.task] * len(frames),
            "predicted": [int(frame >= context) for frame in frames],
        }
        index += len(frames)  # counts through all episodes


def episode_rows(
    futures: Sequence[ExportedFuture], tasks: Sequence[str], fps: int
) -> Iterator[dict[str, Any]]:
    """Where each episode lies, then what it was made of."""
    index = 0
    for number, future in enumerate(futures):
        chunk, file = divmod(number, CHUNK)
        yield {
            "episode_index": number,
            "tasks": [task_of(tasks[future.task])],
            "length": future.frames,
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": index,
            "dataset_to_index": index + future.frames,
            f"videos/{CAMERA}/chunk_index": chunk,
            f"videos/{CAMERA}/file_index": file,
            f"videos/{CAMERA}/from_timestamp": 0.0,
            f"videos/{CAMERA}/to_timestamp": future.frames / fps,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "source_episode": future.row.episode,
            "source_start": future.row.start,
            "sample": future.row.sample,
            "tokens_sha256": future.row.tokens_sha256,
        }
        index += future.frames


def info_json(shared: VideoFormat, totals: dict[str, int]) -> dict[str, Any]:
    """``meta/info.json``."""
    video = {"video.height": shared.height, "video.width": shared.width, "video.codec": "h264"}
    video |= {"video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": shared.fps}
    camera = {
        "dtype": "video",
        "shape": [shared.height, shared.width, 3],
        "names": ["height", "width", "channels"],
        "info": {**video, "video.channels": 3, "has_audio": False},
    }
    scalars = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _SCALARS.items()}
    return {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": totals["episodes"],
        "total_frames": totals["frames"],
        "total_tasks": totals["tasks"],
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": shared.fps,
        "splits": {"train": f"0:{totals['episodes']}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {CAMERA: camera, **scalars},
    }


def picture_statistics(futures: Sequence[ExportedFuture]) -> dict[str, Any]:
    """Minimum, maximum, mean and deviation of each colour in 0..1, over a few frames of every episode.

    LeRobot itself also looks at a sample of the frames; ``count`` is how many were looked at.
    """
    sums, squares, pixels, looked = torch.zeros(3).double(), torch.zeros(3).double(), 0, 0
    least, most = torch.ones(3).double(), torch.zeros(3).double()
    for future in futures:
        # E[x^2] - E[x]^2 in float64, so that no episode's frames need to be kept
        picked = read_frames(future.video, 0, future.frames).frames[:: max(1, future.frames // LOOKED_AT)]
        colours = picked.double().flatten(0, 2) / 255
        sums, squares = sums + colours.sum(0), squares + colours.square().sum(0)
        least, most = least.minimum(colours.amin(0)), most.maximum(colours.amax(0))
        pixels, looked = pixels + len(colours), looked + len(picked)
    mean = sums / pixels
    deviation = (squares / pixels - mean.square()).clamp(min=0).sqrt()
    found = {"min": least, "max": most, "mean": mean, "std": deviation}
    return {**{name: as_picture(value) for name, value in found.items()}, "count": [looked]}


def as_picture(colours: Float[Tensor, "3"]) -> list[list[list[float]]]:
    """As LeRobot nests it: [3 1 1]."""
    return colours[:, None, None].tolist()
