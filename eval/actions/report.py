"""Files of an evaluation of action following: results.json, .csv, .md, .tex and report.html."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vidjacobi.bench.table import markdown
from vidjacobi.errors import number_of
from vidjacobi.eval.actions.futures import ActedClip
from vidjacobi.eval.tex import TexColumn, escaped, tex_estimate, tex_tables
from vidjacobi.html_report.drawing import SERIES, blank, style, svg
from vidjacobi.html_report.page import Clip, Column, Figure, Interval, Page, Section, Table, Track, write_page
from vidjacobi.output.atomic import replacing, write_json, write_text
from vidjacobi.output.rows import spreadsheet_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

RECORD, TABLE, TEXT, LATEX, PAGE = "results.json", "results.csv", "results.md", "results.tex", "report.html"
ESTIMATES = {"r2": "R2", "r2_above_true": "R2 - true frames'", "r2_above_predicted": "R2 - predicted frames'"}
FPS = 10.0


def write_results(out: Path, results: Mapping[str, Any]) -> None:
    """All files but the page. Raises BadOutput."""
    write_json(out / RECORD, results)
    write_text(out / TABLE, spreadsheet(results["lines"]))
    write_text(out / TEXT, text(results))
    with replacing(out / LATEX) as partial:
        partial.write_text(latex(results), encoding="ascii")


def spreadsheet(lines: Sequence[Mapping[str, Any]]) -> str:
    """A row for each line; ends of intervals and the numbers of an action have columns of their own."""
    rows = []
    for line in lines:
        row: dict[str, Any] = {"frames": line["frames"], "kind": line["kind"]}
        for key in ESTIMATES:
            value = line[key] or {"mean": None, "low": None, "high": None}
            row |= {key: value["mean"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
        rows.append(row | {f"rmse_{number}": error for number, error in enumerate(line["rmse"])})
    made = io.StringIO()
    writer = csv.DictWriter(made, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)
    return made.getvalue()


def text(results: Mapping[str, Any]) -> str:
    """``results.md``."""
    head = ["frames", *ESTIMATES.values(), "RMSE of each number"]
    body = [
        [line["frames"], *(interval(line[key]) for key in ESTIMATES), numbers(line["rmse"])]
        for line in results["lines"]
    ]
    notes = [f"**{warning}**" for warning in results["warnings"]]
    said = "\n".join(f"- {words}: {'yes' if true else 'no'}" for words, true in results["verdict"].items())
    return "\n\n".join([markdown(head, body), *notes, " ".join(conventions(results)), said]) + "\n"


def interval(value: Mapping[str, Any] | None) -> str:
    """An estimate as text; empty for none."""
    if value is None:
        return ""
    if value["mean"] is None:
        return "undefined"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def numbers(values: Sequence[float]) -> str:
    """Errors as text."""
    return ", ".join(f"{value:.3g}" for value in values)


def conventions(results: Mapping[str, Any]) -> list[str]:
    """What the numbers mean, in sentences."""
    settings = results["settings"]
    return [
        f"{number_of(results['clips'], 'future')} of {number_of(results['recordings'], 'recording')}.",
        f"Actions are read off pairs of frames by a {settings['reader']} on {settings['features']}, fitted on the "
        "true frames of other recordings (5 folds): the line of the true frames is its own held-out error.",
        "R2 is averaged over the numbers of an action; 1 is perfect, 0 as good as their mean.",
        "Brackets are 95 % bootstrap intervals over recordings; differences are paired.",
    ]


def latex(results: Mapping[str, Any]) -> str:
    """``results.tex``."""
    columns = [
        TexColumn(("Frames", ""), lambda line: escaped(line["frames"]), align="l"),
        TexColumn(("$R^2$", ""), *tex_estimate("r2", 3)),
        TexColumn(("$R^2$", "$-$ true"), *tex_estimate("r2_above_true", 3)),
        TexColumn(("$R^2$", "$-$ predicted"), *tex_estimate("r2_above_predicted", 3)),
    ]
    return tex_tables(columns, results["lines"], "tab:actions", conventions(results))


def write_report(path: Path, results: Mapping[str, Any], clips: Sequence[ActedClip]) -> None:
    """Write the page. Raises BadOutput."""
    settings = results["settings"]
    page = Page(
        title=f"Actions in {Path(settings['folders'][0]).name}",
        summary=conventions(results)[0],
        facts={name: value for name, value in settings.items() if value is not None},
        warnings=results["warnings"],
        sections=[
            Section("Do predicted frames follow their actions?", [table(results), plot(results["lines"])]),
            Section("Clips", films(clips), "The first two frames are the context's last ones."),
        ],
    )
    write_page(path, page)


def table(results: Mapping[str, Any]) -> Table:
    """All lines."""
    columns = [
        Column("frames"),
        *(Column(name, "interval", 3) for name in ESTIMATES.values()),
        Column("RMSE"),
    ]
    rows = [
        [line["frames"], *(cell(line[key]) for key in ESTIMATES), numbers(line["rmse"])]
        for line in results["lines"]
    ]
    said = "; ".join(f"{words}: {'yes' if true else 'no'}" for words, true in results["verdict"].items())
    return Table(columns, rows, "Actions read off frames", " ".join(conventions(results)) + f"\n\n{said}.")


def cell(value: Mapping[str, Any] | None) -> Interval | None:
    """An estimate in a table."""
    if value is None or value["mean"] is None:
        return None
    return Interval(value["mean"], value["low"], value["high"])


def plot(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """The error over the steps after the context."""
    said = "error of the actions read off each step, in deviations of the recorded actions"
    return Figure(svg(curves(lines)), said, said.capitalize())


def curves(lines: Sequence[Mapping[str, Any]]) -> "Drawn":
    """The figure of ``plot``."""
    with style():
        figure, axis = blank("error of actions", "frames after the context")
        for index, line in enumerate(lines):
            errors = line["error_by_step"]
            dash = "--" if line["kind"] == "control" else "-"
            colour = SERIES[index % len(SERIES)]
            axis.plot(range(1, len(errors) + 1), errors, dash, color=colour, marker=".", label=line["frames"])
        figure.legend(loc="outside lower center", ncols=1)
    return figure


def films(clips: Sequence[ActedClip]) -> Iterator[Clip]:
    """True frames beside those of all batches."""
    for clip in clips:
        tracks = [Track("true", torch.from_numpy(clip.true))]
        tracks += [Track(name, torch.from_numpy(frames)) for name, frames in clip.shown.items()]
        yield Clip(f"{clip.item.episode}, frame {clip.item.start}", FPS, tracks, 2)
