"""A LeRobot dataset as the source of an export: its camera and features, and the rows of its data files."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from vidjacobi.datasets.contract import Episode, reason_of
from vidjacobi.datasets.lerobot_meta import read_meta, read_tasks
from vidjacobi.datasets.side_files import read_json
from vidjacobi.errors import BadInput
from vidjacobi.export.source import MARKS, NUMBERING, Features, SourceCamera, SourceRows, numbers_of_rows


class LeRobotSource:
    """See ``vidjacobi.export.source.Source``. Raises BadInput."""

    def __init__(self, root: Path, episodes: Mapping[str, Episode]) -> None:
        meta = read_meta(root)  # refuses what is no info.json
        info = read_json(root / "meta" / "info.json")
        self._episodes = episodes
        key = str(next(iter(episodes.values())).metadata["camera"])
        if "/" in key or "\\" in key or key.startswith("."):
            raise BadInput(f"{root}: a camera called {key!r} would be a folder outside of the exported set")
        feature = info["features"][key]
        pictures = (*meta.cameras, *meta.depth_maps)
        others = tuple(other for other in pictures if other != key)
        self.camera = SourceCamera(key, feature, size_of(feature), others)
        left_out = {*pictures, *NUMBERING, *MARKS}
        self.features: Features = {
            name: feature for name, feature in info["features"].items() if name not in left_out
        }
        self.robot_type: str | None = info.get("robot_type")
        self.version: str | None = meta.version
        self.numbering: Features = {
            name: info["features"][name]
            for name, dtype in NUMBERING.items()
            if info["features"].get(name, {}).get("dtype") == dtype
        }
        self._texts = read_tasks(root)
        # the futures of an episode follow one another, so that its rows are read once
        self._rows_of = lru_cache(maxsize=1)(self._read)

    def rows(self, episode: str, start: int, count: int) -> SourceRows:
        """See Source."""
        table, facts = self._rows_of(episode), self._episodes[episode].metadata
        numbers, last = numbers_of_rows(facts, start, count), table.num_rows - 1
        if numbers[0] > last:
            raise BadInput(f"{facts['data']}: {episode} has {last + 1} rows, and row {numbers[0]} is needed")
        taken = table.take([min(number, last) for number in numbers])
        columns = {name: taken[name] for name in self.features}
        return SourceRows(columns, [number <= last for number in numbers], self._tasks(taken, facts))

    def _tasks(self, taken: Any, facts: Mapping[str, object]) -> list[str]:
        known = str(facts.get("text") or "")
        if "task_index" not in taken.column_names:
            return [known] * taken.num_rows
        return [self._texts.get(number, known) for number in taken["task_index"].to_pylist()]

    def _read(self, episode: str) -> Any:
        import pyarrow.parquet as pq

        facts = self._episodes[episode].metadata
        path = Path(str(facts["data"]))
        try:
            with path.open("rb") as file:  # by name, Arrow takes none that is not UTF-8
                there = pq.read_schema(file).names
            missing = [name for name in self.features if name not in there]
            if missing:
                raise BadInput(f"{path}: lacks {', '.join(missing)}, which meta/info.json lists")
            wanted = [*self.features, "frame_index", *(["task_index"] if "task_index" in there else [])]
            with path.open("rb") as file:
                table = pq.read_table(
                    file, columns=wanted, filters=[("episode_index", "=", facts["episode"])]
                )
        except Exception as error:  # pyarrow raises nearly anything for damaged bytes
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{path}: the rows of {episode} cannot be read: {reason_of(error)}") from error
        return table.sort_by("frame_index")


def size_of(feature: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a camera; the order of its shape is told by its names."""
    shape, names = feature.get("shape"), feature.get("names")
    if not isinstance(shape, list) or not isinstance(names, list) or len(shape) != len(names):
        return None
    sides = dict(zip(names, shape, strict=True))
    if not all(isinstance(sides.get(name), int) for name in ("height", "width")):
        return None
    return sides["height"], sides["width"]
