"""Numbers of an evaluation of policies, and its files: results.json, results.csv, results.md, results.tex."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidjacobi.bench.table import markdown
from vidjacobi.errors import number_of
from vidjacobi.eval.policies.playing import Episodes
from vidjacobi.eval.policies.ranks import BAR, Best, agreement, ceiling, mean_of
from vidjacobi.eval.policies.worlds import BROKEN, MODEL, TRUE
from vidjacobi.eval.tex import TexColumn, escaped, tex_estimate, tex_number, tex_tables
from vidjacobi.output.atomic import replacing, write_json, write_text
from vidjacobi.output.rows import spreadsheet_cell
from vidjacobi.runtime import versions

FEW_POLICIES, FEW_STARTS = 6, 20  # from which on a ranking is worth telling
RECORD, TABLE, TEXT, LATEX = "results.json", "results.csv", "results.md", "results.tex"


def results_of(found: Mapping[str, Mapping[str, Episodes]]) -> dict[str, Any]:
    """``policies``: a line each, ``ranks``: a line for each world but the true one, ``ceiling``, ``verdict``.

    Args:
        found: world -> policy -> its episodes, all worlds with the same policies in the same order.
    """
    best = {world: best_of(own) for world, own in found.items()}
    ranks = [
        {"world": world, "broken": world in BROKEN, **agreement(best[TRUE], own).to_json()}
        for world, own in best.items()
        if world != TRUE
    ]
    return {
        "policies": [line_of(policy, found) for policy in found[TRUE]],
        "ranks": ranks,
        "ceiling": ceiling(best[TRUE]),
        "bar": BAR,
        "verdict": {
            "the model meets the bar": all(rank["meets_bar"] for rank in ranks if not rank["broken"]),
            "the broken worlds miss it": not any(rank["meets_bar"] for rank in ranks if rank["broken"]),
        },
        "warnings": warnings_for(*best[TRUE].shape),
        "versions": versions(),
    }


def warnings_for(policies: int, starts: int) -> list[str]:
    """What to beware of."""
    found = []
    if policies < FEW_POLICIES:
        found.append(f"a rank correlation of {policies} policies says little: take {FEW_POLICIES} or more")
    if starts < FEW_STARTS:
        found.append(f"{starts} starts are few: take {FEW_STARTS} or more")
    return found


def best_of(own: Mapping[str, Episodes]) -> Best:
    """The largest coverage of each episode, a row for each policy."""
    return np.stack([episodes.best for episodes in own.values()])


def line_of(policy: str, found: Mapping[str, Mapping[str, Episodes]]) -> dict[str, Any]:
    """One policy: of every world the mean of the largest coverage, the last coverage, and what was drawn badly."""
    own = {world: episodes[policy] for world, episodes in found.items()}
    worlds = {
        world: {
            "largest": mean_of(episodes.best).to_json(),
            "last": mean_or_none(episodes.coverage[:, -1]),
            "melted": episodes.melted,
            "agent_lost": episodes.lost,
        }
        for world, episodes in own.items()
    }
    return {
        "policy": policy,
        "worlds": worlds,
        "bias": mean_of(own[MODEL].best - own[TRUE].best).to_json(),  # paired: the same starts
    }


def mean_or_none(values: np.ndarray) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def write_results(out: Path, results: Mapping[str, Any]) -> None:
    """All files but the page. Raises BadOutput."""
    write_json(out / RECORD, results)
    write_csv(out / TABLE, results)
    write_text(out / TEXT, text(results))
    with replacing(out / LATEX) as partial:
        partial.write_text(latex(results), encoding="ascii")


def write_csv(path: Path, results: Mapping[str, Any]) -> None:
    """A row for each policy and world."""
    rows = [
        {"policy": line["policy"], "world": world, **numbers["largest"], **last_of(numbers)}
        for line in results["policies"]
        for world, numbers in line["worlds"].items()
    ]
    made = io.StringIO()
    writer = csv.DictWriter(made, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)
    write_text(path, made.getvalue())


def last_of(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The other numbers of a world."""
    return {name: value for name, value in numbers.items() if name != "largest"}


def text(results: Mapping[str, Any]) -> str:
    """``results.md``."""
    names = list(results["policies"][0]["worlds"])
    policies = [
        [
            line["policy"],
            *(interval(line["worlds"][world]["largest"], 3) for world in names),
            interval(line["bias"], 3),
        ]
        for line in results["policies"]
    ]
    ranks = [
        [
            rank["world"] + " (broken on purpose)" * rank["broken"],
            interval(rank["spearman"]),
            interval(rank["pearson"]),
            "met" if rank["meets_bar"] else "missed",
        ]
        for rank in results["ranks"]
    ]
    tables = [
        markdown(["policy", *names, f"{MODEL} - {TRUE}"], policies),
        markdown(["world", "Spearman", "Pearson", f"bar (Spearman >= {results['bar']})"], ranks),
    ]
    verdict = "\n".join(f"- {said}: {'yes' if true else 'no'}" for said, true in results["verdict"].items())
    notes = [f"**{warning}**" for warning in results["warnings"]]
    return "\n\n".join([*tables, *notes, " ".join(conventions(results)), verdict]) + "\n"


def conventions(results: Mapping[str, Any]) -> list[str]:
    """What the numbers mean, in sentences."""
    settings, top = results["settings"], results["ceiling"]
    frames = number_of(settings["frames"], "frame")
    said = [
        f"Mean over {number_of(settings['starts'], 'start')} (the same in all worlds) of the largest coverage of the "
        f"goal in {frames}, {number_of(settings['stride'], 'step')} of the simulator each, read off the frames by a "
        "fit of the T (off by 0.003 on average on true frames).",
        "Policies see frames alone.",
        "Brackets are 95 % bootstrap intervals over the starts, which are drawn for all policies together.",
        f"Model: {settings['model']}, decoder {settings['decoder']}, top-p {settings['top_p']:g}, seed "
        f"{settings['seed']}.",
    ]
    if top:
        said.append(
            f"Ceiling: two disjoint halves of the true episodes, {top['starts']} each, agree to {top['mean']:.2f} on "
            f"average (5 %: {top['p5']:.2f})."
        )
    return said


def interval(value: Mapping[str, Any], digits: int = 2) -> str:
    """An estimate as text."""
    if value["mean"] is None:
        return "undefined (all policies are equal)"
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def latex(results: Mapping[str, Any]) -> str:
    """``results.tex``: two tables."""
    names = list(results["policies"][0]["worlds"])
    lines = [
        {
            "policy": line["policy"],
            "bias": line["bias"],
            **{world: numbers["largest"] for world, numbers in line["worlds"].items()},
        }
        for line in results["policies"]
    ]
    columns = [
        TexColumn(("Policy", ""), lambda line: escaped(line["policy"]), align="l"),
        *(TexColumn((escaped(world.capitalize()), "world"), *tex_estimate(world, 3)) for world in names),
        TexColumn(("Model", "$-$ true"), *tex_estimate("bias", 3)),
    ]
    ranks = [
        TexColumn(("World", ""), lambda line: escaped(line["world"]), align="l"),
        TexColumn(("Spearman", ""), *tex_estimate("spearman", 2)),
        TexColumn(("Pearson", ""), *tex_estimate("pearson", 2)),
        TexColumn(("Starts", ""), lambda line: tex_number(results["settings"]["starts"], 0)),
    ]
    caption: Sequence[str] = conventions(results)
    return tex_tables(columns, lines, "tab:policies", caption) + tex_tables(
        ranks,
        results["ranks"],
        "tab:ranks",
        ["Agreement of each world with the true one over the policies.", *caption],
    )
