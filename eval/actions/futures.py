"""Clips of finished batches: predicted frames, the true ones, and the actions recorded between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vidjacobi.batch.manifest import DONE, Item, ManifestRow, merged
from vidjacobi.batch.report import settings_of
from vidjacobi.batch.settings import BatchConfig
from vidjacobi.batch.workers import listing
from vidjacobi.datasets.contract import Episode
from vidjacobi.errors import BadInput, InvalidArgument, VidjacobiError, number_of
from vidjacobi.eval.actions.readers import Actions, Clip
from vidjacobi.export.opening import open_source
from vidjacobi.export.source import Source
from vidjacobi.models.codec import as_seen, fit
from vidjacobi.video.timed_reader import read_frames

SAME = ("data", "dataset", "camera", "split", "stride", "clip_list", "context", "frames")
COLUMN = "action"  # of a LeRobot dataset


@dataclass(frozen=True)
class ActedClip:
    """One future. All frames begin with the last two of the context, the last one twice where there is one only.

    Attributes:
        item: of the batch; its episode is the recording.
        true: the context's last two frames and those that really followed.
        actions: recorded, from the context's last frame on; a row for each frame that follows.
        shown: of each batch, by its folder's name, the predicted frames behind the same two.
        fed: the actions that they were made with; None where the model was told none.
    """

    item: Item
    true: Clip
    actions: Actions
    shown: Mapping[str, UInt8[np.ndarray, "t h w 3"]]
    fed: Mapping[str, Float[np.ndarray, "n k"] | None]


@dataclass(frozen=True)
class Batch:
    """A finished batch.

    Attributes:
        name: of its folder, distinct among those compared.
        choice: which actions its model was told: dataset, shuffled, zero; empty: none.
    """

    path: Path
    name: str
    settings: Mapping[str, Any]
    rows: Mapping[Item, ManifestRow]

    @property
    def choice(self) -> str:
        """See the class."""
        return str(self.settings.get("actions") or "")


def open_batches(folders: Sequence[Path]) -> list[Batch]:
    """The batches in some folders, the first of which is judged.

    Raises BadInput for a folder without a batch or without pictures, InvalidArgument for batches of other clips.
    """
    found: list[Batch] = []
    for folder in folders:
        settings = settings_of(folder)
        if settings["output"] == "tokens":
            raise BadInput(f"{folder}: this batch kept tokens only: run it with --output frames (or videos)")
        rows = {row.item: row for row in merged(folder) if row.status == DONE and row.video is not None}
        if not rows:
            raise BadInput(f"{folder}: no future is finished yet")
        name = folder.resolve().name
        if name in (batch.name for batch in found):
            name = str(folder)
        found.append(Batch(folder, name, settings, rows))
    first = found[0]
    if first.choice not in ("", "dataset"):
        raise InvalidArgument(
            f"{first.path} was made with --actions {first.choice}: the batch that is judged comes first, made with "
            "the dataset's actions"
        )
    for batch in found[1:]:
        other = [key for key in SAME if batch.settings.get(key) != first.settings.get(key)]
        if other:
            raise InvalidArgument(
                f"{batch.path} and {first.path} differ in {', '.join(other)}: compare equal clips"
            )
    return found


def clips_of(
    batches: Sequence[Batch], moved: Path | None, column: str | None, most: int | None
) -> tuple[list[ActedClip], list[str]]:
    """The futures that all batches have, with truth and actions, and notes on those that are left out.

    Args:
        moved: where the dataset lies now; None: where it lay.
        column: of the actions, of a LeRobot dataset; None: ``action``, or those that the batch kept as it fed them.
        most: futures at most.

    Raises BadInput where there are none, the dataset has no such column, or one is named and the batch kept others.
    """
    first = batches[0]
    shared = [item for item in first.rows if all(item in batch.rows for batch in batches)]
    notes = []
    if len(shared) < len(first.rows):
        notes.append(f"{len(first.rows) - len(shared)} of {len(first.rows)} futures are not in every folder")
    # First the sample 0 of every clip: with ``most`` as many recordings as possible are among those that are left.
    wanted = sorted(shared, key=lambda item: (item.sample or 0, item.episode, item.start or 0))[:most]
    episodes, source = sources(first, wanted, moved)
    found: list[ActedClip] = []
    short: list[str] = []
    for item in wanted:
        try:
            found.append(clip_of(item, batches, episodes[item.episode], source, column))
        except TooShort as error:
            short.append(str(error))
    if short:
        notes.append(f"{number_of(len(short), 'future')} left out; the first: {short[0]}")
    if not found:
        raise BadInput("; ".join([f"{first.path}: no future has true frames to compare with", *notes]))
    return found, notes


class TooShort(Exception):
    """A recording that ends before a future does: that is no fault of the dataset."""


def sources(batch: Batch, items: Sequence[Item], moved: Path | None) -> tuple[dict[str, Episode], Source]:
    """The episodes of the dataset that were predicted, and what is recorded beside their pictures."""
    settings, wanted = batch.settings, {item.episode for item in items}
    source = open_source(settings, wanted, moved)  # says what is missing and what to do
    options = {name: settings[name] for name in ("camera", "split", "stride", "clip_list")}
    entries = listing(BatchConfig(str(moved or settings["data"]), settings["dataset"], **options))
    return {entry.id: entry for entry in entries if entry.id in wanted and isinstance(entry, Episode)}, source


def clip_of(
    item: Item, batches: Sequence[Batch], episode: Episode, source: Source, column: str | None
) -> ActedClip:
    """One future. Raises TooShort, BadInput."""
    settings, start = batches[0].settings, item.start or 0
    context, frames = int(settings["context"]), int(settings["frames"])
    begin = max(0, context - 2)
    shown, fed = {}, {}
    for batch in batches:
        film = read_frames(batch.path / str(batch.rows[item].video), 0, context + frames).frames.numpy()
        shown[batch.name] = padded(film[begin:], context)
        given = fed_in(batch.path / str(batch.rows[item].tokens))
        # Row 8 leads from frame 8, the last of 9 given ones, to the first predicted one.
        fed[batch.name] = None if given is None else given[context - 1 :][:frames]
    size = next(iter(shown.values())).shape[1:3]
    try:
        truth = episode.frames.read(start + begin, context + frames - begin).frames
    except BadInput as error:
        if episode.frames.count() < start + context + frames:
            raise TooShort(f"{item.episode} ends {context + frames} frames after {start}") from error
        raise
    true = padded(as_seen(fit(truth, (int(size[0]), int(size[1])))).numpy(), context)
    own = fed[batches[0].name]
    if own is None:
        own = recorded(source, item, start + context - 1, frames, column or COLUMN)
    elif column is not None:
        raise BadInput(
            f"{batches[0].path} was fed actions, and these are what its frames are compared with: leave --column out"
        )
    return ActedClip(item, true, np.asarray(own, float), shown, fed)


def padded(frames: Clip, context: int) -> Clip:
    """With two frames of context, the only one twice."""
    return frames if context > 1 else np.concatenate([frames[:1], frames])


def recorded(source: Source, item: Item, first: int, count: int, column: str) -> Actions:
    """The rows of a LeRobot dataset's column at some frames. Raises BadInput, TooShort."""
    if column not in source.features:
        there = ", ".join(source.features) or "none"
        raise BadInput(
            f"the dataset has no column {column!r} (it has {there}): name another with --column, or make the batch "
            "with --actions dataset"
        )
    rows = source.rows(item.episode, first, count)
    if not all(rows.recorded):
        raise TooShort(f"{item.episode} has no actions up to the last predicted frame")
    try:
        found = np.array(rows.columns[column].to_pylist(), float)
    except (TypeError, ValueError) as error:
        raise BadInput(f"the column {column!r} of {item.episode} holds no numbers: {error}") from error
    found = found.reshape(count, -1)
    if not np.isfinite(found).all():
        raise BadInput(f"the column {column!r} of {item.episode} holds numbers that are not finite")
    return found


def fed_in(path: Path) -> Float[np.ndarray, "n k"] | None:
    """The actions in the npz of a future; None where its model was told none. Raises BadInput."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return np.asarray(content["actions"], float) if "actions" in content else None
    except VidjacobiError:
        raise
    except Exception as error:  # damaged bytes make zip, zlib and numpy raise nearly anything
        raise BadInput(f"{path} is damaged ({error!r:.200})") from error
