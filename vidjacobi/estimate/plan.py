"""``vidjacobi plan``: predicted speed on a GPU, in tables and as a record."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vidjacobi.bench.curve import write_curve
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.errors import InvalidArgument
from vidjacobi.estimate.pass_seconds import (
    Fit,
    Gpu,
    Machine,
    fit_published,
    load_gpu,
    peak_flops,
    published,
)
from vidjacobi.estimate.pictures import KIND as PICTURES
from vidjacobi.estimate.pictures import is_picture_plan, plan_picture
from vidjacobi.estimate.plan_lines import (
    answer_lines,
    best_lines,
    fit_lines,
    gpu_line,
    pass_lines,
    rollout_lines,
    what_if_lines,
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
from vidjacobi.estimate.what_if import what_ifs
from vidjacobi.estimate.world_plan import KIND as STEPS
from vidjacobi.estimate.world_plan import is_world_plan, plan_world
from vidjacobi.loading import family_of, outline
from vidjacobi.registry import lookup
from vidjacobi.runtime import DTYPES

SHOWN = (1, 16, 32, 64, 128, 256)


def plan(args: Namespace) -> dict[str, Any]:
    """Predict and print; write the curve that was asked for. Raises InvalidArgument, BadCheckpoint or BadInput."""
    _check(args)
    if is_picture_plan(args.model):
        return plan_picture(args)
    if is_world_plan(args.model):
        return plan_world(args)
    if family_of(args.model):
        raise InvalidArgument(
            f"{args.model}: seconds of families are predicted beside a published table alone, by its name: "
            f"{', '.join([*config_names(PICTURES), *config_names(STEPS)])}. `vidjacobi doctor --model {args.model}` "
            "says whether it fits in memory"
        )
    table, gpu = published(), load_gpu(args.gpu)
    peak_flops(gpu, args.dtype)  # refuses a dtype that the GPU has no number for
    acceptance = acceptance_of_paper(table) if args.bench is None else acceptance_of_bench(args.bench)
    acceptance = acceptance.covering(args.decoder)
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
    asked = [one for one in predictions if one.decoder == args.decoder]
    if args.batch is None:
        most = best_throughput(predictor, predictions[1:])
    else:
        most = throughputs(predictor, predictions[1:], (args.batch,))[0]
    ifs = what_ifs(predictor, best)
    quantised = "" if bits is None else f", weights {args.quant} (what if: not built in)"
    print(
        f"{model.name} on {gpu.name} ({args.dtype}{quantised}). PREDICTED: nothing was measured on this GPU."
    )
    print(
        "\n".join(
            [
                *answer_lines(predictor, args.decoder, predictions, acceptance),
                *best_lines(best, most, gpu),
                "",
            ]
        )
    )
    print("\n".join([gpu_line(gpu, args.dtype), "", *fit_lines(fit, table), ""]))
    print("\n".join([*pass_lines(predictor, args.decoder, args.window or SHOWN), ""]))
    print("\n".join([*rollout_lines(predictor, predictions, acceptance), ""]))
    print("\n".join(what_if_lines(best, ifs)))
    about = {"model": model.name, "gpu": gpu.name, "predicted": True, "tokens_from": acceptance.source}
    result = about | _record(fit, predictions, best, most) | {"what_if": [asdict(one) for one in ifs]}
    if args.curve:
        result |= _write_curve(args, gpu, asked, acceptance)
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
    args: Namespace, gpu: Gpu, asked: Sequence[Prediction], acceptance: Acceptance
) -> dict[str, Any]:
    """A prior for the adaptive decoder: predicted seconds, and tokens per pass of the decoder or of its stand-in."""
    if not asked:
        known = sorted({name for name, _ in acceptance.tokens})
        raise InvalidArgument(
            f"{acceptance.source} has no tokens per pass of {args.decoder}: name one of {known}"
        )
    curve, tokens_of = curve_of(asked), asked[0].tokens_of
    about = {
        "model": args.model,
        "decoder": args.decoder,
        "dtype": args.dtype,
        "device": f"{gpu.name}: predicted by `vidjacobi plan`, not measured",
        "tokens_of": f"{tokens_of}, {acceptance.source}, counted on {acceptance.model}",
    }
    write_curve(args.curve, curve, about)
    print(f"\n{args.curve}: seconds predicted for `{args.decoder}`, tokens per pass of `{tokens_of}`")
    return {"curve": str(args.curve)}
