"""``vidjacobi plan``: from words to predictions."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from vidjacobi.bench.curve import write_curve
from vidjacobi.config.decoder import load_decoder
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate import text
from vidjacobi.estimate.acceptance import Acceptance, from_bench, from_paper
from vidjacobi.estimate.gpus import load_gpu
from vidjacobi.estimate.memory_model import memory_of
from vidjacobi.estimate.outlines import outline
from vidjacobi.estimate.pass_model import Machine, peak
from vidjacobi.estimate.predictions import (
    Case,
    Counted,
    Prediction,
    Throughput,
    best_throughput,
    curve_of,
    predict,
    throughputs,
)
from vidjacobi.estimate.published import Fit, fit_published, published
from vidjacobi.estimate.request import Request
from vidjacobi.registry import lookup
from vidjacobi.runtime import DTYPES

SHOWN = (1, 16, 32, 64, 128, 256)
STAND_IN = "gs_sjd"  # published, and its redrafts are coupled as those of pathwise and adaptive


def plan(args: Namespace) -> dict[str, Any]:
    """Predict and print; write the curve that was asked for. Raises InvalidArgument, BadCheckpoint or BadInput."""
    _check(args)
    table, gpu = published(), load_gpu(args.gpu)
    peak(gpu, args.dtype)
    acceptance = from_paper(table) if args.bench is None else from_bench(args.bench)
    fit = fit_published(table)
    model = outline(args.model, lookup("dtype", args.dtype, DTYPES))
    request = Request(load_decoder(args.decoder), context_frames=args.context, new_frames=args.frames)
    counted = Counted(model, request)
    bits = None if args.quant == "none" else 8
    case = Case(counted, Machine(gpu, fit.speed, args.dtype), bits)
    predictions = predict(case, acceptance, args.window)
    if len(predictions) == 1:
        known = sorted({window for decoder, window in acceptance.tokens if decoder != "ar"})
        raise InvalidArgument(
            f"{acceptance.source} has no tokens per pass at window {args.window}: it has {known}. Name a bench "
            "with --bench, or leave --window out"
        )
    best = min(predictions[1:], key=lambda one: one.seconds)
    most = (
        best_throughput(case, predictions[1:])
        if args.batch is None
        else _at_batch(case, predictions, args.batch)
    )
    ifs = what_ifs(case, best)
    quantised = "" if bits is None else f", weights {args.quant} (what if: not built in)"
    print(
        f"{model.name} on {gpu.name} ({args.dtype}{quantised}). PREDICTED: nothing was measured on this GPU."
    )
    print("\n".join([text.gpu_line(gpu, args.dtype), "", *text.fit_lines(fit, table), ""]))
    print("\n".join([*text.pass_lines(case, args.decoder, args.window or SHOWN), ""]))
    print("\n".join([*text.rollout_lines(case, predictions, acceptance), ""]))
    print("\n".join([*text.best_lines(best, most, gpu), "", *text.what_if_lines(best, ifs)]))
    result = _record(fit, predictions, best, most, ifs)
    if args.curve:
        result |= _write_curve(args, case, predictions, acceptance)
    return {
        "model": model.name,
        "gpu": gpu.name,
        "predicted": True,
        "tokens_from": acceptance.source,
        **result,
    }


def _check(args: Namespace) -> None:
    if args.window and min(args.window) < 1:
        raise InvalidArgument(f"windows must be at least 1, not {min(args.window)}")
    if args.batch is not None and args.batch < 1:
        raise InvalidArgument(f"batch must be at least 1, not {args.batch}")
    if args.curve and args.curve.suffix not in (".yaml", ".yml"):
        raise InvalidArgument(f"a curve is a YAML file: {args.curve} should end in .yaml")
    lookup("dtype", args.dtype, {name: DTYPES[name] for name in ("bfloat16", "float32")})
    if load_decoder(args.decoder).guarantee == "lossy" and args.curve:
        raise InvalidArgument(f"the adaptive decoder is lossless: no curve of the lossy {args.decoder}")


def _at_batch(case: Case, predictions: Sequence[Prediction], batch: int) -> Throughput:
    """Most clips per hour at a batch of the user's."""
    return max(throughputs(case, predictions[1:], (batch,)), key=lambda line: line.clips_per_hour)


def what_ifs(case: Case, best: Prediction) -> list[tuple[str, float, float, int]]:
    """(name, seconds a pass, seconds, peak bytes) of the best window as it is and under other circumstances."""
    machine = case.machine
    captured = replace(machine, speed=machine.speed.captured())
    cases = {
        "bfloat16 weights" if machine.dtype == "bfloat16" else machine.dtype: replace(case, weight_bits=None),
        "8-bit weights (int8 or fp8)": replace(case, weight_bits=8),
        "every pass one CUDA graph": replace(case, machine=captured, weight_bits=None),
        "both": replace(case, machine=captured, weight_bits=8),
    }
    whole = replace(case, weight_bits=None).setting(best.decoder, best.window)
    peak_bytes, weights = memory_of(whole).peak, sum(whole.resident.values())
    lines = []
    for name, other in cases.items():
        each = other.mean_pass(best.decoder, best.window)
        seconds = other.prefill(best.decoder, best.window) + best.passes * each
        saved = weights - sum(other.setting(best.decoder, best.window).resident.values())
        lines.append((name, each, seconds, peak_bytes - saved))  # they are there in every phase
    return lines


def _record(
    fit: Fit,
    predictions: Sequence[Prediction],
    best: Prediction,
    most: Throughput | None,
    ifs: Sequence[tuple[str, float, float, int]],
) -> dict[str, Any]:
    keys = ("name", "seconds_per_pass", "seconds", "peak_bytes")
    return {
        "fit": {
            "efficiency": fit.speed.efficiency,
            "launch_seconds": fit.speed.launch,
            "mean_error": fit.mean,
            "worst_error": fit.worst,
        },
        "rollouts": [asdict(one) for one in predictions],
        "best_window": {"decoder": best.decoder, "window": best.window, "seconds": best.seconds},
        "best_batch": None
        if most is None
        else {
            "decoder": most.prediction.decoder,
            "window": most.prediction.window,
            "batch": most.rows,
            "clips_per_hour": most.clips_per_hour,
        },
        "what_if": [dict(zip(keys, line, strict=True)) for line in ifs],
    }


def _write_curve(
    args: Namespace, case: Case, predictions: Sequence[Prediction], acceptance: Acceptance
) -> dict[str, Any]:
    """A prior for the adaptive decoder: predicted seconds, and tokens per pass of the decoder or of its stand-in."""
    known = {one.decoder for one in predictions}
    tokens_of = args.decoder if args.decoder in known else STAND_IN
    if tokens_of not in known:
        raise InvalidArgument(
            f"{acceptance.source} has no tokens per pass of {args.decoder}: name one of {sorted(known)}"
        )
    curve = curve_of(case, predictions, tokens_of, args.decoder)
    about = {
        "model": args.model,
        "decoder": args.decoder,
        "dtype": args.dtype,
        "device": f"{case.machine.gpu.name}: predicted by `vidjacobi plan`, not measured",
        "tokens_of": f"{tokens_of}, {acceptance.source}, counted on {acceptance.model}",
    }
    write_curve(args.curve, curve, about)
    print(f"\n{args.curve}: seconds predicted for `{args.decoder}`, tokens per pass of `{tokens_of}`")
    return {"curve": str(args.curve)}
