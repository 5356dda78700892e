"""A finished batch as a LeRobot v3.0 dataset: every future is an episode that begins with its context.

Where the batch was made of a LeRobot dataset, the futures keep its features: the camera's key, size and codec, the
task texts, and what was recorded in the same frames (``observation.state``, ``action`` and so on). In predicted
frames these are the numbers of the recording, of which the model was told nothing: ``predicted`` is 1 there. A batch
with ``--actions`` has in ``action`` what the model was told. Where a future reaches beyond the recording, its last
numbers stand there again, and ``recorded`` is 0; in a set without that mark the future ends with the recording.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vidjacobi.batch.damage import damaged_files
from vidjacobi.batch.manifest import DONE, ManifestRow, merged
from vidjacobi.batch.report import MADE_AGAIN, SEEN_TO, settings_of
from vidjacobi.errors import BadInput, BadOutput, number_of
from vidjacobi.export.fed_columns import fed_features, fed_in, with_fed
from vidjacobi.export.layout import SetLayout, layout_of
from vidjacobi.export.opening import open_source
from vidjacobi.export.source import MARKS, Source, TextSource
from vidjacobi.export.statistics import colour_counts, number_statistics, picture_statistics
from vidjacobi.export.tables import (
    TABLE,
    ExportedEpisode,
    GrowingTable,
    info_json,
    numbering,
    write_episodes,
    write_tasks,
)
from vidjacobi.export.videos import VideoFormat, picture_column, put_back
from vidjacobi.output.atomic import replacing_folder, write_json
from vidjacobi.video.records import ClipInfo
from vidjacobi.video.timed_reader import open_clip, read_frames

LOOKED_AT = 3  # frames of an episode that the pictures' statistics are taken from


@dataclass(frozen=True)
class ExportChoice:
    """What may be chosen.

    Attributes:
        source: where the batch's dataset lies now; None: where it lay.
        pictures_only: leave texts and numbers of the source out, and do not open it.
        size: a key of ``vidjacobi.export.layout.SIZES``.
        same_features: only features that a LeRobot source has itself, so that lerobot merges both sets.
    """

    source: Path | None = None
    pictures_only: bool = False
    size: str = "source"
    same_features: bool = False


def export_lerobot(
    out: Path, destination: Path, choice: ExportChoice | None = None
) -> tuple[dict[str, int], list[str]]:
    """Write the finished futures of the batch in ``out`` to the new folder ``destination``, whole or not at all.

    Returns the numbers of episodes, frames and tasks, and notes on the set. Raises BadInput if the batch kept no
    videos, a file is missing or damaged, they differ in rate or size, or the source is gone; BadOutput if
    ``destination`` exists or cannot be written; InvalidArgument for a choice that does not fit.
    """
    choice, settings = choice or ExportChoice(), settings_of(out)
    if settings["output"] != "videos":
        raise BadInput(f"{out}: this batch kept {settings['output']}, and LeRobot needs --output videos")
    if destination.exists():
        raise BadOutput(f"{destination} exists: give another folder")
    rows = [row for row in merged(out) if row.status == DONE]
    if not rows:
        raise BadInput(f"{out}: no future is finished yet")
    if damaged := damaged_files(out, rows):
        more = f" (and {number_of(len(damaged) - 1, 'other')})" if len(damaged) > 1 else ""
        raise BadInput(f"{damaged[0]}{more}: {SEEN_TO}")
    infos = [info_of(out, row) for row in rows]
    shared = format_of(infos)
    source: Source = TextSource()
    if not choice.pictures_only:
        source = open_source(settings, {row.episode for row in rows}, choice.source)
    fed = fed_features(out, rows, source.features)
    layout = layout_of(source, shared, choice.size, choice.same_features, fed)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(destination) as folder:
        writer = SetWriter(folder, layout, source, settings["context"], out)
        episodes = writer.write(rows, infos)
        totals = writer.finish(episodes)
    return totals, writer.notes(int(settings["stride"]))


def info_of(out: Path, row: ManifestRow) -> ClipInfo:
    """What is known of a future's video. Raises BadInput where it is missing."""
    path = out / str(row.video)
    if not path.is_file():
        raise BadInput(f"{path} is missing: {SEEN_TO}")
    try:
        return open_clip(path)
    except BadInput as error:
        raise BadInput(f"{error}: {MADE_AGAIN}") from error


def format_of(infos: Sequence[ClipInfo]) -> VideoFormat:
    """Rate and size of all videos. Raises BadInput where they differ or the rate is no whole number."""
    first = infos[0]
    for info in infos:
        if (info.fps, info.height, info.width) != (first.fps, first.height, first.width):
            raise BadInput(
                f"{info.source}: {info.width}x{info.height} at {float(info.fps):g} fps, but {first.source} "
                f"has {first.width}x{first.height} at {float(first.fps):g}: a LeRobot dataset has one rate "
                "and size; make a batch for each"
            )
    if first.fps.denominator != 1:
        raise BadInput(f"{first.source}: {float(first.fps):g} fps, and LeRobot takes whole numbers only")
    return VideoFormat(int(first.fps), first.height, first.width)


class SetWriter:
    """Writes the futures into a folder one by one, and at the end what is known of all of them.

    Args:
        context: how many frames of each future were given and not predicted.
        out: the batch's folder, where the actions fed lie.
    """

    def __init__(self, folder: Path, layout: SetLayout, source: Source, context: int, out: Path) -> None:
        self._folder, self._layout, self._source = folder, layout, source
        self._context, self._out = context, out
        self._texts: dict[str, int] = {}
        self._numbers: dict[str, list[np.ndarray]] = {}
        self._colours, self._looked = np.zeros((3, 256), np.int64), 0
        self._unrecorded = 0

    def write(self, rows: Sequence[ManifestRow], infos: Sequence[ClipInfo]) -> list[ExportedEpisode]:
        """Write pictures and numbers of all futures. Raises BadInput, BadOutput."""
        layout = self._layout
        episodes: list[ExportedEpisode] = []
        first = 0
        with (
            layout.pictures(self._folder) as pictures,
            GrowingTable(self._folder / "data" / TABLE) as table,
            tqdm(total=len(rows), desc="futures", unit="", disable=None, leave=False) as bar,
        ):
            for number, (row, info) in enumerate(zip(rows, infos, strict=True)):
                told = self._source.rows(row.episode, row.start or 0, info.frames)
                told = with_fed(told, fed_in(self._out, row))
                self._unrecorded += info.frames - sum(told.recorded)
                if not layout.marks:  # nothing would tell repeated numbers from recorded ones
                    told = told.first(sum(told.recorded))
                frames = read_frames(info.source, 0, len(told.recorded)).frames
                if layout.codec is not None:
                    frames = put_back(frames, (layout.video.height, layout.video.width))
                place = pictures.add(Path(info.source), frames)
                tasks = [self._texts.setdefault(text, len(self._texts)) for text in told.tasks]
                columns = {**told.columns, **numbering(number, first, layout.video.fps, tasks)}
                shown = {} if place else {layout.camera: picture_column(frames)}
                if layout.marks:
                    columns["predicted"] = np.arange(len(frames)) >= self._context
                    columns["recorded"] = np.array(told.recorded)
                    columns |= {name: columns[name].astype(np.int64) for name in MARKS}
                table.add({**shown, **columns})
                statistics = self._look(frames.numpy(), columns)
                texts = list(dict.fromkeys(told.tasks))
                episodes.append(
                    ExportedEpisode(row, number, first, len(frames), self._context, place, texts, statistics)
                )
                first += len(frames)
                bar.update()
        return episodes

    def finish(self, episodes: Sequence[ExportedEpisode]) -> dict[str, int]:
        """Write meta/; the numbers of episodes, frames and tasks."""
        layout, meta = self._layout, self._folder / "meta"
        totals = {"episodes": len(episodes), "frames": sum(episode.length for episode in episodes)}
        totals["tasks"] = len(self._texts)
        write_episodes(meta / "episodes" / TABLE, episodes, layout.camera, layout.video.fps)
        write_tasks(meta / "tasks.parquet", list(self._texts))
        whole = {name: number_statistics(np.concatenate(parts)) for name, parts in self._numbers.items()}
        whole[layout.camera] = picture_statistics(self._colours, self._looked)
        write_json(meta / "stats.json", whole, indent=4)
        info = info_json(layout.video.fps, layout.features, totals, self._source.robot_type)
        write_json(meta / "info.json", info, indent=4)
        return totals

    def notes(self, stride: int) -> list[str]:
        """What is worth knowing about the set. ``stride`` is the batch's."""
        found = [] if self._layout.marks else self._layout.notes(self._source, stride)
        if self._unrecorded:
            told = "have the last state and action again, and `recorded` is 0 there"
            found.append(
                f"{self._unrecorded:,} frames behind the end of the recording "
                f"{told if self._layout.marks else 'are left out'}"
            )
        return found

    def _look(self, frames: np.ndarray, columns: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Statistics of one episode, and what those of all are made of."""
        picked = frames[:: max(1, len(frames) // LOOKED_AT)]
        counts = colour_counts(picked)
        self._colours, self._looked = self._colours + counts, self._looked + len(picked)
        found = {self._layout.camera: picture_statistics(counts, len(picked))}
        for name, column in columns.items():
            values = column if isinstance(column, np.ndarray) else np.array(column.to_pylist())
            if values.dtype.kind in "biuf":  # texts have no statistics
                self._numbers.setdefault(name, []).append(values)
                found[name] = number_statistics(values)
        return found
