"""``report.html`` of a batch: throughput, passes, acceptance, futures side by side, failures."""

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from vidjacobi.batch.damage import damaged_files, is_other_video
from vidjacobi.batch.future_files import REPORT
from vidjacobi.batch.manifest import DONE, FAILED, SETTINGS, SKIPPED, ManifestRow, merged
from vidjacobi.errors import BadInput, number_of
from vidjacobi.html_report.drawing import svg
from vidjacobi.html_report.figures import histogram, throughput
from vidjacobi.html_report.page import (
    Clip,
    Column,
    Figure,
    Gallery,
    Page,
    Part,
    Section,
    Table,
    Track,
    write_page,
)
from vidjacobi.shapes import Frames
from vidjacobi.video.contact_sheet import contact_sheet
from vidjacobi.video.timed_reader import open_clip, read_frames

# settings that a report or an export is made by, and their types
NEEDED: dict[str, Any] = {
    **dict.fromkeys(("data", "dataset", "output"), str),
    **dict.fromkeys(("context", "frames", "stride"), int),
    **dict.fromkeys(("camera", "split", "clip_list"), str | None),
}
# what helps where a future's video cannot be read, or its tokens
MADE_AGAIN = "remove it and run the batch once more, and it is made again"
SEEN_TO = "run the batch once more, and it is made again"
_LISTED = 500  # failures on the page; failures.csv has all
_PAUSE = 600.0  # seconds without a row after which a run counts as stopped and resumed
_SHEET = 24  # frames of a contact sheet
_TRACKS = 4  # futures of a clip that are played


def write_report(out: Path, clips: int) -> tuple[Path, list[str]]:
    """Write ``report.html`` from the logs and settings.

    Returns its path, and which files of futures are damaged, in words. Raises BadInput, BadOutput.
    """
    settings = settings_of(out)
    rows = merged(out)
    done = [row for row in rows if row.status == DONE]
    sections = [Section("Run", run_parts(done), run_text(done))]
    chosen, unreadable = clips_to_show(out, done, clips)
    if chosen:
        text = "The first frames are the context. One contact sheet per clip, of its first future."
        sections.append(Section("Futures", clip_parts(out, chosen, settings["context"]), text))
    damaged = [f"{words}: {SEEN_TO}" for words in damaged_files(out, done)] + unreadable
    troubles = [row for row in rows if row.status != DONE]
    if troubles:
        sections.append(Section("Not predicted", [trouble_table(troubles)]))
    page = Page(
        f"Batch: {Path(settings['data']).name}",
        sections,
        summary=summary_of(rows),
        facts=facts_of(settings),
        warnings=[*warnings_of(rows), *damaged],
    )
    write_page(out / REPORT, page)
    return out / REPORT, damaged


def settings_of(out: Path) -> dict[str, Any]:
    """Settings of the batch in a folder. Raises BadInput."""
    if not (out / SETTINGS).exists():
        raise BadInput(
            f"{out} holds no batch: there is no {SETTINGS} in it; name the --out of `vidjacobi batch`"
        )
    try:
        settings: dict[str, Any] = json.loads((out / SETTINGS).read_text(encoding="utf-8"))["settings"]
        for name, kind in NEEDED.items():
            if not isinstance(settings[name], kind):
                raise TypeError(f"{name}: {settings[name]!r:.60}")
        facts_of(settings)  # all that is needed is there
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{out / SETTINGS} is damaged ({error!r:.200}): put it back, or begin anew with the batch's command and "
            "--overwrite"
        ) from error
    return settings


def summary_of(rows: Sequence[ManifestRow]) -> str:
    """How many futures are done, skipped and failed, as a sentence."""
    counts = Counter(row.status for row in rows)
    episodes = len({row.episode for row in rows if row.status == DONE})
    text = f"{number_of(counts[DONE], 'future')} of {number_of(episodes, 'episode')}"
    others = [f"{counts[status]:,} {status}" for status in (SKIPPED, FAILED) if counts[status]]
    return ", ".join([text, *others]) + "."


def facts_of(settings: dict[str, Any]) -> dict[str, object]:
    """How the futures were made: dataset, clips, model, decoder, sampling."""
    decoder = settings["decoder"]
    sampling = [f"top-p {settings['top_p']}"] + ([f"top-k {settings['top_k']}"] if settings["top_k"] else [])
    temperature = settings["temperature"] if settings["temperature"] is not None else "the decoder's own"
    return {
        "dataset": f"{settings['data']} ({settings['dataset']})",
        "clips": f"{number_of(settings['context'], 'frame')} given, {settings['frames']} predicted, "
        f"starts {settings['starts']}, "
        f"stride {settings['stride']}, short episodes: {settings['short']}",
        "model": settings["model"] + (f", actions: {settings['actions']}" if settings.get("actions") else ""),
        "decoder": f"{decoder['name']}, window {decoder['window']}, guarantee: {decoder['guarantee']}",
        "sampling": f"seed {settings['seed']}, temperature {temperature}, {', '.join(sampling)}",
        "output": settings["output"],
    }


def warnings_of(rows: Sequence[ManifestRow]) -> list[str]:
    """What the page says before everything else."""
    failed = sum(row.status == FAILED for row in rows)
    padded = sum("padded" in (row.notes or "") for row in rows)
    found = [f"{failed:,} failed: see below, and failures.csv"] if failed else []
    return found + ([f"{number_of(padded, 'future')} continue a context that was padded"] if padded else [])


def run_text(done: Sequence[ManifestRow]) -> str:
    """In how many parts it ran, where it was stopped and resumed."""
    parts = len(sittings([row.finished for row in done])) if done else 0
    return f"Run in {parts} parts; the pauses between them are left out." if parts > 1 else ""


def run_parts(done: Sequence[ManifestRow]) -> list[Part]:
    """Plots of throughput, passes, acceptance and seconds."""
    if not done:
        return []
    passes = [row.nfe for row in done if row.nfe is not None]
    lengths = [row.tokens_per_pass for row in done if row.tokens_per_pass is not None]
    seconds = [row.seconds for row in done if row.seconds is not None]
    times = without_pauses([row.finished for row in done], sum(seconds) / len(done))
    return [
        Gallery(
            [
                Figure(svg(drawn), alt)
                for drawn, alt in (
                    (throughput(times, "futures"), "futures per minute over the time of the run"),
                    (histogram("NFE: passes of a future", passes, "futures"), "histogram of NFE"),
                    (histogram("acceptance: tokens per pass", lengths, "futures"), "histogram of acceptance"),
                    (
                        histogram("seconds of decoding, shared", seconds, "futures"),
                        "histogram of seconds",
                    ),
                )
            ]
        )
    ]


def sittings(finished: Sequence[float]) -> list[list[float]]:
    """Times in order, split where nothing happened for long."""
    parts: list[list[float]] = []
    for moment in sorted(finished):
        if not parts or moment - parts[-1][-1] > _PAUSE:  # it was stopped in between
            parts.append([])
        parts[-1].append(moment)
    return parts


def without_pauses(finished: Sequence[float], before: float) -> list[float]:
    """Seconds of work until each moment; each sitting began ``before`` seconds before its first one."""
    times, worked = [], 0.0
    for part in sittings(finished):
        # the first future of a part was begun before it was finished
        times += [worked + before + moment - part[0] for moment in part]
        worked = times[-1]
    return times


def clips_to_show(
    out: Path, done: Sequence[ManifestRow], clips: int
) -> tuple[list[list[ManifestRow]], list[str]]:
    """The first clips of which a future's video can be read, as their futures; and which videos cannot, in words.

    Videos that are not those that were written are left out; ``damaged_files`` names them.
    """
    chosen: list[list[ManifestRow]] = []
    unreadable: list[str] = []
    for _, group in groupby(done, key=lambda row: (row.episode, row.start)):
        if len(chosen) == clips:
            break
        there = [row for row in group if row.video and (out / row.video).exists()]
        there = [row for row in there if not is_other_video(out, row)]
        readable = []
        for row in there:
            try:
                frames_of(out / str(row.video))
                readable.append(row)
            except BadInput as error:
                unreadable.append(f"left out: {error}: {MADE_AGAIN}")
            if len(readable) == _TRACKS:
                break
        chosen += [readable] if readable else []
    return chosen, unreadable


def clip_parts(out: Path, chosen: Sequence[Sequence[ManifestRow]], context: int) -> Iterator[Part]:
    """Clips with their futures, one in memory at a time."""
    for rows in chosen:
        first = rows[0]
        tracks = [Track(f"future {row.sample}", out / str(row.video), numbers_of(row)) for row in rows]
        notes = [note for note in [first.notes] if note]
        picture = sheet_of(frames_of(out / str(first.video)), context)
        sheet = Figure(picture, f"contact sheet of {first.episode}", "Orange: context.")
        yield Clip(f"{first.episode} from {first.start}", first.fps or 10.0, tracks, context, [sheet], notes)


def numbers_of(row: ManifestRow) -> str:
    """Text below a video."""
    passes = number_of(row.nfe or 0, "pass")
    return f"{passes}, {row.tokens_per_pass or 0:.1f} tokens a pass, {row.seconds or 0:.1f} s"


def frames_of(video: Path) -> Frames:
    """All frames of a future. Raises BadInput."""
    return read_frames(video, 0, open_clip(video).frames).frames


def sheet_of(frames: Frames, context: int) -> bytes:
    """Contact sheet of a video, as JPEG."""
    content = io.BytesIO()
    contact_sheet(frames, min(context, len(frames)), _SHEET).save(content, "JPEG", quality=88)
    return content.getvalue()


def trouble_table(rows: Sequence[ManifestRow]) -> Table:
    """What failed first, then what was skipped."""
    columns = [Column("episode"), Column("start", "number"), Column("sample", "number")]
    columns += [Column("status"), Column("reason")]
    ordered = sorted(rows, key=lambda row: (row.status != FAILED, row.episode))
    cells: list[list[Any]] = [
        [row.episode, row.start, row.sample, row.status, row.error] for row in ordered[:_LISTED]
    ]
    note = "" if len(rows) <= _LISTED else f"The first {_LISTED} of {len(rows):,}; manifest.parquet has all."
    return Table(columns, cells, "Episodes and futures without a result", note)
