"""Predictions in words and tables."""

from collections.abc import Sequence

from vidjacobi.estimate.acceptance import Acceptance
from vidjacobi.estimate.gpus import Gpu
from vidjacobi.estimate.memory_model import Memory
from vidjacobi.estimate.pass_model import HOST_SECONDS, total
from vidjacobi.estimate.predictions import Case, Prediction, Throughput
from vidjacobi.estimate.published import Fit, Published
from vidjacobi.runtime import gib


def table(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> list[str]:
    """Columns as wide as they must be, the first to the left."""
    cells = [list(heads)] + [[str(cell) for cell in line] for line in lines]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]


def fit_lines(fit: Fit, source: Published) -> list[str]:
    """What was fitted to what, and how far off every row is."""
    speed = fit.speed
    rows = [
        (
            residual.row.decoder,
            residual.row.window,
            f"{residual.row.passes:.1f}",
            f"{residual.row.seconds:.2f}",
            f"{residual.predicted:.2f}",
            f"{residual.error:+.1%}",
        )
        for residual in fit.residuals
    ]
    return [
        f"The pass model beside {source.paper} ({source.gpu.name}), the authors' own code:",
        *table(("decoder", "window", "passes", "paper s", "model s", "error"), rows),
        f"  error: {fit.mean:.1%} in the mean, {fit.worst:.1%} at worst.",
        f"  fitted to these {len(rows)} rows: share of the data sheet's speed {speed.efficiency:.3f}, "
        f"{1e3 * speed.launch:.2f} ms beside the GPU's work in every pass that is no CUDA graph (ar there is one).",
        "  not fitted: bytes and operations (counted from shapes and code), data sheets, and "
        f"{1e6 * HOST_SECONDS:.0f} us of the host per operation (assumed).",
        "  carried over to other GPUs, other sizes and this project's code without a measurement.",
    ]


def gpu_line(gpu: Gpu, dtype: str) -> str:
    """The data sheet."""
    return (
        f"Data sheet: {gpu.bandwidth / 1e12:.2f} TB/s, {gpu.flops[dtype] / 1e12:.0f} TFLOPS {dtype}, "
        f"{gib(gpu.memory)} of which {gib(gpu.reserved)} are taken off. {gpu.source}."
    )


def pass_lines(case: Case, decoder: str, windows: Sequence[int]) -> list[str]:
    """Milliseconds of a pass by window and prefix, and of its parts in the middle of the rollout."""
    lengths = case.lengths
    middle = (lengths.context + lengths.end) // 2
    prefixes = (lengths.context, middle, lengths.end - 1)
    lines = []
    for window in windows:
        parts = case.pass_parts(decoder, window, middle)
        whole = [total(case.pass_parts(decoder, window, prefix)) for prefix in prefixes]
        lines.append([window, *(f"{1e3 * seconds:.2f}" for seconds in (*whole, *parts.values()))])
    heads = ["window", *(f"at {prefix:,}" for prefix in prefixes), *parts]
    return [
        f"Predicted milliseconds of a pass of `{decoder}`, by window and first open position (parts: {middle:,}):",
        *table(heads, lines),
    ]


def rollout_lines(case: Case, predictions: Sequence[Prediction], acceptance: Acceptance) -> list[str]:
    """Latency of one clip by decoder and window."""
    lengths, slow = case.lengths, predictions[0].seconds
    request = case.counted.request
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
    other = acceptance.model.lower() != case.counted.outline.name
    warning = (
        ["  another model than the one planned for: its tokens per pass are a rough guide"] if other else []
    )
    return [
        f"Predicted latency of {request.new_frames} frames behind {request.context_frames} "
        f"({lengths.end - lengths.context:,} tokens), one clip, without the video tokenizer;",
        f"tokens per pass: {acceptance.source} (counted on {acceptance.model}):",
        *table(("decoder", "window", "tokens/pass", "passes", "ms/pass", "seconds", "x ar"), lines),
        *warning,
    ]


def best_lines(best: Prediction, most: Throughput | None, gpu: Gpu) -> list[str]:
    """One clip fast, many clips fast."""
    lines = [f"Best window for one clip: {best.window} (`{best.decoder}`, {best.seconds:.2f} s)."]
    if most is None:
        return [
            *lines,
            f"Not even one clip fits in {gib(gpu.usable)} with these settings: see `vidjacobi doctor`.",
        ]
    return [
        *lines,
        f"Best for many clips: batch {most.rows} at window {most.prediction.window} "
        f"(`{most.prediction.decoder}`): {1e3 * most.each:.2f} ms a pass, {most.clips_per_hour:,.0f} clips an hour.",
    ]


def what_if_lines(best: Prediction, lines: Sequence[tuple[str, float, float, int]]) -> list[str]:
    """(name, ms a pass, seconds, peak bytes) beside each other."""
    return [
        f"What if, for one clip at window {best.window} (`{best.decoder}`); 8-bit weights are not built in, "
        "graphs are --compile reduce-overhead (untested):",
        *table(
            ("", "ms/pass", "seconds", "memory"),
            [(name, f"{1e3 * each:.2f}", f"{seconds:.2f}", gib(peak)) for name, each, seconds, peak in lines],
        ),
        "  quantised: matrices read at 8 bits and multiplied as the dtype (weights only, scales not counted).",
    ]


def memory_lines(memory: Memory) -> list[str]:
    """By part, then by phase."""
    phases = [
        (f"{name} (worst)" if name == memory.worst else name, gib(n)) for name, n in memory.phases.items()
    ]
    return [
        "Predicted memory by part (not all at once):",
        *table(("part", "bytes"), [(name, gib(n)) for name, n in memory.parts.items()]),
        "Predicted peak of each phase:",
        *table(("phase", "bytes"), phases),
        "  not in it: what loading takes, and what single kernels take for themselves.",
    ]
