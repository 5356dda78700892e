"""``vidjacobi plan``: predicted speed on a GPU, in tables and as a record."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vidjacobi.bench.curve import write_curve
from vidjacobi.config.decoder import load_decoder
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.estimate.memory import memory_of
from vidjacobi.estimate.pass_seconds import (
    HOST_SECONDS,
    Fit,
    Gpu,
    Machine,
    PublishedTable,
    fit_published,
    load_gpu,
    peak_flops,
    published,
    total,
)
from vidjacobi.estimate.predictions import (
    Acceptance,
    DecoderCosts,
    PassPredictor,
    Prediction,
    Throughput,
    acceptance_of_bench,
    acceptance_of_paper,
    best_throughput,
    curve_of,
    predict,
    throughputs,
)
from vidjacobi.estimate.scenario import RolloutShape
from vidjacobi.loading import outline
from vidjacobi.output.columns import columns
from vidjacobi.registry import lookup
from vidjacobi.runtime import DTYPES, gib

SHOWN = (1, 16, 32, 64, 128, 256)
STAND_IN = "gs_sjd"  # published, and its redrafts are coupled as those of pathwise and adaptive


@dataclass(frozen=True)
class WhatIf:
    """The best window under other circumstances.

    Attributes:
        name: of the circumstances.
        seconds_per_pass, seconds: predicted, of one clip.
        peak_bytes: predicted memory.
    """

    name: str
    seconds_per_pass: float
    seconds: float
    peak_bytes: int


def plan(args: Namespace) -> dict[str, Any]:
    """Predict and print; write the curve that was asked for. Raises InvalidArgument, BadCheckpoint or BadInput."""
    _check(args)
    table, gpu = published(), load_gpu(args.gpu)
    peak_flops(gpu, args.dtype)  # refuses a dtype that the GPU has no number for
    acceptance = acceptance_of_paper(table) if args.bench is None else acceptance_of_bench(args.bench)
    fit = fit_published(table)
    model = outline(args.model, lookup("dtype", args.dtype, DTYPES))
    shape = RolloutShape(load_decoder(args.decoder), context_frames=args.context, new_frames=args.frames)
    bits = None if args.quant == "none" else 8
    predictor = PassPredictor(DecoderCosts(model, shape), Machine(gpu, fit.speed, args.dtype), bits)
    predictions = predict(predictor, acceptance, args.window)
    if len(predictions) == 1:
        known = sorted({window for decoder, window in acceptance.tokens if decoder != "ar"})
        raise InvalidArgument(
            f"{acceptance.source} has no tokens per pass at window {args.window}: it has {known}. Name a bench "
            "with --bench, or leave --window out"
        )
    best = min(predictions[1:], key=lambda one: one.seconds)
    if args.batch is None:
        most = best_throughput(predictor, predictions[1:])
    else:
        most = throughputs(predictor, predictions[1:], (args.batch,))[0]
    ifs = what_ifs(predictor, best)
    quantised = "" if bits is None else f", weights {args.quant} (what if: not built in)"
    print(
        f"{model.name} on {gpu.name} ({args.dtype}{quantised}). PREDICTED: nothing was measured on this GPU."
    )
    print("\n".join([gpu_line(gpu, args.dtype), "", *fit_lines(fit, table), ""]))
    print("\n".join([*pass_lines(predictor, args.decoder, args.window or SHOWN), ""]))
    print("\n".join([*rollout_lines(predictor, predictions, acceptance), ""]))
    print("\n".join([*best_lines(best, most, gpu), "", *what_if_lines(best, ifs)]))
    about = {"model": model.name, "gpu": gpu.name, "predicted": True, "tokens_from": acceptance.source}
    result = about | _record(fit, predictions, best, most) | {"what_if": [asdict(one) for one in ifs]}
    if args.curve:
        result |= _write_curve(args, predictor, predictions, acceptance)
    return result


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


def what_ifs(predictor: PassPredictor, best: Prediction) -> list[WhatIf]:
    """The best window as it is, with 8-bit weights, with every pass one CUDA graph, and with both."""
    machine = predictor.machine
    captured = replace(machine, speed=machine.speed.captured())
    as_is = "bfloat16 weights" if machine.dtype == "bfloat16" else machine.dtype
    others = {
        as_is: replace(predictor, weight_bits=None),
        "8-bit weights (int8 or fp8)": replace(predictor, weight_bits=8),
        "every pass one CUDA graph": replace(predictor, machine=captured, weight_bits=None),
        "both": replace(predictor, machine=captured, weight_bits=8),
    }
    whole = others[as_is].scenario(best.decoder, best.window)
    peak, weights = memory_of(whole).peak, sum(whole.resident.values())
    found = []
    for name, other in others.items():
        each = other.mean_pass(best.decoder, best.window)
        seconds = other.prefill(best.decoder, best.window) + best.passes * each
        # Weights are there in every phase, so what they lose the peak loses too.
        saved = weights - sum(other.scenario(best.decoder, best.window).resident.values())
        found.append(WhatIf(name, each, seconds, peak - saved))
    return found


def _record(
    fit: Fit, predictions: Sequence[Prediction], best: Prediction, most: Throughput | None
) -> dict[str, Any]:
    best_batch = most and {
        "decoder": most.prediction.decoder,
        "window": most.prediction.window,
        "batch": most.rows,
        "clips_per_hour": most.clips_per_hour,
    }
    return {
        "fit": {
            "efficiency": fit.speed.efficiency,
            "launch_seconds": fit.speed.launch,
            "mean_error": fit.mean,
            "worst_error": fit.worst,
        },
        "rollouts": [asdict(one) for one in predictions],
        "best_window": {"decoder": best.decoder, "window": best.window, "seconds": best.seconds},
        "best_batch": best_batch,
    }


def _write_curve(
    args: Namespace, predictor: PassPredictor, predictions: Sequence[Prediction], acceptance: Acceptance
) -> dict[str, Any]:
    """A prior for the adaptive decoder: predicted seconds, and tokens per pass of the decoder or of its stand-in."""
    known = {one.decoder for one in predictions}
    tokens_of = args.decoder if args.decoder in known else STAND_IN
    if tokens_of not in known:
        raise InvalidArgument(
            f"{acceptance.source} has no tokens per pass of {args.decoder}: name one of {sorted(known)}"
        )
    curve = curve_of(predictor, predictions, tokens_of, args.decoder)
    about = {
        "model": args.model,
        "decoder": args.decoder,
        "dtype": args.dtype,
        "device": f"{predictor.machine.gpu.name}: predicted by `vidjacobi plan`, not measured",
        "tokens_of": f"{tokens_of}, {acceptance.source}, counted on {acceptance.model}",
    }
    write_curve(args.curve, curve, about)
    print(f"\n{args.curve}: seconds predicted for `{args.decoder}`, tokens per pass of `{tokens_of}`")
    return {"curve": str(args.curve)}


def fit_lines(fit: Fit, source: PublishedTable) -> list[str]:
    """What was fitted to what, and how far off every row is."""
    speed = fit.speed
    rows = [
        (
            one.row.decoder,
            one.row.window,
            f"{one.row.passes:.1f}",
            f"{one.row.seconds:.2f}",
            f"{one.predicted:.2f}",
            f"{one.error:+.1%}",
        )
        for one in fit.residuals
    ]
    return [
        f"The pass model beside {source.paper} ({source.gpu.name}), the authors' own code:",
        *columns(("decoder", "window", "passes", "paper s", "model s", "error"), rows),
        f"  error: {fit.mean:.1%} in the mean, {fit.worst:.1%} at worst.",
        f"  fitted to these {number_of(len(rows), 'row')}: share of the data sheet's speed "
        f"{speed.efficiency:.3f}, and "
        f"{1e3 * speed.launch:.2f} ms besides the GPU's work in every pass that is no CUDA graph (ar there is one).",
        "  not fitted: bytes and operations (counted from shapes and code), data sheets, and "
        f"{1e6 * HOST_SECONDS:.0f} us of the host per operation (assumed).",
        "  carried over to other GPUs, other sizes and this project's code without a measurement.",
    ]


def gpu_line(gpu: Gpu, dtype: str) -> str:
    """The data sheet."""
    return (
        f"Data sheet: {gpu.bandwidth / 1e12:.2f} TB/s, {gpu.flops[dtype] / 1e12:.0f} TFLOPS {dtype}, "
        f"{gib(gpu.memory)}, of which {gib(gpu.reserved)} are taken off. {gpu.source}."
    )


def pass_lines(predictor: PassPredictor, decoder: str, windows: Sequence[int]) -> list[str]:
    """Milliseconds of a pass by window and prefix, and of its parts in the middle of the rollout."""
    lengths = predictor.lengths
    middle = (lengths.context + lengths.end) // 2
    prefixes = (lengths.context, middle, lengths.end - 1)  # the first pass, the middle, the last position
    lines = []
    for window in windows:
        parts = predictor.pass_parts(decoder, window, middle)
        whole = [total(predictor.pass_parts(decoder, window, prefix)) for prefix in prefixes]
        lines.append([window, *(f"{1e3 * seconds:.2f}" for seconds in (*whole, *parts.values()))])
    heads = ["window", *(f"at {prefix:,}" for prefix in prefixes), *parts]
    return [
        f"Predicted milliseconds of a pass of `{decoder}`, by window and first open position (parts: {middle:,};",
        "outside: draft, verify and commit, which are not the forward call):",
        *columns(heads, lines),
    ]


def rollout_lines(
    predictor: PassPredictor, predictions: Sequence[Prediction], acceptance: Acceptance
) -> list[str]:
    """Latency of one clip by decoder and window."""
    lengths, slow = predictor.lengths, predictions[0].seconds
    shape = predictor.costs.shape
    lines = [
        (
            one.decoder,
            one.window,
            f"{one.tokens:.2f}",
            f"{one.passes:.0f}",
            f"{1e3 * one.each:.2f}",
            f"{one.seconds:.2f}",
            f"{slow / one.seconds:.2f}",
        )
        for one in predictions
    ]
    other = acceptance.model.lower() != predictor.costs.outline.name
    warning = "  another model than the one planned for: its tokens per pass are a rough guide"
    return [
        f"Predicted latency of {number_of(shape.new_frames, 'frame')} after {shape.context_frames} "
        f"({number_of(lengths.end - lengths.context, 'token')}), one clip, without the video tokenizer;",
        f"tokens per pass: {acceptance.source} (counted on {acceptance.model}):",
        *columns(("decoder", "window", "tokens/pass", "passes", "ms/pass", "seconds", "x ar"), lines),
        *([warning] if other else []),
    ]


def best_lines(best: Prediction, most: Throughput | None, gpu: Gpu) -> list[str]:
    """The fastest way for one clip, and for many."""
    one = f"Best window for one clip: {best.window} (`{best.decoder}`, {best.seconds:.2f} s)."
    if most is None:
        room = gib(gpu.usable)
        return [one, f"Not even one clip fits in {room} with these settings: see `vidjacobi doctor`."]
    return [
        one,
        f"Best for many clips: batch {most.rows} at window {most.prediction.window} "
        f"(`{most.prediction.decoder}`): {1e3 * most.each:.2f} ms a pass, {most.clips_per_hour:,.0f} clips an hour.",
    ]


def what_if_lines(best: Prediction, ifs: Sequence[WhatIf]) -> list[str]:
    """Milliseconds a pass, seconds and memory, side by side."""
    lines = [
        (one.name, f"{1e3 * one.seconds_per_pass:.2f}", f"{one.seconds:.2f}", gib(one.peak_bytes))
        for one in ifs
    ]
    return [
        f"What if, for one clip at window {best.window} (`{best.decoder}`); 8-bit weights are not built in, "
        "graphs are --compile reduce-overhead (untested):",
        *columns(("", "ms/pass", "seconds", "memory"), lines),
        "  quantised: matrices read at 8 bits and multiplied as the dtype (weights only, scales not counted).",
    ]
