"""``vidjacobi plan`` and ``vidjacobi doctor``: what their words mean."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidjacobi.cli.options import new_parser

PLAN = """Predict seconds of a pass, latency of a rollout, and the best window and batch on a GPU.

Nothing is measured: bytes and operations are counted by running the code on tensors without numbers, two numbers
are fitted to a published table (MC-SJD, table 2), and the errors of that fit are printed with it.
"""

PLAN_EXAMPLES = """examples:
  vidjacobi plan --model 4b --gpu h100
  vidjacobi plan --model 12b --gpu a100 --window 64 128 --weights int8
  vidjacobi plan --model 4b --gpu mine.yaml --bench out/bench/bench.json --curve mine_curve.yaml
  vidjacobi rollout --decoder adaptive decoder.lanes.curve=mine_curve.yaml clip.mp4
"""

DOCTOR = """What is here, and whether a rollout fits: device, dtype and why, packages, predicted memory by part.

Exits with 2 where the rollout does not fit, and names the settings that would make it fit.
"""

DOCTOR_EXAMPLES = """examples:
  vidjacobi doctor
  vidjacobi doctor --model 4b --window 128 --batch 8
  vidjacobi doctor --model 12b --gpu 4090 --offload      (would it fit on that GPU?)
"""


def plan_parser() -> ArgumentParser:
    """Arguments of ``plan``."""
    parser = new_parser("plan", PLAN, PLAN_EXAMPLES)
    _add_model(parser, "4b")
    add = parser.add_argument
    add("--gpu", required=True, metavar="NAME", help="h100, rtx6000ada, 4090, a100 or a YAML path")
    add("--window", nargs="+", type=int, metavar="N", help="windows to look at (those of the acceptance)")
    add("--batch", type=int, metavar="N", help="clips decoded together (the best that fits)")
    add("--dtype", default="bfloat16", metavar="NAME", help="bfloat16 or float32 (bfloat16)")
    add(
        "--weights",
        "--quant",
        dest="quant",
        default="none",
        choices=("none", "int8", "fp8"),
        help="what if the weights had 8 bits (none; not built in)",
    )
    add("--decoder", default="pathwise", metavar="NAME", help="whose passes are shown in detail (pathwise)")
    add(
        "--bench",
        type=Path,
        metavar="FILE",
        help="bench.json with tokens per pass (the published ones: sjd, mc_sjd, gs_sjd)",
    )
    add("--curve", type=Path, metavar="FILE", help="write a curve for the adaptive decoder, as YAML")
    _add_lengths(parser)
    return parser


def doctor_parser() -> ArgumentParser:
    """Arguments of ``doctor``."""
    parser = new_parser("doctor", DOCTOR, DOCTOR_EXAMPLES)
    _add_model(parser, "nano")
    add = parser.add_argument
    add("--decoder", default="pathwise", metavar="NAME", help="see `vidjacobi decoders` (pathwise)")
    add("--window", type=int, metavar="N", help="positions per pass (the decoder's own)")
    add("--batch", type=int, default=1, metavar="N", help="rows of a batch: `vidjacobi batch --rows N` (1)")
    add("--samples", type=int, default=1, metavar="K", help="futures of one rollout (1)")
    add("--offload", action="store_true", help="tokenizer and transformer take turns on the device")
    add("--stream", action="store_true", help="frames are made group by group, between the passes")
    add("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:N or auto")
    add("--dtype", default="auto", metavar="NAME", help="bfloat16, float32, float64 or auto")
    add("--gpu", metavar="NAME", help="ask for this GPU instead: h100, rtx6000ada, 4090, a100 or a YAML path")
    _add_lengths(parser)
    return parser


def _add_model(parser: ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--model",
        default=default,
        metavar="NAME",
        help=f"4b, 5b, 12b, 13b, nano, micro or a checkpoint folder ({default})",
    )


def _add_lengths(parser: ArgumentParser) -> None:
    parser.add_argument("--context", type=int, default=9, metavar="N", help="frames given: 1 + 8k (9)")
    parser.add_argument("--frames", type=int, default=24, metavar="N", help="frames predicted (24)")


def run(name: str, words: Sequence[str]) -> dict[str, Any]:
    """Parse and run ``plan`` or ``doctor``; torch is imported only then, so that --help is quick.

    Raises InvalidArgument, also where the rollout that the doctor is asked about does not fit.
    """
    args = {"plan": plan_parser, "doctor": doctor_parser}[name]().parse_args(words)
    if name == "plan":
        from vidjacobi.estimate.plan import plan

        return plan(args)
    from vidjacobi.estimate.doctor import examine

    return examine(args)
