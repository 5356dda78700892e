"""What `vidjacobi plan` prints: the answer first, then tables of what it was made of."""

from collections.abc import Sequence

from vidjacobi.errors import number_of
from vidjacobi.estimate.pass_seconds import HOST_SECONDS, Fit, Gpu, PublishedTable, total
from vidjacobi.estimate.predictions import Acceptance, PassPredictor, Prediction, Throughput
from vidjacobi.estimate.what_if import WhatIf
from vidjacobi.output.columns import columns
from vidjacobi.runtime import gib


def answer_lines(
    predictor: PassPredictor, decoder: str, predictions: Sequence[Prediction], acceptance: Acceptance
) -> list[str]:
    """How long a rollout takes with the decoder that was asked about, at its best window, beside AR."""
    shape, slow = predictor.costs.shape, predictions[0].seconds
    what = f"{number_of(shape.new_frames, 'frame')} after {shape.context_frames}"
    asked = [one for one in predictions if one.decoder == decoder]
    if not asked:
        return [
            f"{what} with `{decoder}`: unknown, for {acceptance.source} has no tokens per pass of it. Count them "
            f"with `vidjacobi bench --decoders {decoder}`, and name the result with --bench."
        ]
    best = min(asked, key=lambda one: one.seconds)
    if decoder == "ar":
        return [f"{what} with `ar`: {best.seconds:.2f} s."]
    borrowed = (
        "" if best.tokens_of == decoder else f" (if it decides as many tokens a pass as `{best.tokens_of}`)"
    )
    return [
        f"{what} with `{decoder}`: {best.seconds:.2f} s at window {best.window}{borrowed}, "
        f"{slow / best.seconds:.1f} times as fast as `ar` ({slow:.2f} s)."
    ]


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
            one.decoder if one.tokens_of == one.decoder else f"{one.decoder} *",
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
    notes = (
        ["  another model than the one planned for: its tokens per pass are a rough guide"] if other else []
    )
    notes += [
        f"  * has no numbers here: tokens per pass of `{lender}`" for lender in acceptance.borrowed.values()
    ]
    return [
        f"Predicted latency of {number_of(shape.new_frames, 'frame')} after {shape.context_frames} "
        f"({number_of(lengths.end - lengths.context, 'token')}), one clip, without the video tokenizer;",
        f"tokens per pass: {acceptance.source} (counted on {acceptance.model}):",
        *columns(("decoder", "window", "tokens/pass", "passes", "ms/pass", "seconds", "x ar"), lines),
        *notes,
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
