"""The curve of the adaptive window: seconds of a pass and tokens decided in it, by window, measured once."""

from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

from vidjacobi.decoding.api import decode
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.protocol import VideoModel
from vidjacobi.output.atomic import replacing
from vidjacobi.shapes import Tokens


def measure_curve(
    model: VideoModel, contexts: Tokens, new_tokens: int, decoder: str, windows: list[int]
) -> dict[str, list[Any]]:
    """Decode every context at every window, and measure the seconds and the tokens of a pass.

    Returns:
        ``sizes`` (the windows, rising), ``seconds`` (the median of a decode's passes, then the mean over clips) and
        ``tokens`` (decided in a pass, the mean over clips).

    Raises:
        InvalidArgument: no window, or one below 1.
    """
    if not windows or min(windows) < 1:
        raise InvalidArgument("a curve needs windows of at least 1")
    sizes = sorted(set(windows))
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    tokens: dict[int, list[float]] = {size: [] for size in sizes}
    for clip in range(len(contexts)):
        # All windows of a clip in turn: if the machine becomes slower for a while, all windows meet it.
        for size in sizes:
            decoded = decode(model, contexts[clip : clip + 1], new_tokens, decoder, size, measure=True)
            # The first entry is the prefill.
            seconds[size].append(float(torch.median(decoded.trace.seconds[1:])))
            tokens[size].append(decoded.stats.tokens_per_pass[0])
    return {
        "sizes": sizes,
        "seconds": [round(mean(seconds[size]), 6) for size in sizes],
        "tokens": [round(mean(tokens[size]), 3) for size in sizes],
    }


def write_curve(path: Path, curve: dict[str, list[Any]], about: dict[str, Any]) -> None:
    """Write a curve as the YAML that ``lanes: {name: adaptive, curve: PATH}`` reads.

    ``about`` are keys that say where it was measured. Raises BadOutput.
    """
    text = yaml.safe_dump({**about, **curve}, sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
