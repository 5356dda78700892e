"""A small LeRobot v3.0 dataset with states, actions and texts; tests/datasets/lerobot_sets.py has pictures only."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from clip_files import encode, moving
from PIL import Image

CAMERA, WRIST = "observation.images.top", "observation.images.wrist"
LENGTHS = (12, 20)  # frames of its episodes
FPS = 10
TASKS = ("pick the cup", "place the cup", "never done")
NAMES = {"motors": ["a", "b", "c"]}


def write_robot_set(
    root: Path, cameras: tuple[str, ...] = (CAMERA,), codec: str = "av1", version: str = "v3.0"
) -> Path:
    """LeRobot v3.0: two episodes of a 48x64 camera in one video, with state, action, ``next.done`` and a text.

    Its codec may be png: then the pictures are in the table.
    """
    video = {
        "video.height": 48,
        "video.width": 64,
        "video.codec": codec,
        "video.fps": FPS,
        "has_audio": False,
    }
    camera = {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"], "info": video}
    if codec == "png":
        camera = {**camera, "dtype": "image", "info": None}
    features: dict[str, Any] = dict.fromkeys(cameras, camera)
    features["observation.state"] = {"dtype": "float32", "shape": [3], "names": NAMES, "fps": FPS}
    features["action"] = {"dtype": "float32", "shape": [2], "names": None}
    features["next.done"] = {"dtype": "bool", "shape": [1], "names": None}
    features["note"] = {"dtype": "string", "shape": [1], "names": None}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None, "fps": FPS}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None, "fps": FPS}
    info = {
        "codebase_version": version,
        "robot_type": "arm",
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    table = pa.table({"task_index": [0, 1, 2], "__index_level_0__": list(TASKS)})
    pq.write_table(table, root / "meta/tasks.parquet")
    encoder = {"av1": "libsvtav1", "h264": "libx264", "mpeg4": "mpeg4", "png": ""}[codec]
    for key in cameras if encoder else ():
        path = root / "videos" / key / "chunk-000/file-000.mp4"
        path.parent.mkdir(parents=True)
        encode(path, moving(sum(LENGTHS), 48, 64), encoder, rate=FPS, g="2")
    rows = {
        "episode_index": [0, 1],
        "tasks": [[TASKS[0], TASKS[1]], [TASKS[1]]],
        "length": list(LENGTHS),
        "data/chunk_index": [0, 0],
        "data/file_index": [0, 0],
    }
    for key in cameras if encoder else ():
        rows |= {f"videos/{key}/chunk_index": [0, 0], f"videos/{key}/file_index": [0, 0]}
        rows |= {f"videos/{key}/from_timestamp": [0.0, LENGTHS[0] / FPS]}
        rows |= {f"videos/{key}/to_timestamp": [LENGTHS[0] / FPS, sum(LENGTHS) / FPS]}
    pq.write_table(pa.table(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    (root / "data/chunk-000").mkdir(parents=True)
    table = robot_rows()
    if not encoder:
        pictures = [{"bytes": png(picture), "path": None} for picture in moving(sum(LENGTHS), 48, 64)]
        for key in cameras:
            table = table.append_column(key, [pictures])
    pq.write_table(table, root / "data/chunk-000/file-000.parquet")
    return root


def png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def robot_rows() -> pa.Table:
    """All rows of the data file. The task of episode 0 changes at its frame 6."""
    episodes = [episode for episode, length in enumerate(LENGTHS) for _ in range(length)]
    frames = [frame for length in LENGTHS for frame in range(length)]
    pairs = list(zip(episodes, frames, strict=True))
    state = np.array([[episode, frame, frame / 7] for episode, frame in pairs], np.float32)
    action = np.array([[frame / 3, -episode] for episode, frame in pairs], np.float32)
    return pa.table(
        {
            "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 3),
            "action": pa.array(action.tolist(), pa.list_(pa.float32())),
            "next.done": [frame == LENGTHS[episode] - 1 for episode, frame in pairs],
            "note": [f"{episode}-{frame}" for episode, frame in pairs],
            "timestamp": pa.array([frame / FPS for frame in frames], pa.float32()),
            "frame_index": frames,
            "episode_index": episodes,
            "index": list(range(len(frames))),
            "task_index": [int(episode == 1 or frame >= 6) for episode, frame in pairs],
        }
    )
