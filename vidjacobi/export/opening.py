"""Which source a batch's dataset is for an export, and the episodes of it that were predicted."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vidjacobi.batch.settings import BatchConfig
from vidjacobi.batch.workers import listing
from vidjacobi.datasets.contract import Episode
from vidjacobi.datasets.opening import detect
from vidjacobi.errors import BadInput, VidjacobiError
from vidjacobi.export.bridge_source import BridgeSource
from vidjacobi.export.lerobot_source import LeRobotSource
from vidjacobi.export.source import Source, TextSource

# layout of a dataset -> (root, the predicted episodes) -> source; any other layout has texts at most
SOURCES: dict[str, Callable[[Path, Mapping[str, Episode]], Source]] = {
    "lerobot": LeRobotSource,
    "bridge": BridgeSource,
}


def open_source(settings: Mapping[str, Any], wanted: set[str], moved: Path | None) -> Source:
    """The source of a batch with these settings.

    Args:
        wanted: ids of the episodes that were predicted.
        moved: where the dataset lies now, None for where it lay.

    Raises BadInput where the dataset or one of the episodes is not there any more.
    """
    path = moved or Path(settings["data"])
    advice = (
        "give --source DIR if it lies elsewhere now, or --pictures-only to leave its texts and numbers out"
    )
    options = {name: settings[name] for name in ("camera", "split", "stride", "clip_list")}
    try:
        entries = listing(BatchConfig(str(path), settings["dataset"], **options))
        there = {entry.id: entry for entry in entries if entry.id in wanted and isinstance(entry, Episode)}
    except VidjacobiError as error:
        raise BadInput(f"the dataset of this batch cannot be opened: {error}; {advice}") from error
    gone = sorted(wanted - set(there))
    if gone:
        raise BadInput(
            f"{path}: {len(gone)} of the predicted episodes, {gone[0]} first, cannot be read; {advice}"
        )
    layout = settings["dataset"] if settings["dataset"] != "auto" else detect(path)
    if layout in SOURCES:
        return SOURCES[layout](path, there)
    texts = {
        name: str(episode.metadata["text"]) for name, episode in there.items() if "text" in episode.metadata
    }
    return TextSource(texts)
