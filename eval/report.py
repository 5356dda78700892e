"""``report.html`` of an evaluation: the protocol, the table, plots, and the clips of all decoders side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vidjacobi.bench.decode_rows import AR
from vidjacobi.datasets.contract import Episode
from vidjacobi.errors import number_of
from vidjacobi.eval import captions
from vidjacobi.eval.measure import Measurer, Name
from vidjacobi.eval.plots import Plot
from vidjacobi.eval.prediction import REFERENCES, as_the_model_sees
from vidjacobi.eval.results import Line, mean_psnr, shows_lpips
from vidjacobi.html_report.drawing import svg
from vidjacobi.html_report.page import (
    Clip,
    Column,
    Figure,
    Gallery,
    Interval,
    Page,
    Section,
    Table,
    Track,
    write_page,
)
from vidjacobi.output.run_folder import safe_name

MAPPED = 64  # window of a decoder's videos and acceptance map, if it ran at this window
FPS = 10.0  # rate of clips that do not say theirs


def write_report(
    path: Path,
    measurer: Measurer,
    clips: Sequence[Episode],
    lines: Sequence[Line],
    drawn: Sequence[Plot],
    about: Mapping[str, Any],
) -> None:
    """Write the report. ``about`` holds facts, warnings, conventions and the label of the distance."""
    page = Page(
        title=f"{measurer.config.dataset}: {measurer.config.model}",
        summary=f"{number_of(len(clips), 'clip')}, {number_of(measurer.config.context, 'frame')} "
        f"given, {measurer.config.frames} predicted.",
        facts=about["facts"],
        warnings=about["warnings"],
        sections=[
            Section("Decoders", [result_table(lines, about), Gallery(figures(drawn))]),
            Section("Clips", clip_parts(measurer, clips, lines), "Context frames are marked."),
        ],
    )
    write_page(path, page)


def result_table(lines: Sequence[Line], about: Mapping[str, Any]) -> Table:
    """The table of results, with everything that its numbers mean below."""
    label, lpips = about["label"], shows_lpips(lines)
    # "interval" columns are sorted by their means
    columns = [
        *(Column("decoder"), Column("guarantee"), Column("L", "number"), Column("NFE", "number", 1)),
        *(Column("x fewer", "interval"), Column("latency [s]", "number", 2), Column("x faster", "interval")),
        *(Column(label, "number", 1), Column(f"{label} \N{MINUS SIGN} AR's", "interval", 1)),
        *(Column("PSNR [dB]", "number"), Column("SSIM", "number", 3), Column("AR's tokens [%]", "number", 1)),
        *([Column("LPIPS", "number", 3)] if lpips else []),
    ]
    rows = [
        [
            *(line["decoder"], line["guarantee"], line["window"], line["passes"]),
            *(interval(line["fewer_passes"]), line["seconds"], interval(line["faster"])),
            *(line["fvd"], interval(line["fvd_above_ar"]), mean_psnr(line), line["ssim"]),
            None if line["ar_agreement"] is None else 100 * line["ar_agreement"],
            *([line["lpips"]] if lpips else []),
        ]
        for line in lines
    ]
    meanings = " ".join([captions.references(), *about["conventions"]])
    note = f"{captions.against_ar(lines, label)}\n\n{meanings}"
    return Table(columns, rows, "Every decoder at every window", note)


def interval(value: Mapping[str, Any] | None) -> Interval | None:
    """An interval as the cell of a table."""
    return None if value is None else Interval(value["mean"], value["low"], value["high"])


def figures(drawn: Sequence[Plot]) -> list[Figure]:
    """The plots with the page's colours."""
    return [Figure(svg(plot.figure), plot.alt, plot.caption) for plot in drawn]


def shown_windows(lines: Sequence[Line]) -> list[Name]:
    """Every decoder, AR too, at one of its windows: MAPPED or, without it, the middle one."""
    windows: dict[str, list[int]] = {}
    for line in lines:
        if line["decoder"] not in REFERENCES:
            windows.setdefault(line["decoder"], []).append(line["window"])
    return [(name, MAPPED if MAPPED in found else found[len(found) // 2]) for name, found in windows.items()]


def clip_parts(measurer: Measurer, clips: Sequence[Episode], lines: Sequence[Line]) -> Iterator[Clip]:
    """The first clips with all predictions. It is a generator, so only one clip's frames are in memory at a time."""
    config = measurer.config
    for index, clip in enumerate(clips[: config.videos]):
        read = clip.frames.read(0, config.frames_needed)
        truth = as_the_model_sees(read.frames, measurer.tokenizer)
        # All tracks have the context, so that they play in step.
        tracks = [Track("ground truth", truth)]
        for name in shown_windows(lines):
            whole = torch.cat([truth[: config.context], measurer.predicted(name, index, read.frames)])
            tracks.append(Track(name[0], whole, "" if name[0] == AR else f"L = {name[1]}"))
        maps = acceptance_maps(measurer, lines) if index == 0 else []
        yield Clip(clip.id, clip.fps or read.fps or FPS, tracks, config.context, maps, read.notes)


def acceptance_maps(measurer: Measurer, lines: Sequence[Line]) -> list[Figure]:
    """The acceptance maps that the bench drew of the first clip."""
    found = []
    for name, _ in shown_windows(lines):
        file = measurer.decodes / f"map_{safe_name(name)}.png"
        if file.is_file():
            alt = f"{name}: the pass that decided each token, and its redrafts"
            found.append(Figure(file.read_bytes(), alt, alt))
    return found
