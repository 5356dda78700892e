"""``vidjacobi bench overhead``: the share of a pass that is not the model's forward call, predicted and measured."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import asdict, dataclass
from typing import Any

import torch

from vidjacobi.cli.options import new_parser
from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.api import decode
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.fusing import Fusing
from vidjacobi.estimate.gpus import load_gpu
from vidjacobi.estimate.laws import LawWork, law_work
from vidjacobi.estimate.outlines import outline
from vidjacobi.estimate.pass_model import Machine, PassShape, Speed, pass_seconds, peak, total
from vidjacobi.estimate.simulate import Request, lengths_of, read_slots
from vidjacobi.loading import load
from vidjacobi.models.outline import Outline
from vidjacobi.models.protocol import VideoModel
from vidjacobi.sampling.dense import AS_IF_COMPILED

WORDS = """Print which share of a pass is spent outside the model's forward call.

Predicted for a GPU: bytes moved by a pass of --predict at --window, the middle of a 24-frame rollout, by what the
decoder does between logits and the next state, once as it runs kernel by kernel and once as --compile fuses it.
Measured on this machine: seconds of passes of --models, with one position (ar) and with a window.
"""

EXAMPLES = """examples:
  vidjacobi bench overhead
  vidjacobi bench overhead --predict 12b --gpu 4090 --window 64
  vidjacobi bench overhead --models nano path/to/checkpoint --tokens 4     (one made up will do:
                                             scripts/make_synthetic_checkpoint.py)
"""

DECODERS = ("pathwise", "fast", "gs_sjd", "mc_sjd")
PERFECT = Speed(1.0, 0.0, 0.0)  # bytes and operations only: nobody waits for a launch
CONTEXT = 64  # tokens in front of measured passes: short, so that forward is at its cheapest


@dataclass(frozen=True)
class Share:
    """Of one decoder at one window.

    Attributes:
        decoder, window: how.
        forward: bytes moved or seconds, of one pass.
        outside: the same of everything else.
        share: outside of the pass: of its bytes, or of its seconds.
    """

    decoder: str
    window: int
    forward: float
    outside: float
    share: float


def overhead_parser() -> ArgumentParser:
    """Arguments of ``bench overhead``."""
    parser = new_parser("bench overhead", WORDS, EXAMPLES)
    add = parser.add_argument
    add("--predict", default="4b", metavar="NAME", help="4b, 5b, 12b, 13b, nano, micro or a folder (4b)")
    add("--gpu", default="h100", metavar="NAME", help="h100, rtx6000ada, 4090, a100 or a YAML path (h100)")
    add("--decoders", nargs="+", default=DECODERS, metavar="NAME", help=f"({', '.join(DECODERS)})")
    add("--window", type=int, default=128, metavar="N", help="positions of a predicted pass (128)")
    add(
        "--models",
        nargs="*",
        default=["nano"],
        metavar="NAME",
        help="measured here; checkpoints or names (nano)",
    )
    add("--tokens", type=int, default=64, metavar="N", help="new tokens of each measurement, at least 4 (64)")
    add("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:N or auto")
    add("--dtype", default="auto", metavar="NAME", help="bfloat16, float32, float64 or auto")
    return parser


def run(words: Sequence[str]) -> dict[str, Any]:
    """Parse, predict, measure and print. Raises InvalidArgument, BadCheckpoint."""
    args = overhead_parser().parse_args(words)
    for what, least in (("window", 1), ("tokens", 4)):
        if getattr(args, what) < least:
            raise InvalidArgument(f"--{what} must be at least {least}, not {getattr(args, what)}")
    result: dict[str, Any] = {"predicted": {}, "measured": {}}
    for how, compiled in (("kernel by kernel", False), ("compiled", True)):
        shares = predicted(args, compiled)
        result["predicted"][how] = [asdict(share) for share in shares]
        print(f"\n{args.predict} on {args.gpu}, {how}: GB moved by a pass, predicted")
        tell(shares, 1e-9, "GB")
    for name in args.models:
        model, _ = load(name, args.device, args.dtype)
        shares = measured(model, args.tokens, args.window)
        result["measured"][name] = [asdict(share) for share in shares]
        print(f"\n{name} on {model.device.type}, {model.dtype}: milliseconds of a pass, measured")
        tell(shares, 1e3, "ms")
    return result


def predicted(args: Namespace, compiled: bool) -> list[Share]:
    """Of every decoder; bytes over bandwidth against the whole pass, which may be bound by arithmetic."""
    model, gpu = outline(args.predict, torch.bfloat16), load_gpu(args.gpu)
    peak(gpu, "bfloat16")
    machine, shares = Machine(gpu, PERFECT, "bfloat16"), []
    for name in args.decoders:
        request = Request(with_window(load_decoder(name), args.window))
        work, lengths = counted(model, request, compiled), lengths_of(model, request)
        slots = read_slots((lengths.context + lengths.end) // 2, work.inputs, lengths.end)
        shape = PassShape(1, work.inputs, slots, work.each_pass.moved, 0)
        parts = pass_seconds(machine, model.arithmetic, shape)
        fed = model.arithmetic.matrix_bytes + slots * model.arithmetic.kv_bytes + model.arithmetic.text_bytes
        share = parts["laws"] / total(parts)
        shares.append(Share(name, args.window, float(fed), float(work.each_pass.moved), share))
    return shares


def counted(model: Outline, request: Request, compiled: bool) -> LawWork:
    """The decoder's own work in a pass."""
    if not compiled:
        return law_work(model, request)

    def count() -> LawWork:
        AS_IF_COMPILED.set(True)
        return law_work(model, request, Fusing())

    return copy_context().run(count)


def measured(model: VideoModel, tokens: int, window: int) -> list[Share]:
    """Seconds of a pass on this machine, the prefill and the first pass behind it left out."""
    context = (torch.arange(CONTEXT, device=model.device) * 7919 % model.vocab_size)[None]
    shares = []
    for name, width in (("ar", None), ("pathwise", 16), ("pathwise", window)):
        decoded = decode(model, context, tokens, name, width, measure=True)
        every, inside = decoded.trace.seconds[2:], decoded.trace.forward_seconds[2:]
        passes, forward = max(1, len(every)), float(inside.sum())
        outside = float(every.sum()) - forward
        share = outside / max(outside + forward, 1e-12)
        shares.append(Share(name, width or 1, forward / passes, outside / passes, share))
    return shares


def tell(shares: list[Share], factor: float, unit: str) -> None:
    """A table on standard output."""
    print(f"{'decoder':10} {'window':>6} {'forward ' + unit:>12} {'outside ' + unit:>12} {'share':>8}")
    for one in shares:
        forward, outside = one.forward * factor, one.outside * factor
        print(f"{one.decoder:10} {one.window:6d} {forward:12.3f} {outside:12.3f} {one.share:8.1%}")
