"""Datasets as lazy lists of episodes. The contract is ``contract.py``; a new one is a file and a line here."""

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
