"""Datasets as lazy lists of episodes. ``contract`` says what one is; a new one needs a line in ``opening``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidjacobi.datasets.contract import Entry as Entry
    from vidjacobi.datasets.contract import Episode as Episode
    from vidjacobi.datasets.contract import FrameSource as FrameSource
    from vidjacobi.datasets.contract import Skipped as Skipped
    from vidjacobi.datasets.contract import counted as counted
    from vidjacobi.datasets.contract import folder_name as folder_name
    from vidjacobi.datasets.opening import DATASETS as DATASETS
    from vidjacobi.datasets.opening import Dataset as Dataset
    from vidjacobi.datasets.opening import detect as detect
    from vidjacobi.datasets.opening import left_out as left_out
    from vidjacobi.datasets.opening import open_dataset as open_dataset
    from vidjacobi.datasets.opening import options_of as options_of

# The public names and where they live. Cameras are tensors, and the process that reads the frames of an episode
# (vidjacobi.video.reading_worker) does without torch.
_HOMES = {
    "DATASETS": "vidjacobi.datasets.opening",
    "Dataset": "vidjacobi.datasets.opening",
    "Entry": "vidjacobi.datasets.contract",
    "Episode": "vidjacobi.datasets.contract",
    "FrameSource": "vidjacobi.datasets.contract",
    "Skipped": "vidjacobi.datasets.contract",
    "counted": "vidjacobi.datasets.contract",
    "detect": "vidjacobi.datasets.opening",
    "folder_name": "vidjacobi.datasets.contract",
    "left_out": "vidjacobi.datasets.opening",
    "open_dataset": "vidjacobi.datasets.opening",
    "options_of": "vidjacobi.datasets.opening",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vidjacobi.datasets' has no attribute {name!r}")
