"""An evaluation from a dataset's folder to tables and a report: choose clips, decode, measure, write. Resumable."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from vidjacobi.acting import acted_family
from vidjacobi.bench.bench_folder import folder_of as bench_folder_of
from vidjacobi.bench.bench_folder import open_folder, write_results
from vidjacobi.bench.decode_rows import AR
from vidjacobi.bench.duration import Pace, guess
from vidjacobi.bench.material import Source, acted_pair_of, pair_of
from vidjacobi.bench.running import Bench, pending
from vidjacobi.bench.running import check as check_bench
from vidjacobi.bench.running import run as run_bench
from vidjacobi.bench.settings import BenchCase, cases_of
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.rollout import unlike_the_authors
from vidjacobi.datasets import left_out, open_dataset
from vidjacobi.datasets.boxed import boxed
from vidjacobi.datasets.chosen_reader import read_with
from vidjacobi.datasets.contract import Episode
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.eval import captions
from vidjacobi.eval.clip_choice import Chosen, choose
from vidjacobi.eval.duration import followed, forecast
from vidjacobi.eval.eval_folder import (
    CONTEXTS,
    DECODES,
    Tell,
    clip_actions,
    encode_contexts,
    folder_of,
    open_out,
)
from vidjacobi.eval.features import Extractor, load_extractor
from vidjacobi.eval.frame_metrics import conventions, lpips_missing
from vidjacobi.eval.fvd import Shown, formula_of, record, warnings_for
from vidjacobi.eval.latex import write_latex
from vidjacobi.eval.measure import TRUTH, Measurer, Name, measure
from vidjacobi.eval.plots import plots, write_figures
from vidjacobi.eval.quality import ROWS, read
from vidjacobi.eval.report import write_report
from vidjacobi.eval.results import AT_AR, Features, Line, results, table, write_csv
from vidjacobi.eval.settings import EvalConfig
from vidjacobi.models.tokenizer import check_lengths
from vidjacobi.output.atomic import write_json, write_text
from vidjacobi.output.locks import NO_LOCKS
from vidjacobi.runtime import choose as choose_runtime
from vidjacobi.runtime import describe_device, versions

RECORD, TABLE, TEXT, PAGE = "results.json", "results.csv", "results.md", "report.html"
LATEX = "results.tex"


def evaluate(config: EvalConfig, out: Path, tell: Tell, extractor: Extractor | None = None) -> list[Line]:
    """Everything, in an order in which what is missing is found before anything is decoded.

    The features are those of ``extractor`` or, without it, of the network that the configuration names.

    Raises InvalidArgument, BadInput, BadCheckpoint, and BadOutput where ``out`` holds another evaluation.
    """
    acted_family(config.model, one_chunk=True)
    weights = Path(config.weights) if config.weights else None
    runtime = choose_runtime(config.device, config.dtype)
    extractor = extractor or load_extractor(config.network, weights, config.resize, runtime.device)
    check_length(config, extractor)
    chosen = clips_of(config)
    tell(
        f"{number_of(len(chosen.clips), 'clip')} of {number_of(config.frames_needed, 'frame')}; "
        f"{len(chosen.skipped)} skipped"
    )
    if chosen.left_out:
        tell(chosen.left_out)
    check_model(config)
    if note := unlike_the_authors(config.model, config.bench(1).sampling(config.seed)):
        tell(f"note: {note}")
    with folder_of(out).locked() as held, bench_folder_of(out / DECODES).locked():
        if not held:
            tell(f"{out}: {NO_LOCKS}")
        open_out(config, out, chosen)
        return evaluate_in(config, out, tell, chosen, extractor)


def evaluate_in(
    config: EvalConfig, out: Path, tell: Tell, chosen: Chosen, extractor: Extractor
) -> list[Line]:
    """The evaluation of the chosen clips in its opened folder. Raises VidjacobiError."""
    runtime = choose_runtime(config.device, config.dtype)
    spec = acted_pair_of(config.model, config.tokenizer, config.device, config.dtype).actions
    table = None if spec is None else clip_actions(config, out, chosen, spec)
    job = Bench(config.bench(len(chosen.clips)), out / DECODES, Source(file=out / CONTEXTS, table=table))
    contexts = encode_contexts(config, out, chosen, tell)
    open_bench(job, tell)
    _, tokenizer = pair_of(config.model, config.tokenizer, config.device, config.dtype)
    cases = (BenchCase(load_decoder(AR)), *cases_of(job.config))
    measurer = Measurer(config, out, job.out, cases, contexts.to(runtime.device), tokenizer, extractor)
    tell(str(forecast(measurer, chosen.clips, guess(job))))
    lines = decode_all(job, tell)
    features = measure_all(measurer, chosen.clips, tell)
    tell(f"{config.draws} bootstrap draws for each of {len(measurer.names)} decoders and references")
    quality = {key: row for key, row in read(out / ROWS).items() if key[2] < len(chosen.clips)}
    found = results(lines, features, quality, config.draws, config.seed, formula_of(extractor.protocol))
    about = protocol(config, extractor, features, chosen)
    drawn = plots(found, about["label"])
    write(out, found, about)
    write_figures(out, drawn)
    write_report(out / PAGE, measurer, chosen.clips, found, drawn, about)
    return found


def check_length(config: EvalConfig, extractor: Extractor) -> None:
    """Refuse clips that the feature network cannot take."""
    least = extractor.protocol["least_frames"]
    frames, words = (
        (config.frames, "are predicted") if config.shown == "pred" else (config.frames_needed, "are shown")
    )
    if frames < least:
        raise InvalidArgument(
            f"{extractor.label} needs clips of at least {number_of(least, 'frame')}, and {frames} "
            f"{words}: raise --frames{', or take the context in with --fvd-frames all' * (config.shown == 'pred')}"
        )
    extractor.check_frames(frames)


def clips_of(config: EvalConfig) -> Chosen:
    """The clips that the configuration names."""
    options = {"split": config.split, "camera": config.camera}
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    entries = open_dataset(
        config.data, config.dataset, config.clip_list, config.start, config.stride, **given
    )
    listed = config.clip_list is not None
    chosen = choose(
        boxed(read_with(entries, config.reader)), config.clips, config.frames_needed, in_order=listed
    )
    return chosen if listed else replace(chosen, left_out=left_out(config.data, config.dataset))


def check_model(config: EvalConfig) -> None:
    """Refuse clips that the model cannot take, before a folder is claimed for them."""
    _, tokenizer = pair_of(config.model, config.tokenizer, config.device, config.dtype)
    if config.frames_needed > tokenizer.max_frames:
        raise InvalidArgument(
            f"{config.context} + {number_of(config.frames, 'frame')}, but {config.model} takes "
            f"{tokenizer.max_frames} at once"
        )
    check_lengths(config.context, config.frames, 1, tokenizer)


def open_bench(job: Bench, tell: Tell) -> None:
    """Make the folder of the decodes ready, or resume in it. Raises InvalidArgument, BadOutput."""
    check_bench(job)
    open_folder(job.config, job.out, job.source, overwrite=False, again=(), tell=tell)


def decode_all(job: Bench, tell: Tell) -> list[dict[str, Any]]:
    """Every decoder at every window on every clip, what is done already excepted."""
    lines: list[dict[str, Any]] = []
    pace, total = Pace(), len(pending(job))
    with tqdm(
        total=job.count(), initial=job.count() - total, desc="decode", unit="clip", disable=None
    ) as bar:
        for left in run_bench(job, tell if bar.disable else silent):
            lines = write_results(job.config, job.out, job.count(), finished=not left)
            bar.update(job.count() - left - bar.n)
            if left and bar.disable:
                tell(pace.left(total - left, total))
    return lines


def silent(line: str) -> None:
    """Where a progress bar says it."""


def measure_all(measurer: Measurer, clips: tuple[Episode, ...], tell: Tell) -> Features:
    """Features ``[clips f]`` of everything."""
    rows: list[dict[Name, Float[Tensor, " f"]]] = []
    for row in followed(measure(measurer, clips), len(clips), "measured", tell):
        rows.append(row)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def protocol(config: EvalConfig, extractor: Extractor, features: Features, chosen: Chosen) -> dict[str, Any]:
    """How the numbers were made, and what to beware of."""
    clips = len(chosen.clips)
    frames = config.frames if config.shown == "pred" else config.frames_needed
    words = "predicted frames" if config.shown == "pred" else "context and predicted frames"
    measured = record(
        features[AT_AR], features[TRUTH], extractor.protocol, Shown(frames, words), config.draws, config.seed
    )
    warnings = list(warnings_for(clips, formula_of(extractor.protocol)))
    if clips < config.clips:
        warnings.append(f"asked for {number_of(config.clips, 'clip')}, and {clips} are usable")
    if chosen.skipped:
        first = chosen.skipped[0]
        warnings.append(
            f"{number_of(len(chosen.skipped), 'clip')} skipped, listed in clips.json: {first.id}: {first.reason}"
        )
    if chosen.left_out:
        warnings.append(chosen.left_out)
    runtime = choose_runtime(config.device, config.dtype)
    device = f"{describe_device(runtime.device)}, {str(runtime.dtype).removeprefix('torch.')}"
    base, said = measured["floor"], conventions(config.ssim_borders)
    facts = {
        "model": config.model,
        "dataset": f"{config.dataset}, {number_of(clips, 'clip')}, {len(chosen.skipped)} skipped",
        "rollout": f"{config.context} given, {config.frames} predicted, stride {config.stride}",
        "sampling": f"temperature {config.temperature}, top-p {config.top_p}, top-k {config.top_k or 'off'}, "
        f"seed {config.seed}",
        "device": device,
        "floor": f"{base['mean']:.1f} (halves of {base['clips_per_half']} real clips)"
        if base
        else "none below 4 clips",
        **{key.replace("_", " "): value for key, value in measured["protocol"].items() if key != "seed"},
        "PSNR": said["psnr"],
        "SSIM": said["ssim"],
    }
    return {
        "label": extractor.label,
        "setting": captions.setting(config, clips),
        "conventions": captions.conventions(config, measured, extractor.label, device),
        "metrics": said,
        "facts": facts,
        "warnings": warnings,
        "ar": measured,
        "versions": versions(),
    }


def write(out: Path, lines: list[Line], about: Mapping[str, Any]) -> None:
    """``results.csv``, ``results.json``, ``results.md``, ``results.tex``."""
    write_csv(out / TABLE, lines)
    write_json(out / RECORD, {**about, "results": lines, "lpips": lpips_missing() or "measured"})
    label = about["label"]
    said = [captions.against_ar(lines, label), captions.references(), *about["conventions"]]
    said = [sentence for sentence in said if sentence]
    write_latex(out / LATEX, lines, label, [about["setting"], *said])
    notes = [*(f"**{warning}**" for warning in about["warnings"]), "\n".join(said)]
    facts = "\n".join(f"- {key}: {value}" for key, value in about["facts"].items())
    write_text(out / TEXT, "\n\n".join([table(lines, label), *notes, facts]) + "\n")
