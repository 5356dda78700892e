"""``vidjacobi batch``, ``report`` and ``export``: what their words mean."""

import os
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidjacobi.batch.manifest import FAILED
from vidjacobi.batch.progress import ProgressTracker, tell
from vidjacobi.cli.options import new_parser
from vidjacobi.errors import BadInput, BadOutput, VidjacobiError

if TYPE_CHECKING:
    from vidjacobi.batch.workers import BatchJob

BATCH = """Predict futures of all episodes of a dataset, over several GPUs and machines, and lose nothing.

DATA is a LeRobot, Bridge or RealEstate10k folder, a Cosmos batch list (jsonl), or videos (a folder or a pattern).
OUT gets items/EPISODE/START-SAMPLE.npz (tokens) and .mp4 or a folder of pictures, log/ (a line per future, as it
is finished), manifest.parquet (the same as a table), failures.csv and settings.json; `vidjacobi report OUT` makes a
page of it. The same command goes on where it was stopped or killed, and tries again what had failed. What a future is
depends on nothing but the model, the episode's id, start and sample, the seed, the decoder and its numbers: not on
rows, workers, shards or engine.

Exit status: 0; 1 if a future failed; 2 for a bad request or a full disk; 130 or 143 when stopped.
"""

BATCH_EXAMPLES = """examples:
  vidjacobi batch bridge/ --context 9 --frames 15 --samples 8 --out futures
  vidjacobi batch my_lerobot_set/ --camera top --starts every:16 --output tokens --out futures
  vidjacobi batch my_lerobot_set/ --camera top --devices cuda:0,cuda:1 --rows 16 --out futures
  vidjacobi batch my_lerobot_set/ --camera top --shard $SLURM_ARRAY_TASK_ID/8 --out futures
  vidjacobi batch my_lerobot_set/ --camera top --engine ray --ray-address auto --workers 16 --out /shared/futures
  vidjacobi report futures

Settings of the decoder may follow DATA: decoder.KEY=VALUE.
"""

REPORT = """Make manifest.parquet and report.html of a batch's folder, also while it runs.

The report shows throughput over time, passes and acceptance, futures side by side, and what failed and why.
"""

EXPORT = """Write a batch's finished futures as a LeRobot v3.0 dataset: every future an episode, its context in front.

The mp4 files are copied as they are. `predicted` is 0 in the frames of the context and 1 behind it; meta/episodes
names the source episode, start and sample of each. There are no actions: the world model predicts pictures.
"""

EXPORT_EXAMPLES = """examples:
  vidjacobi batch my_lerobot_set/ --camera top --samples 8 --out futures
  vidjacobi export futures futures_lerobot
"""


def batch_parser() -> ArgumentParser:
    """Arguments of ``batch``; what is not given keeps the configuration's value."""
    parser = new_parser("batch", BATCH, BATCH_EXAMPLES)
    parser.add_argument("data", metavar="DATA", help="folder, list or pattern")
    parser.add_argument("settings", nargs="*", metavar="decoder.KEY=VALUE", help="settings of the decoder")
    _add_data(parser)
    _add_how(parser)
    _add_work(parser)
    return parser


def _add_data(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("which clips").add_argument
    add("--dataset", metavar="NAME", help="auto, lerobot, bridge, realestate10k, jsonl or folder (auto)")
    add("--camera", metavar="NAME", help="camera of the dataset, where it has several")
    add("--split", metavar="NAME", help="only this split")
    add("--clip-list", metavar="FILE", help="only these ids: one a line, with start and stride if you like")
    add("--stride", type=int, metavar="N", help="take every N-th frame (1)")
    add("--starts", metavar="RULE", help="first, every:N or random:N clips of each episode (first)")
    add("--short", metavar="POLICY", help="episodes shorter than a clip: skip, pad or error (skip)")
    add("--limit", type=int, metavar="N", help="only the first N episodes")
    add("--context", type=int, metavar="N", help="frames given: 1 + 8k (9)")
    add("--frames", type=int, metavar="N", help="frames to predict, any number (24)")
    add("--samples", type=int, metavar="K", help="futures of each clip; they share one prefill (1)")
    add("--seconds", type=float, metavar="S", help="longest time that reading a clip may take (120)")


def _add_how(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("how").add_argument
    add("--config", default="default", help="settings to start from: default, cosmos4b or a YAML path")
    add("--model", metavar="NAME", help="nano, micro, a checkpoint folder, or a repository (nano)")
    add("--tokenizer", metavar="NAME", help="video tokenizer's folder or repository, if not beside it")
    add(
        "--run-torchscript",
        action="store_true",
        default=None,
        help="run .jit files that you trust as they are",
    )
    add("--decoder", metavar="NAME", help="see `vidjacobi decoders`, or a YAML path (pathwise)")
    add("--window", type=int, metavar="N", help="positions evaluated per pass (the decoder's own)")
    add("--seed", type=int, metavar="S", help="the same seed gives the same futures (0)")
    add("--temperature", type=float, metavar="T", help=">= 0; 0 is greedy (1)")
    add("--top-p", type=float, metavar="P", help="nucleus mass in (0, 1] (0.8)")
    add("--top-k", type=int, metavar="K", help="likeliest tokens kept (all)")
    add("--dtype", metavar="NAME", help="bfloat16, float32, float64 or auto (auto)")
    add(
        "--offload",
        action="store_true",
        default=None,
        help="less memory: model and tokenizer take turns on the GPU",
    )
    add("--compile", metavar="MODE", help="off, default, reduce-overhead: CUDA graphs, untested (off)")
    add(
        "--no-memory-check",
        dest="memory_check",
        action="store_false",
        default=None,
        help="run even if it is predicted not to fit in memory",
    )


def _add_work(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("work and output").add_argument
    add("--out", default="out/batch", metavar="DIR", help="folder for the results (out/batch)")
    add("--output", metavar="KIND", help="videos, frames (PNG) or tokens only (videos)")
    add("--rows", type=int, metavar="N", help="futures decoded at a time by each worker (8)")
    add("--devices", metavar="LIST", help="cuda:0,cuda:1 or cpu (auto: every GPU, else the CPU)")
    add("--workers", type=int, metavar="N", help="processes, or actors of Ray (one per device)")
    add("--shard", metavar="I/N", help="only every N-th episode from the I-th on, I from 0: for Slurm arrays")
    add("--engine", metavar="NAME", help="local or ray (local)")
    add("--ray-address", metavar="ADDRESS", help="of a cluster: auto or host:port (Ray on this machine)")
    add(
        "--gpus",
        type=float,
        metavar="N",
        help="GPUs per actor of Ray, 0.5 for two on one (1 if there are any)",
    )
    add("--no-resume", dest="resume", action="store_false", help="refuse a folder that holds a batch")
    add(
        "--resume",
        dest="resume",
        action="store_true",
        default=True,
        help="go on in such a folder (the default)",
    )
    add("--overwrite", action="store_true", help="begin anew in a folder that holds a batch")
    add("--fail-fast", action="store_true", default=None, help="stop at the first failure")


def report_parser() -> ArgumentParser:
    """Arguments of ``report``."""
    parser = new_parser("report", REPORT)
    parser.add_argument("out", metavar="DIR", type=Path, help="folder of a batch")
    parser.add_argument("--clips", type=int, default=6, metavar="N", help="clips that are played (6)")
    return parser


def export_parser() -> ArgumentParser:
    """Arguments of ``export``."""
    parser = new_parser("export", EXPORT, EXPORT_EXAMPLES)
    parser.add_argument("out", metavar="DIR", type=Path, help="folder of a batch that kept videos")
    parser.add_argument("destination", metavar="DEST", type=Path, help="folder to make")
    return parser


def run_batch(words: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Parse and run; the command's last line and its exit status. Raises VidjacobiError."""
    args = batch_parser().parse_intermixed_args(list(words))
    from vidjacobi.batch.future_files import open_out, sweep
    from vidjacobi.batch.manifest import LOGS, label_of
    from vidjacobi.batch.pipeline import FailedFast
    from vidjacobi.batch.settings import load_plan
    from vidjacobi.batch.workers import BatchJob, check_room, devices_of, listing
    from vidjacobi.output.run_folder import locked
    from vidjacobi.processes import Stopped, stoppable

    plan = load_plan(args.config, vars(args), args.settings)
    listing(plan.config)  # refuses what cannot be listed, before OUT is touched
    if plan.config.engine == "local":
        check_room(plan, devices_of(plan.config))
    out = Path(os.path.abspath(args.out))
    shard = plan.config.shard
    status = 0
    with stoppable(), locked(out / LOGS / f".run-{label_of(shard)}", wait=False):
        job = BatchJob(plan, open_out(out, plan, args.resume, args.overwrite))
        sweep(out, alone=shard == "0/1")
        tally = ProgressTracker(out, shard)
        try:
            run_engine(job, tally)
        except Stopped as signal:
            tell(f"vidjacobi: stopped by {signal}; what was finished is kept, the same command goes on")
            status = signal.status
        except FailedFast as error:
            tell(f"vidjacobi: {error}")
        except VidjacobiError:
            if tally.counts:
                finish(out, tally)
            raise
        return finish(out, tally), status or int(tally.counts[FAILED] > 0)


def run_engine(job: "BatchJob", tally: ProgressTracker) -> None:
    """Do the work. Raises VidjacobiError, Stopped."""
    with tally:
        if job.plan.config.engine == "ray":
            from vidjacobi.batch.ray_engine import run_ray

            run_ray(job, tally)
        else:
            from vidjacobi.batch.workers import run_local

            run_local(job, tally)


def finish(out: Path, tally: ProgressTracker) -> dict[str, Any]:
    """The manifest, and what to say at the end. A full disk is no reason to lose the message of what filled it."""
    from vidjacobi.batch.manifest import FAILURES, MANIFEST, compact

    print(f"{out}: {tally.line()}")
    try:
        totals = compact(out)
    except BadOutput as error:
        tell(f"vidjacobi: {error}; `vidjacobi report {out}` makes it of the logs")
        return {"out": str(out), "new": dict(tally.counts)}
    if totals[FAILED]:
        print(f"{totals[FAILED]} failed; {out / FAILURES} says why, and the same command tries them again")
    print(f"{out / MANIFEST}: {sum(totals.values())} rows; `vidjacobi report {out}` makes a page of them")
    return {"out": str(out), "new": dict(tally.counts), "all": dict(totals)}


def run_report(words: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Parse and run; the command's last line and its exit status. Raises VidjacobiError."""
    args = report_parser().parse_args(list(words))
    from vidjacobi.batch.future_files import SETTINGS
    from vidjacobi.batch.manifest import compact
    from vidjacobi.batch.report import write_report

    if not (args.out / SETTINGS).is_file():
        raise BadInput(f"{args.out}: no batch lies here ({SETTINGS} is missing)")
    totals = compact(args.out)
    page = write_report(args.out, args.clips)
    print(f"{page}: open it in a browser")
    return {"report": str(page), "all": dict(totals)}, 0


def run_export(words: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Parse and run; the command's last line and its exit status. Raises VidjacobiError."""
    args = export_parser().parse_args(list(words))
    from vidjacobi.batch.future_files import SETTINGS
    from vidjacobi.batch.lerobot_export import export_lerobot

    if not (args.out / SETTINGS).is_file():
        raise BadInput(f"{args.out}: no batch lies here ({SETTINGS} is missing)")
    totals = export_lerobot(args.out, args.destination)
    print(f"{args.destination}: a LeRobot v3.0 dataset of {totals['episodes']:,} episodes")
    return {"dataset": str(args.destination), **totals}, 0
