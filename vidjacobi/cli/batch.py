"""``vidjacobi batch``: futures of all episodes of a dataset."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Predict futures of all episodes of a dataset, over several GPUs and machines, and lose nothing.

DATA is a LeRobot, Bridge or RealEstate10k folder, a Cosmos batch list (jsonl), or videos (a folder or a pattern);
for a model of pictures (`vidjacobi models`) a list of prompts, which is `vidjacobi image --prompts DATA` with a
process on each device: its numbers (guidance, size, tokenizer ...) are given as key=value.
OUT gets items/EPISODE/START-SAMPLE.npz (tokens) and .mp4 or a folder of pictures, log/ (a line per future, as it
is finished), manifest.parquet (the same as a table), failures.csv and settings.json; `vidjacobi report OUT` makes a
page of it. The same command resumes where it was stopped or killed, and tries again what had failed. What a future is
depends on nothing but the model, the episode's id, start and sample, the seed, the decoder and its numbers: not on
rows, workers, shards or engine. It resumes only with the same weights, dtype and versions of the packages that
results depend on (vidjacobi, torch, av, decord): settings.json has their hashes and numbers.

Exit status: 0; 1 if a future failed or nothing was predicted at all; 2 for a bad request or a full disk; 130 or 143
when stopped.
"""

EXAMPLES = """examples:
  vidjacobi batch bridge/ --context 9 --frames 15 --samples 8 --out futures
  vidjacobi batch my_lerobot_set/ --camera top --starts every:16 --output tokens --out futures
  vidjacobi batch my_lerobot_set/ --camera top --devices cuda:0,cuda:1 --rows 16 --out futures
  vidjacobi batch my_lerobot_set/ --camera top --shard $SLURM_ARRAY_TASK_ID/8 --out futures
  vidjacobi batch my_lerobot_set/ --camera top --engine ray --ray-address auto --workers 16 --out /shared/futures
  vidjacobi batch captions.jsonl --model janus:Janus-Pro-7B --samples 4 --rows 16 guidance=5 --out pictures
  vidjacobi report futures

Any setting may also be given as key=value after DATA; decoder.KEY=VALUE changes the decoder's own.
"""


def parser() -> ArgumentParser:
    """Arguments; what is not given keeps the configuration's value."""
    made = options.new_parser("batch", TEXT, EXAMPLES)
    made.add_argument("data", metavar="DATA", help="folder, list or pattern")
    made.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="any setting; decoder.KEY=VALUE: its own"
    )
    _add_data(made)
    _add_how(made)
    _add_work(made)
    return made


def _add_data(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("which clips").add_argument
    add("--dataset", metavar="NAME", help=f"auto, {options.LAYOUTS} (auto)")
    options.add_clip_choice(add)
    truth = "only clips that also have the frames after the context, to compare with"
    add("--need-truth", action="store_true", default=None, help=truth)
    add("--starts", metavar="RULE", help="first, every:N or random:N clips of each episode (first)")
    add("--short", metavar="POLICY", help="episodes shorter than a clip: skip, pad or error (skip)")
    add("--limit", type=options.whole, metavar="N", help="only the first N episodes")
    options.add_context(add)
    options.add_frames(add, chunks=True)
    add("--samples", type=options.whole, metavar="K", help="futures of each clip; they share one prefill (1)")
    acted = "for models that follow actions (mineworld:PATH, pusht:PATH): dataset, or the controls shuffled and zero"
    add("--actions", metavar="WHICH", help=acted)
    add("--seconds", type=options.number, metavar="S", help="longest time that reading a clip may take (120)")


def _add_how(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("how").add_argument
    add("--config", default="default", help="settings to start from: default, cosmos4b or a YAML path")
    options.add_model(add)
    options.add_torchscript(add)
    options.add_decoder(add)
    options.add_sampling(add)
    options.add_top_k(add)
    options.add_dtype(add)
    options.add_offload(add)
    options.add_compile(add)
    options.add_memory_check(add)
    options.add_reader(add)


def _add_work(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("work and output").add_argument
    options.add_out(add, "out/batch")
    add("--output", metavar="KIND", help="videos, frames (PNG) or tokens only (videos)")
    add("--rows", type=options.whole, metavar="N", help="futures decoded at a time by each worker (8)")
    add("--devices", metavar="LIST", help="cuda:0,cuda:1 or cpu (auto: every GPU, else the CPU)")
    add("--workers", type=options.whole, metavar="N", help="processes, or actors of Ray (one per device)")
    add("--shard", metavar="I/N", help="only every N-th episode from the I-th on, I from 0: for Slurm arrays")
    add("--engine", metavar="NAME", help="local or ray (local)")
    add("--ray-address", metavar="ADDRESS", help="of a cluster: auto or host:port (Ray on this machine)")
    gpus = "GPUs per actor of Ray, 0.5 for two on one (1 if there are any)"
    add("--gpus", type=options.number, metavar="N", help=gpus)
    add("--fail-fast", action="store_true", default=None, help="stop at the first failure")
    _add_resume(parser)


def _add_resume(parser: ArgumentParser) -> None:
    add = parser.add_mutually_exclusive_group().add_argument  # they contradict each other
    add("--no-resume", dest="resume", action="store_false", help="refuse a folder that holds a batch")
    resume = "resume in such a folder (the default)"
    add("--resume", dest="resume", action="store_true", default=True, help=resume)
    options.add_other_versions(add)
    add("--overwrite", action="store_true", help="begin anew in a folder that holds a batch")


def run(args: Namespace) -> tuple[dict[str, Any], int]:
    """Roll out what is not there yet; the futures by status, and the exit status. Raises VidjacobiError."""
    from vidjacobi.cli.batch_prompts import makes_pictures, run_prompts

    if makes_pictures(args):
        return run_prompts(args)
    from vidjacobi.batch.run import run_batch
    from vidjacobi.batch.settings import load_plan

    plan = load_plan(args.config, vars(args), args.settings)
    return run_batch(plan, Path(os.path.abspath(args.out)), args.resume, args.overwrite)
