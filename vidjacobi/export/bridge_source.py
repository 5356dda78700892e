"""Bridge in Cosmos' layout as the source of an export: the states and actions of its annotations."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from vidjacobi.datasets.contract import Episode
from vidjacobi.datasets.side_files import read_json
from vidjacobi.errors import BadInput
from vidjacobi.export.source import SourceRows, TextSource, numbers_of_rows

_COLUMNS = {"observation.state": "state", "action": "action"}  # feature -> key of the annotation


class BridgeSource(TextSource):
    """See ``vidjacobi.export.source.Source``. An episode of T frames has T states and T - 1 actions of 7 numbers."""

    def __init__(self, root: Path, episodes: Mapping[str, Episode]) -> None:
        texts = {episode: str(entry.metadata.get("text", "")) for episode, entry in episodes.items()}
        vector = {"dtype": "float32", "shape": [7], "names": None}
        super().__init__(texts, features={name: dict(vector) for name in _COLUMNS})
        self._episodes = episodes
        # the futures of an episode follow one another, so that its annotation is read once
        self._vectors_of = lru_cache(maxsize=1)(self._read)

    def rows(self, episode: str, start: int, count: int) -> SourceRows:
        """See Source."""
        import pyarrow as pa

        vectors = self._vectors_of(episode)
        numbers = numbers_of_rows(self._episodes[episode].metadata, start, count)
        columns = {
            name: pa.FixedSizeListArray.from_arrays(
                pa.array(values[[min(number, len(values) - 1) for number in numbers]].ravel()), 7
            )
            for name, values in vectors.items()
        }
        known = min(map(len, vectors.values()))
        return replace(
            super().rows(episode, start, count),
            columns=columns,
            recorded=[number < known for number in numbers],
        )

    def _read(self, episode: str) -> dict[str, np.ndarray]:
        path = Path(str(self._episodes[episode].metadata["annotation"]))
        try:
            note = read_json(path)
            found = {name: np.array(note[key], np.float32) for name, key in _COLUMNS.items()}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadInput(f"{path}: no states and actions can be read: {error!r}") from error
        for name, values in found.items():
            if values.ndim != 2 or values.shape[1] != 7 or not len(values):
                raise BadInput(f"{path}: {_COLUMNS[name]} is no list of 7 numbers each")
        return found
