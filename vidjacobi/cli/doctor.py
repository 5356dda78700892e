"""``vidjacobi doctor``: what is installed here, and whether a rollout fits in memory."""

from argparse import ArgumentParser, Namespace
from typing import Any

from vidjacobi.cli import options

TEXT = """What is here, and whether a rollout fits: device, dtype and why, packages, predicted memory by part.

Exits with 2 where the rollout does not fit, and names the settings that would make it fit.
"""

EXAMPLES = """examples:
  vidjacobi doctor
  vidjacobi doctor --model 4b --window 128 --batch 8
  vidjacobi doctor --model nano --dtype bfloat16 --exact      (are tokens those of AR to the last bit?)
  vidjacobi doctor --model janus:Janus-Pro-7B --batch 4 --gpu 4090      (pictures)
  vidjacobi doctor --model 12b --gpu 4090 --offload      (would it fit on that GPU?)
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("doctor", TEXT, EXAMPLES)
    add = made.add_argument
    options.add_outlined_model(add, "nano")
    options.add_decoder(add, "pathwise")
    add(
        "--batch",
        type=options.whole,
        default=1,
        metavar="N",
        help="rows of a batch: `vidjacobi batch --rows N` (1)",
    )
    add("--samples", type=options.whole, default=1, metavar="K", help="futures of one rollout (1)")
    options.add_offload(add, False)
    add("--stream", action="store_true", help="frames are made group by group, between the passes")
    options.add_device(add, "auto")
    options.add_dtype(add, "auto")
    add(
        "--exact",
        action="store_true",
        help="load the model and probe whether its passes here are width-invariant: identical to the last bit",
    )
    options.add_gpu(add, "ask about this GPU instead: ")
    options.add_context(add, 9)
    options.add_frames(add, 24)
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Print what is here. Raises InvalidArgument, also where the rollout that is asked about does not fit."""
    from vidjacobi.estimate.doctor import examine

    return examine(args)
