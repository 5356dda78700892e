"""The column ``action`` of a LeRobot dataset."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vidjacobi.datasets.contract import reason_of
from vidjacobi.datasets.lerobot_frames import DataRows
from vidjacobi.datasets.recorded_actions import RecordedActions
from vidjacobi.errors import BadInput

COLUMN = "action"
_OFF = 0.4  # of a frame: a row that is further from its time may as well belong to the next frame


@dataclass(frozen=True)
class LeRobotActions:
    """See ``vidjacobi.datasets.recorded_actions.ActionSource``; ``fps``: of the dataset."""

    rows: DataRows
    fps: float

    @property
    def recording(self) -> str:
        """See ActionSource."""
        return self.rows.name

    def read(self) -> RecordedActions:
        """See ActionSource. The rows must be at the times that the dataset's rate says."""
        for column in (COLUMN, "timestamp"):
            self._check_column(column)
        rows = self.rows.whole([COLUMN, "timestamp"])
        self._check_times(rows)
        return RecordedActions([row[COLUMN] for row in rows], self.fps)

    def _check_column(self, column: str) -> None:
        import pyarrow.parquet as pq

        try:
            with self.rows.path.open("rb") as file:  # by name, Arrow takes none that is not UTF-8
                names = pq.read_schema(file).names
        except Exception as error:  # pyarrow raises nearly anything for damaged bytes
            raise BadInput(f"{self.rows.path}: cannot be read: {reason_of(error)}") from error
        if column not in names:
            raise BadInput(
                f"{self.rows.path}: has no column {column!r}, which meta/info.json lists. It has: {', '.join(names)}"
            )

    def _check_times(self, rows: list[dict[str, Any]]) -> None:
        try:
            times = np.array([row["timestamp"] for row in rows], np.float64)
        except (TypeError, ValueError, KeyError) as error:
            raise BadInput(f"{self.rows.name}: its time stamps are no numbers") from error
        off = np.abs((times - times[:1]) * self.fps - np.arange(len(times)))
        if not (off <= _OFF).all():  # NaN is not
            raise BadInput(
                f"{self.rows.name}: its rows are not {1 / self.fps:.4g} s apart, as {self.fps:g} fps in "
                "meta/info.json say, so nobody can tell when an action was done; convert the dataset again"
            )
