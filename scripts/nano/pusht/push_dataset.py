"""Episodes of Push-T as a LeRobot v3.0 dataset: frame, state and action of every step, 10 a second.

Pictures are PNG in the table: in a video half of the colour would be lost. Needs the extra ``pusht``.

    python scripts/nano pusht-dataset --episodes 64              # held-out ones, into runs/nano-pusht/lerobot
    python scripts/nano pusht-dataset --first 0 --episodes 4096 --out SET      # those that pusht-data trains on
    vidjacobi batch runs/nano-pusht/lerobot --stride 2 --model pusht:out/nano-pusht --context 4 --actions dataset
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.nano.pusht.pusht_sizes import RUNS
from scripts.nano.pusht.record_pushes import FIRST_SEED, SIZE, PushEpisode, record
from vidjacobi.batch.manifest import ManifestRow
from vidjacobi.errors import BadOutput
from vidjacobi.export.source import NUMBERING
from vidjacobi.export.statistics import colour_counts, number_statistics, picture_statistics
from vidjacobi.export.tables import (
    TABLE,
    ExportedEpisode,
    GrowingTable,
    info_json,
    numbering,
    scalar,
    write_episodes,
    write_tasks,
)
from vidjacobi.export.videos import picture_column
from vidjacobi.output.atomic import replacing_folder, write_json

FPS = 10
CAMERA, TASK = "observation.image", "Push the T onto the goal."
NUMBERS = {
    "observation.state": ["agent_x", "agent_y"],
    "observation.environment_state": ["tee_x", "tee_y", "tee_angle"],
    "action": ["target_x", "target_y"],
}
FEATURES: dict[str, dict[str, Any]] = {
    CAMERA: {"dtype": "image", "shape": [SIZE, SIZE, 3], "names": ["height", "width", "channels"]},
    **{name: {"dtype": "float32", "shape": [len(parts)], "names": parts} for name, parts in NUMBERS.items()},
    **{name: scalar(dtype) for name, dtype in NUMBERING.items()},
}


def columns_of(episode: PushEpisode) -> dict[str, np.ndarray]:
    """Numbers of every frame. The last frame, after which nothing is done, has the last action again."""
    actions = np.concatenate([episode.actions, episode.actions[-1:]])
    states = episode.states
    return {
        "observation.state": states[:, :2],
        "observation.environment_state": states[:, 2:],
        "action": actions,
    }


def write_set(folder: Path, seeds: range) -> dict[str, int]:
    """The episodes of some seeds into a new folder, whole or not at all. Raises BadOutput where there is one."""
    import pyarrow as pa

    if folder.exists():
        raise BadOutput(f"{folder} exists: give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as made:
        written: list[ExportedEpisode] = []
        parts: dict[str, list[np.ndarray]] = {name: [] for name in NUMBERS}
        colours, first = np.zeros((3, 256), np.int64), 0
        with GrowingTable(made / "data" / TABLE) as table:
            for number, seed in enumerate(seeds):
                episode = record(seed, stride=1)
                frames, numbers = episode.frames, columns_of(episode)
                length, counts = len(frames), colour_counts(frames)
                arrays = {
                    name: pa.array(list(rows), pa.list_(pa.float32())) for name, rows in numbers.items()
                }
                places = numbering(number, first, FPS, [0] * length)
                table.add({CAMERA: picture_column(torch.from_numpy(frames)), **arrays, **places})
                statistics = {name: number_statistics(rows) for name, rows in numbers.items()}
                statistics[CAMERA] = picture_statistics(counts, length)
                row = ManifestRow(f"{episode.kind}_{seed}", start=0, sample=0)
                written.append(ExportedEpisode(row, number, first, length, length, None, [TASK], statistics))
                colours, first = colours + counts, first + length
                for name, rows in numbers.items():
                    parts[name].append(rows)
        totals = {"episodes": len(written), "frames": first, "tasks": 1}
        write_episodes(made / "meta" / "episodes" / TABLE, written, CAMERA, FPS)
        write_tasks(made / "meta" / "tasks.parquet", [TASK])
        whole = {name: number_statistics(np.concatenate(rows)) for name, rows in parts.items()}
        whole[CAMERA] = picture_statistics(colours, first)
        write_json(made / "meta" / "stats.json", whole, indent=4)
        write_json(made / "meta" / "info.json", info_json(FPS, FEATURES, totals, "push-t"), indent=4)
    return totals


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--episodes", type=int, default=64)
    options.add_argument("--first", type=int, default=FIRST_SEED["heldout"], help="seed of the first one")
    options.add_argument("--out", type=Path, default=RUNS / "lerobot")
    return options


def run(arguments: argparse.Namespace) -> None:
    """Write the set. Raises BadInput without the simulator, BadOutput."""
    totals = write_set(arguments.out, range(arguments.first, arguments.first + arguments.episodes))
    print(
        f"{arguments.out}: a LeRobot v3.0 dataset of {totals['episodes']} episodes, {totals['frames']} frames"
    )
