"""``report.html`` of an evaluation of policies: tables, a plot, and the true world beside the model's."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vidjacobi.errors import number_of
from vidjacobi.eval.policies.playing import Episodes
from vidjacobi.eval.policies.results import conventions
from vidjacobi.eval.policies.worlds import BROKEN, MODEL, TRUE
from vidjacobi.html_report.drawing import SERIES, SOFT, blank, style, svg
from vidjacobi.html_report.page import Clip, Column, Figure, Interval, Page, Section, Table, Track, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

FPS = 5.0  # a frame is a fifth of a second of the simulator
SHOWN_AS = {TRUE: "true simulator", MODEL: "model"}
Found = Mapping[str, Mapping[str, Episodes]]


def write_report(path: Path, results: Mapping[str, Any], found: Found) -> None:
    """Write the page. Raises BadOutput."""
    settings = results["settings"]
    broken = [rank["world"] for rank in results["ranks"] if rank["broken"] and rank["meets_bar"]]
    page = Page(
        title=f"Policies in {settings['model']}",
        summary=f"{len(results['policies'])} policies, "
        f"{number_of(settings['starts'], 'start')}, {number_of(settings['frames'], 'frame')} each.",
        facts={name: value for name, value in settings.items() if not isinstance(value, list | tuple)},
        warnings=[
            *results["warnings"],
            *(
                f"the world {world!r}, broken on purpose, meets the bar: this ranking says nothing"
                for world in broken
            ),
        ],
        sections=[
            Section("Do they rank alike?", [rank_table(results), policy_table(results), plot(results)]),
            Section("Episodes", clips(found), "The first frame is that of the start."),
        ],
    )
    write_page(path, page)


def rank_table(results: Mapping[str, Any]) -> Table:
    """Correlations of each world with the true one."""
    rows = [
        [
            rank["world"] + " (broken on purpose)" * rank["broken"],
            cell(rank["spearman"]),
            cell(rank["pearson"]),
            "met" if rank["meets_bar"] else "missed",
        ]
        for rank in results["ranks"]
    ]
    columns = [Column("world"), Column("Spearman", "interval"), Column("Pearson", "interval"), Column("bar")]
    return Table(columns, rows, f"Agreement with the true world (bar: Spearman >= {results['bar']})")


def policy_table(results: Mapping[str, Any]) -> Table:
    """Coverage of each policy in each world."""
    names = list(results["policies"][0]["worlds"])
    columns = [
        Column("policy"),
        *(Column(name, "interval", 3) for name in names),
        Column("model \N{MINUS SIGN} true", "interval", 3),
        Column("T melted in the model [%]", "number", 1),
        Column("agent lost there [%]", "number", 1),
    ]
    rows = [
        [
            line["policy"],
            *(cell(line["worlds"][name]["largest"]) for name in names),
            cell(line["bias"]),
            100 * line["worlds"][MODEL]["melted"],
            100 * line["worlds"][MODEL]["agent_lost"],
        ]
        for line in results["policies"]
    ]
    return Table(columns, rows, "Mean of the largest coverage", " ".join(conventions(results)))


def cell(value: Mapping[str, Any]) -> Interval | None:
    """An estimate in a table; None where it is not defined."""
    return None if value["mean"] is None else Interval(value["mean"], value["low"], value["high"])


def plot(results: Mapping[str, Any]) -> Figure:
    """The model's coverage over the true one, a mark for each policy."""
    said = "mean of the largest coverage of each policy, in the model over in the simulator"
    return Figure(
        svg(scatter(results)), said, f"{said}; bars are 95 % intervals over the starts".capitalize()
    )


def scatter(results: Mapping[str, Any]) -> "Drawn":
    """The figure of ``plot``."""
    with style():
        figure, axis = blank("in the model", "in the simulator")
        points = [
            (line, *(line["worlds"][name]["largest"] for name in (TRUE, MODEL)))
            for line in results["policies"]
        ]
        top = max(max(true["high"], own["high"]) for _, true, own in points)
        axis.plot([0, top], [0, top], color=SOFT, linewidth=0.8)
        for index, (line, true, own) in enumerate(points):
            colour = SERIES[index % len(SERIES)]
            axis.plot([true["low"], true["high"]], [own["mean"]] * 2, color=colour, linewidth=1.2)
            axis.plot([true["mean"]] * 2, [own["low"], own["high"]], color=colour, linewidth=1.2)
            axis.plot([true["mean"]], [own["mean"]], "o", color=colour, label=line["policy"])
        axis.legend(loc="upper left")  # names beside the marks would lie over one another
    return figure


def clips(found: Found) -> Iterator[Clip]:
    """Every policy from the first starts, all worlds side by side, the true one first."""
    for policy in found[TRUE]:
        for start in range(len(found[TRUE][policy].frames)):
            tracks = [
                Track(
                    SHOWN_AS.get(world, world),
                    torch.from_numpy(own[policy].frames[start]),
                    f"coverage up to {own[policy].best[start]:.2f}"
                    + ("; broken on purpose" if world in BROKEN else ""),
                )
                for world, own in found.items()
            ]
            yield Clip(f"{policy}, start {start}", FPS, tracks, 1)
