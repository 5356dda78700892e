"""``vidjacobi plan``: predicted speed on a GPU that need not be here."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Predict seconds of a pass, latency of a rollout, and the best window and batch on a GPU.

Nothing is measured: bytes and operations are counted by running the code on tensors without numbers, two numbers
are fitted to a published table (MC-SJD, table 2), and the errors of that fit are printed with it.
"""

EXAMPLES = """examples:
  vidjacobi plan --model 4b --gpu h100
  vidjacobi plan --model 12b --gpu a100 --window 64 128 --weights int8
  vidjacobi plan --model janus-pro-7b --gpu h100      (pictures: janus-pro-7b and lumina-7b)
  vidjacobi plan --model mineworld-300m --gpu a100    (steps of mineworld-300m, -700m and -1200m)
  vidjacobi plan --model 4b --gpu mine.yaml --bench out/bench/bench.json --curve mine_curve.yaml
  vidjacobi rollout --decoder adaptive decoder.lanes.curve=mine_curve.yaml clip.mp4
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("plan", TEXT, EXAMPLES)
    add = made.add_argument
    options.add_outlined_model(add, "4b")
    options.add_gpu(add, "", required=True)
    add(
        "--window",
        type=options.wholes,
        metavar="N,M",
        help="windows to look at (those of the acceptance)",
    )
    add("--batch", type=options.whole, metavar="N", help="clips decoded together (the best that fits)")
    add("--dtype", default="bfloat16", metavar="NAME", help="bfloat16 or float32 (bfloat16)")
    add(
        "--weights",
        "--quant",
        dest="quant",
        default="none",
        choices=("none", "int8", "fp8"),
        help="what if the weights had 8 bits (none; not built in)",
    )
    add(
        "--decoder",
        default="pathwise",
        metavar="NAME",
        help="whose latency comes first, and its passes in detail (pathwise)",
    )
    acceptance = (
        "bench.json with tokens per pass (the published ones: sjd, mc_sjd, gs_sjd, which stands for pathwise)"
    )
    add("--bench", type=Path, metavar="FILE", help=acceptance)
    add("--curve", type=Path, metavar="FILE", help="write a curve for the adaptive decoder, as YAML")
    options.add_context(add, 9)
    options.add_frames(add, 24)
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Predict and print. Raises InvalidArgument, BadCheckpoint or BadInput."""
    from vidjacobi.estimate.plan import plan

    return plan(args)
