"""The folder of a bench: begun, resumed, or begun anew; and the reports in it."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidjacobi.bench.bars import Names, bars_table
from vidjacobi.bench.decode_rows import AR, MEASUREMENTS, TOKENS, Measurement, read
from vidjacobi.bench.plot import write_plot
from vidjacobi.bench.settings import BenchConfig, bars_of, cases_of, definitions, differences
from vidjacobi.bench.table import summary, tables
from vidjacobi.errors import BadOutput, number_of
from vidjacobi.output.atomic import replacing, write_json
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.runtime import choose, versions

ROWS, RECORD, TEXT, PLOT = "bench.csv", "bench.json", "bench.md", "nfe.png"
PLOTS = (PLOT, "nfe.svg", "nfe.pdf")

ABOUT = """A ratio of passes is the exponential of the mean log ratio, paired by clip and seed; intervals are 95 %
(Student's t over clips, a clip's seeds averaged first). nll: mean -log p of the tokens under the model's
probabilities without top-p, fed its own output. excess: nll minus its expectation under the probabilities (with
top-p) of each token given the ones before it; 0 but for chance if lossless. KL: of a lossy decoder's probabilities,
as it decided, from the model's own on its output. Seconds: one clip's share of its batch."""


def open_folder(
    config: BenchConfig, out: Path, clips: Sequence[Path], overwrite: bool, again: Collection[str]
) -> None:
    """Make ``out`` ready: empty, or with the decodes of an earlier run of the same bench.

    Decodes of the decoders ``again`` are dropped. Raises BadOutput where another bench lies there.
    """
    folder = RunFolder(out, "bench", RECORD, parts=(TEXT, *PLOTS, "map_*.png", TOKENS), marks=(ROWS,))
    folder.create()
    known = {*definitions(config), AR}
    if unknown := set(again) - known:
        raise BadOutput(
            f"--again {' '.join(sorted(unknown))}: this bench has only {', '.join(sorted(known))}"
        )
    if overwrite:
        folder.overwrite()
    kept: list[Measurement] = []  # whole rows only: the file is written anew without what a kill cut short

    def changes(record: dict[str, Any]) -> list[str]:
        kept.extend(row for row in read(out / ROWS) if row.decoder not in again)
        found = differences(config, record["config"], without(record["decoders"], again))
        return found + (["other clips"] if record["clip_files"] != [str(clip) for clip in clips] else [])

    before = folder.resume(changes)
    MEASUREMENTS.begin(out / ROWS, kept)
    (out / TOKENS).mkdir(exist_ok=True)
    runtime = choose(config.device, config.dtype)
    record = {
        "config": asdict(config),
        "clip_files": [str(clip) for clip in clips],
        "decoders": {**without(before["decoders"] if before else {}, again), **definitions(config)},
        "device": str(runtime.device),
        "dtype": str(runtime.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "finished": False,
    }
    write_json(out / RECORD, record)


def without(decoders: Mapping[str, Any], again: Collection[str]) -> dict[str, Any]:
    """What the decoders of an earlier run are, but those that are decoded again."""
    return {name: found for name, found in decoders.items() if name not in again}


def asked_for(config: BenchConfig, rows: Sequence[Measurement], clips: int) -> list[Measurement]:
    """The decodes that this configuration names, in its order of decoders."""
    # earlier runs may have left more models, seeds, clips and decoders in the folder
    order = {key: index for index, key in enumerate([AR, *dict.fromkeys(c.key[0] for c in cases_of(config))])}
    keys = {(AR, 1), *(case.key for case in cases_of(config))}
    found = [
        row
        for row in rows
        if row.model in config.models
        and row.seed in config.seeds
        and row.clip < clips
        and (row.decoder, row.window) in keys
    ]
    return sorted(found, key=lambda row: (order[row.decoder], row.window, row.seed, row.clip))


def write_results(config: BenchConfig, out: Path, clips: int, finished: bool) -> list[dict[str, Any]]:
    """``bench.json``, ``bench.md`` and the plot of the decodes so far; returns the summary."""
    rows = asked_for(config, read(out / ROWS), clips)
    names = Names(config.baseline, config.reference)
    lines: list[dict[str, Any]] = []
    texts, verdicts = [], {}
    for model in config.models:
        of_model = [row for row in rows if row.model == model]
        if not of_model:
            continue
        found = summary(of_model, names.baseline, names.reference)
        lines += found
        verdicts[model] = [verdict for bar in bars_of(config) for verdict in bar.judge(of_model, names)]
        clips_done = len({row.clip for row in of_model})
        text = f"## {model}: {number_of(clips_done, 'clip')}, seeds {', '.join(map(str, config.seeds))}\n\n"
        text += tables(found, names.baseline, names.reference)
        texts.append(text + ("\n\n" + bars_table(verdicts[model]) if verdicts[model] else ""))
    if not lines:
        return lines
    record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    bars = {model: [asdict(verdict) for verdict in found] for model, found in verdicts.items()}
    write_json(out / RECORD, {**record, "finished": finished, "summary": lines, "bars": bars})
    note = "" if finished else "\n\nNot finished: these are the decodes so far."
    with replacing(out / TEXT) as partial:
        partial.write_text("\n\n".join([*texts, ABOUT]) + note + "\n", encoding="utf-8")
    write_plot(out / PLOT, lines, finished)
    return lines
