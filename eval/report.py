"""``report.html`` of an evaluation: the protocol, the table, plots, and clips side by side."""

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

MAPPED = 64  # window of the videos and acceptance maps, where a decoder ran at it
FPS = 10.0  # of clips that know none


def write_report(
    path: Path, measurer: Measurer, clips: Sequence[Episode], lines: Sequence[Line], about: Mapping[str, Any]
) -> None:
    """One file. ``about`` has facts, warnings and the distance's label."""
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
    """The table, which can be sorted."""
    lpips = any(line["lpips"] is not None for line in lines)
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
    """For a cell."""
    return None if value is None else Interval(value["mean"], value["low"], value["high"])


def figures(lines: Sequence[Line], label: str) -> list[Figure]:
    """NFE, latency and distance over the window."""
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
    """One decoder's values over its windows."""
    mine = [line for line in lines if line["decoder"] == name]
    points = [Point(line["window"], line[key]) for line in mine if line[key] is not None]
    return Curve(name, points, mine[0]["guarantee"] == "lossy")


def shown_windows(lines: Sequence[Line]) -> list[Name]:
    """AR, and every decoder at one window."""
    windows: dict[str, list[int]] = {}
    for line in lines:
        if line["decoder"] not in REFERENCES:
            windows.setdefault(line["decoder"], []).append(line["window"])
    return [(name, MAPPED if MAPPED in found else found[len(found) // 2]) for name, found in windows.items()]


def clip_parts(measurer: Measurer, clips: Sequence[Episode], lines: Sequence[Line]) -> Iterator[Clip]:
    """The first clips with everything that was predicted of them, one in memory at a time."""
    config = measurer.config
    for index, clip in enumerate(clips[: config.videos]):
        read = clip.frames.read(0, config.frames_needed)
        truth = as_the_model_sees(read.frames, measurer.tokenizer)
        tracks = [Track("ground truth", truth)]
        for name in shown_windows(lines):
            whole = torch.cat([truth[: config.context], measurer.predicted(name, index, read.frames)])
            tracks.append(Track(name[0], whole, "" if name[0] == AR else f"L = {name[1]}"))
        maps = acceptance_maps(measurer, lines) if index == 0 else []
        yield Clip(clip.id, clip.fps or read.fps or FPS, tracks, config.context, maps, read.notes)


def acceptance_maps(measurer: Measurer, lines: Sequence[Line]) -> list[Figure]:
    """What the bench drew of the first clip."""
    found = []
    for name, _ in shown_windows(lines):
        file = measurer.decodes / f"map_{safe_name(name)}.png"
        if file.is_file():
            alt = f"{name}: the pass that decided each token, and its redrafts"
            found.append(Figure(file.read_bytes(), alt, alt))
    return found
