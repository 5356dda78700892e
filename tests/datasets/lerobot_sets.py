"""Small LeRobot datasets in the layouts of lerobot, made for the tests."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from clip_files import encode, moving
from PIL import Image

CAMERAS = ("observation.images.top", "observation.images.wrist")
LENGTHS = (12, 9, 15)
FPS = 10
TASKS = ("pick the cup", "place the cup", "wipe")


def frames_of(episode: int, camera: int) -> np.ndarray:
    """The frames of a camera in an episode: each camera and episode has another part of one smooth video."""
    start = 40 * (3 * camera + episode)
    return moving(start + LENGTHS[episode], 48, 64)[start:]


def write_info(root: Path, version: str, dtype: str, **changes: object) -> None:
    features = {key: {"dtype": dtype, "shape": [48, 64, 3], "names": None} for key in CAMERAS}
    features["action"] = {"dtype": "float32", "shape": [2], "names": None}
    v2 = version != "v3.0"
    video = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    info: dict[str, object] = {
        "codebase_version": version,
        "total_episodes": len(LENGTHS),
        "chunks_size": 2 if v2 else 1000,
        "fps": FPS,
        "splits": {"train": "0:2", "test": "2:3"},
        "data_path": data if v2 else "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": video if v2 else "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
    if dtype == "image":
        info["video_path"] = None
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info | changes))


def write_v2(root: Path, dtype: str = "video", version: str = "v2.1") -> Path:
    """Write v2.0 or v2.1: a video (or parquet file) for each episode, in chunks of two episodes."""
    write_info(root, version, dtype)
    lines = [
        json.dumps({"episode_index": i, "tasks": [TASKS[i]], "length": n}) for i, n in enumerate(LENGTHS)
    ]
    (root / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    for episode in range(len(LENGTHS)):
        chunk = f"chunk-{episode // 2:03d}"
        data = root / "data" / chunk / f"episode_{episode:06d}.parquet"
        if dtype == "image":
            write_pictures(data, [episode])
            continue
        write_rows(data, {episode: [i / FPS for i in range(LENGTHS[episode])]})
        for number, camera in enumerate(CAMERAS):
            path = root / "videos" / chunk / camera / f"episode_{episode:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            encode(path, frames_of(episode, number), rate=FPS, crf="8", g="4")
    return root


def write_v3(root: Path, dtype: str = "video") -> Path:
    """Write v3.0: all episodes in one video for each camera, or in one parquet file."""
    write_info(root, "v3.0", dtype)
    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    starts = np.cumsum([0, *LENGTHS])
    rows: dict[str, list[object]] = {
        "episode_index": list(range(len(LENGTHS))),
        "tasks": [[task] for task in TASKS],
        "length": list(LENGTHS),
        "data/chunk_index": [0] * len(LENGTHS),
        "data/file_index": [0] * len(LENGTHS),
    }
    for number, camera in enumerate(CAMERAS):
        if dtype == "video":
            rows[f"videos/{camera}/chunk_index"] = [0] * len(LENGTHS)
            rows[f"videos/{camera}/file_index"] = [0] * len(LENGTHS)
            rows[f"videos/{camera}/from_timestamp"] = [float(s) / FPS for s in starts[:-1]]
            rows[f"videos/{camera}/to_timestamp"] = [float(s) / FPS for s in starts[1:]]
            path = root / "videos" / camera / "chunk-000" / "file-000.mp4"
            path.parent.mkdir(parents=True)
            whole = np.concatenate([frames_of(episode, number) for episode in range(len(LENGTHS))])
            encode(path, whole, rate=FPS, crf="8", g="2")
    data = root / "data" / "chunk-000" / "file-000.parquet"
    if dtype == "image":
        write_pictures(data, range(len(LENGTHS)))
    else:
        write_rows(data, {e: [i / FPS for i in range(n)] for e, n in enumerate(LENGTHS)})
    pq.write_table(pa.table(rows), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    return root


def write_rows(path: Path, stamps: dict[int, list[float]]) -> None:
    """Write the rows of some episodes, given the time stamps of each in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(e, i, t) for e, times in stamps.items() for i, t in enumerate(times)]
    columns = dict(
        zip(("episode_index", "frame_index", "timestamp"), map(list, zip(*rows, strict=True)), strict=True)
    )
    table = pa.table(columns)
    place = table.schema.get_field_index("timestamp")
    pq.write_table(table.set_column(place, "timestamp", table["timestamp"].cast(pa.float32())), path)


def write_pictures(path: Path, episodes) -> None:
    """Write PNG bytes in columns of structs, as the datasets library stores images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[object]] = {key: [] for key in (*CAMERAS, "frame_index", "episode_index")}
    for episode in episodes:
        for number, camera in enumerate(CAMERAS):
            rows[camera] += [{"bytes": png(picture), "path": None} for picture in frames_of(episode, number)]
        rows["frame_index"] += list(range(LENGTHS[episode]))
        rows["episode_index"] += [episode] * LENGTHS[episode]
    pq.write_table(pa.table(rows), path, row_group_size=7)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
