"""The folder of a bench: begun, resumed, or begun anew; and the reports in it."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vidjacobi.acting import acted_files
from vidjacobi.bench.bars import Names, bars_table
from vidjacobi.bench.clip_actions import hashed
from vidjacobi.bench.decode_rows import AR, MEASUREMENTS, TOKENS, Measurement, read, tokens_file
from vidjacobi.bench.material import Source
from vidjacobi.bench.plot import write_plot
from vidjacobi.bench.settings import BenchConfig, bars_of, cases_of, definitions, differences
from vidjacobi.bench.table import summary, tables
from vidjacobi.errors import BadInput, BadOutput, number_of
from vidjacobi.output.atomic import write_json, write_text
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.output.token_files import read_tokens
from vidjacobi.provenance import changes
from vidjacobi.provenance import made_with as made_with_files
from vidjacobi.runtime import choose, versions

ROWS, RECORD, TEXT, PLOT = "bench.csv", "bench.json", "bench.md", "nfe.png"
PLOTS = (PLOT, "nfe.svg", "nfe.pdf")

ABOUT = """A ratio of passes is the exponential of the mean log ratio, paired by clip and seed; intervals are 95 %
(Student's t over clips, a clip's seeds averaged first). nll: mean -log p of the tokens under the model's
probabilities without top-p, fed its own output. excess: nll minus its expectation under the probabilities (with
top-p) of each token given the ones before it; 0 but for chance if lossless. KL: of a lossy decoder's probabilities,
as it decided, from the model's own on its output. Seconds: one clip's share of its batch."""


def folder_of(out: Path) -> RunFolder:
    """How a bench's folder is told from others."""
    return RunFolder(out, "bench", RECORD, parts=(TEXT, *PLOTS, "map_*.png", TOKENS), marks=(ROWS,))


def open_folder(
    config: BenchConfig,
    out: Path,
    source: Source,
    overwrite: bool,
    again: Collection[str],
    tell: Callable[[str], None],
) -> None:
    """Make ``out``, which the caller has locked, ready: empty, or with the decodes of an earlier run of this bench.

    Decodes of the decoders ``again`` are dropped, and those whose tokens are damaged, which is told. Raises BadOutput
    where another bench lies there, also one of the same names with other weights.
    """
    folder = folder_of(out)
    folder.create()
    known = {*definitions(config), AR}
    if unknown := set(again) - known:
        raise BadOutput(
            f"--again {' '.join(sorted(unknown))}: this bench has only {', '.join(sorted(known))}"
        )
    if overwrite:
        folder.overwrite()
    kept: list[Measurement] = []  # whole rows only: the file is written anew without what a kill cut short
    made: dict[str, Any] = {}

    def compare(record: dict[str, Any]) -> list[str]:
        kept.extend(row for row in read(out / ROWS) if row.decoder not in again and is_whole(out, row, tell))
        found = differences(config, record["config"], without(record["decoders"], again))
        found += ["other clips"] if record["clip_files"] != files_of(source) else []
        made.update(made_with(config, record.get("made_with")))
        return found + other_models(config, made, record.get("made_with"))

    before = folder.resume(compare)
    MEASUREMENTS.begin(out / ROWS, kept)
    (out / TOKENS).mkdir(exist_ok=True)
    runtime = choose(config.device, config.dtype)
    record = {
        "config": asdict(config),
        "clip_files": files_of(source),
        "decoders": {**without(before["decoders"] if before else {}, again), **definitions(config)},
        "device": str(runtime.device),
        "dtype": str(runtime.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "made_with": made or made_with(config),
        "finished": False,
    }
    write_json(out / RECORD, record)


def files_of(source: Source) -> list[str]:
    """The clips, and the files of actions for them with what they hold."""
    return [*map(str, source.clips), *hashed(source.clips, source.actions)]


def is_whole(out: Path, row: Measurement, tell: Callable[[str], None]) -> bool:
    """Whether a decode's tokens are there, or missing altogether; where they are damaged, this is told."""
    file = tokens_file(out, row.key)
    if not file.exists():
        return True  # a crash left them out: it is decoded again
    try:
        whole = len(read_tokens(file, 1)) == row.new_tokens
    except BadInput:
        whole = False
    if not whole:
        tell(f"{file} is damaged: this decode is made again")
    return whole


def made_with(config: BenchConfig, before: Any = None) -> dict[str, Any]:
    """By model, what its decodes depend on beside the settings; models of earlier runs stay in the record."""
    known = before if isinstance(before, Mapping) else {}
    dtype = choose(config.device, config.dtype).dtype
    files = {name: acted_files(name, config.tokenizer) for name in config.models}
    return {**known, **{name: made_with_files(files[name], dtype, known.get(name)) for name in files}}


def other_models(config: BenchConfig, made: Mapping[str, Any], before: Any) -> list[str]:
    """Why decodes of the same models do not go beside those that are there; empty if they do."""
    if not isinstance(before, Mapping):
        return ["it does not say with which weights it was made"]
    return [
        f"{name}: {change}"
        for name in config.models
        if name in before
        for change in changes(made[name], before[name], config.other_versions)
    ]


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
    write_text(out / TEXT, "\n\n".join([*texts, ABOUT]) + note + "\n")
    write_plot(out / PLOT, lines, finished)
    return lines
