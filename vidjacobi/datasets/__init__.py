"""Datasets as lazy lists of episodes. ``contract`` says what one is; a new one needs a line in ``opening``."""

from vidjacobi.datasets.contract import Entry, Episode, FrameSource, Skipped, counted, folder_name
from vidjacobi.datasets.opening import DATASETS, Dataset, detect, open_dataset, options_of

__all__ = [
    "DATASETS",
    "Dataset",
    "Entry",
    "Episode",
    "FrameSource",
    "Skipped",
    "counted",
    "detect",
    "folder_name",
    "open_dataset",
    "options_of",
]
