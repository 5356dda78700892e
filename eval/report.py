"""``report.html`` of an evaluation: the protocol, the table, plots, and the clips of all decoders side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vidjacobi.bench.decode_rows import AR
from vidjacobi.datasets.contract import Episode
from vidjacobi.eval.measure import Measurer, Name
from vidjacobi.eval.prediction import REFERENCES, as_the_model_sees
from vidjacobi.eval.results import Line
from vidjacobi.html_report.figures import Curve, Point, ReferenceLevel, over_window
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
from vidjacobi.output.names import safe_name

MAPPED = 64  # window of a decoder's videos and acceptance map, if it ran at this window
FPS = 10.0  # rate of clips that do not say theirs


def write_report(
    path: Path, measurer: Measurer, clips: Sequence[Episode], lines: Sequence[Line], about: Mapping[str, Any]
) -> None:
    """Write the report. ``about`` holds facts, warnings and the label of the distance."""
    label = about["label"]
    page = Page(
        title=f"{measurer.config.dataset}: {measurer.config.model}",
        summary=f"{len(clips)} clips, {measurer.config.context} frames given, {measurer.config.frames} predicted.",
        facts=about["facts"],
        warnings=about["warnings"],
        sections=[
            Section("Decoders", [result_table(lines, label), Gallery(figures(lines, label))]),
            Section("Clips", clip_parts(measurer, clips, lines), "Context frames are marked."),
        ],
    )
    write_page(path, page)


def result_table(lines: Sequence[Line], label: str) -> Table:
    """The table of results."""
    lpips = any(line["lpips"] is not None for line in lines)
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
            *(line["fvd"], interval(line["fvd_above_ar"]), line["psnr"], line["ssim"]),
            None if line["ar_agreement"] is None else 100 * line["ar_agreement"],
            *([line["lpips"]] if lpips else []),
        ]
        for line in lines
    ]
    references = "; ".join(f"{name}: {meaning}" for name, meaning in REFERENCES.items())
    note = f"Intervals are 95 %, over clips. L: positions per pass. {references}."
    return Table(columns, rows, "Every decoder at every window", note)


def interval(value: Mapping[str, Any] | None) -> Interval | None:
    """An interval as the cell of a table."""
    return None if value is None else Interval(value["mean"], value["low"], value["high"])


def figures(lines: Sequence[Line], label: str) -> list[Figure]:
    """The plots of NFE, latency and distance over the window."""
    names = [
        name for name in dict.fromkeys(line["decoder"] for line in lines) if name not in (AR, *REFERENCES)
    ]
    found = []
    for key, text, log in (("passes", "NFE", True), ("seconds", "latency [s]", True), ("fvd", label, False)):
        curves = [curve(lines, name, key) for name in names]
        levels = [
            ReferenceLevel(line["decoder"], line[key])
            for line in lines
            if line["decoder"] in (AR, *REFERENCES) and line[key] is not None
        ]
        alt = f"{text} over the window, one line per decoder"
        found.append(Figure(over_window(text, curves, levels, log), alt))
    return found


def curve(lines: Sequence[Line], name: str, key: str) -> Curve:
    """The values of one decoder over its windows."""
    mine = [line for line in lines if line["decoder"] == name]
    points = [Point(line["window"], line[key]) for line in mine if line[key] is not None]
    return Curve(name, points, mine[0]["guarantee"] == "lossy")


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
