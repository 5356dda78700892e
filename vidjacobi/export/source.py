"""What the dataset that a batch was made of says beside its pictures: task texts, states, actions, camera.

An export reads it from the dataset again, so that no batch has to copy it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

CAMERA = "observation.images.rollout"  # where the source has no name for its camera
Features = dict[str, dict[str, Any]]
# the columns that LeRobot demands of every dataset, and an export fills anew
NUMBERING = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
NUMBERING |= {"task_index": "int64"}
# what an export adds, 1 or 0 in every frame; those of a source that was exported itself are replaced
MARKS = {"predicted": "int64", "recorded": "int64"}


@dataclass(frozen=True)
class SourceCamera:
    """The camera that was predicted.

    Attributes:
        key: name of its feature in LeRobot.
        feature: the feature as the source describes it; None where the source is no LeRobot dataset.
        size: (height, width) of the source's pictures in pixels, None where the feature does not say.
        others: features of the source's other cameras, which were not predicted.
    """

    key: str = CAMERA
    feature: dict[str, Any] | None = None
    size: tuple[int, int] | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceRows:
    """What the source recorded at the frames of one future.

    Attributes:
        columns: an Arrow array with a value per frame, for each of the source's features.
        recorded: per frame, whether its values are the source's own; else the last ones stand there again.
        tasks: the text of each frame.
    """

    columns: Mapping[str, Any]
    recorded: Sequence[bool]
    tasks: Sequence[str]

    def first(self, count: int) -> "SourceRows":
        """Those of the first ``count`` frames."""
        columns = {name: column.slice(0, count) for name, column in self.columns.items()}
        return SourceRows(columns, self.recorded[:count], self.tasks[:count])


@runtime_checkable
class Source(Protocol):
    """What an export takes from the source dataset.

    Attributes:
        camera: the camera that was predicted.
        features: LeRobot features of the columns that ``rows`` gives.
        numbering: LeRobot features of timestamp, frame_index and so on, as the source has them.
        robot_type: as LeRobot names it, None where nobody says.
        version: LeRobot's codebase_version, None for another layout.
    """

    camera: SourceCamera
    features: Features
    numbering: Features
    robot_type: str | None
    version: str | None

    def rows(self, episode: str, start: int, count: int) -> SourceRows:
        """What was recorded at ``count`` frames of an episode from frame ``start`` on. Raises BadInput."""
        ...


@dataclass
class TextSource:
    """A source that has texts at most. Without any it stands for a dataset that is gone."""

    texts: Mapping[str, str] = field(default_factory=dict)
    camera: SourceCamera = SourceCamera()
    features: Features = field(default_factory=dict)
    numbering: Features = field(default_factory=dict)
    robot_type: str | None = None
    version: str | None = None

    def rows(self, episode: str, start: int, count: int) -> SourceRows:
        """See Source."""
        text = self.texts.get(episode) or f"predicted future of {episode}"
        return SourceRows({}, [True] * count, [text] * count)


def numbers_of_rows(facts: Mapping[str, object], start: int, count: int) -> list[int]:
    """The source's row of each frame: an episode of a batch may begin later and take every n-th row only.

    ``facts`` is the metadata of the episode, see ``vidjacobi.datasets.clip_list.cut``.
    """
    # An episode that begins at row 10 and takes every second one: frames 3 4 5 of it are the rows 16 18 20.
    first, stride = int(str(facts.get("start", 0))), int(str(facts.get("stride", 1)))
    return [first + (start + number) * stride for number in range(count)]
