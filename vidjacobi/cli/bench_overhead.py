"""``vidjacobi bench overhead``: the share of a pass that is not the model's forward call."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vidjacobi.cli import options
from vidjacobi.errors import InvalidArgument

if TYPE_CHECKING:
    from vidjacobi.estimate.overhead import OverheadShare

TEXT = """Print which share of a pass is spent outside the model's forward call.

Predicted for a GPU: bytes moved by a pass of --predict at --window, in the middle of a 24-frame rollout, by what the
decoder does between logits and the next state, once as it runs kernel by kernel and once as --compile fuses it.
Measured on this machine: seconds of passes of --models, with one position (ar) and with a window.
"""

EXAMPLES = """examples:
  vidjacobi bench overhead
  vidjacobi bench overhead --predict 12b --gpu 4090 --window 64
  vidjacobi bench overhead --models nano path/to/checkpoint --tokens 4     (a made-up checkpoint will do:
                                             scripts/make_synthetic_checkpoint.py)
"""

DECODERS = ("pathwise", "fast", "gs_sjd", "mc_sjd")


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("bench overhead", TEXT, EXAMPLES)
    add = made.add_argument
    add("--predict", default="4b", metavar="NAME", help="4b, 5b, 12b, 13b, nano, micro or a folder (4b)")
    options.add_gpu(add, "", default="h100")
    add("--decoders", nargs="+", default=DECODERS, metavar="NAME", help=f"({', '.join(DECODERS)})")
    add("--window", type=options.whole, default=128, metavar="N", help="positions of a predicted pass (128)")
    models = "measured here; checkpoints or names (nano)"
    add("--models", nargs="*", default=["nano"], metavar="NAME", help=models)
    add(
        "--tokens",
        type=options.whole,
        default=64,
        metavar="N",
        help="new tokens of each measurement, at least 4 (64)",
    )
    options.add_device(add, "auto")
    options.add_dtype(add, "auto")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Predict, measure and print. Raises InvalidArgument, BadCheckpoint."""
    # four tokens are the prefill, a first pass that warms up, and two that are measured
    for name, least in (("window", 1), ("tokens", 4)):
        if getattr(args, name) < least:
            raise InvalidArgument(f"--{name} must be at least {least}, not {getattr(args, name)}")
    from vidjacobi.estimate.overhead import measure_overhead, predict_overhead
    from vidjacobi.loading import load_model

    result: dict[str, Any] = {"predicted": {}, "measured": {}}
    for how, compiled in (("kernel by kernel", False), ("compiled", True)):
        shares = predict_overhead(args.predict, args.gpu, args.decoders, args.window, compiled)
        result["predicted"][how] = [asdict(share) for share in shares]
        print(f"\n{args.predict} on {args.gpu}, {how}: GB moved by a pass, predicted")
        print_table(shares, 1e-9, "GB")
    for name in args.models:
        model = load_model(name, args.device, args.dtype)
        shares = measure_overhead(model, args.tokens, args.window)
        result["measured"][name] = [asdict(share) for share in shares]
        print(f"\n{name} on {model.device.type}, {model.dtype}: milliseconds of a pass, measured")
        print_table(shares, 1e3, "ms")
    return result


def print_table(shares: "Sequence[OverheadShare]", factor: float, unit: str) -> None:
    """One line a decoder and window; ``factor`` turns bytes or seconds into ``unit``."""
    print(f"{'decoder':10} {'window':>6} {'forward ' + unit:>12} {'outside ' + unit:>12} {'share':>8}")
    for one in shares:
        forward, outside = one.forward * factor, one.outside * factor
        print(f"{one.decoder:10} {one.window:6d} {forward:12.3f} {outside:12.3f} {one.share:8.1%}")
