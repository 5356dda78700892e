"""Actions in a file of JSON lines beside a clip, a line for each frame, as MineRL and MineWorld have them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.datasets.recorded_actions import ActionSource, RecordedActions
from vidjacobi.datasets.side_files import json_lines
from vidjacobi.errors import BadInput

SUFFIX = ".jsonl"


@dataclass(frozen=True)
class ActionLines:
    """See ``vidjacobi.datasets.recorded_actions.ActionSource``. Nothing in the file says how fast it was recorded."""

    path: Path

    @property
    def recording(self) -> str:
        """See ActionSource."""
        return str(self.path)

    def read(self) -> RecordedActions:
        """See ActionSource."""
        rows: list[Any] = []
        try:
            for number, row in json_lines(self.path):
                if isinstance(row, ValueError):
                    raise BadInput(f"{self.path}, line {number}: {row}")
                rows.append(row)
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read: {error.strerror or error}") from error
        return RecordedActions(rows, None, by_number=True)


def lines_beside(clip: Path) -> ActionSource | None:
    """``clip.jsonl`` beside ``clip.mp4`` or a folder ``clip`` of pictures; None where there is none."""
    path = clip.with_name((clip.name if clip.is_dir() else clip.stem) + SUFFIX)
    return ActionLines(path) if path != clip and path.is_file() else None
