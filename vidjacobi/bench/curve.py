"""Seconds and decided tokens of a pass by window size, measured once and kept in a file for the adaptive window."""

from pathlib import Path
from statistics import mean
from typing import Any

import torch
from omegaconf import OmegaConf

from vidjacobi.decoding.api import decode
from vidjacobi.errors import InvalidArgument
from vidjacobi.models.protocol import VideoModel
from vidjacobi.output.atomic import replacing
from vidjacobi.shapes import Tokens


def measure_curve(
    model: VideoModel, contexts: Tokens, new_tokens: int, decoder: str, windows: list[int]
) -> dict[str, list[Any]]:
    """Decode every context at every window: the median seconds of a pass, and the mean tokens per pass.

    Windows are taken in turn for each clip, so that a change in the machine's speed meets all of them.

    Raises:
        InvalidArgument: no window, or one below 1.
    """
    if not windows or min(windows) < 1:
        raise InvalidArgument("a curve needs windows of at least 1")
    sizes = sorted(set(windows))
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    tokens: dict[int, list[float]] = {size: [] for size in sizes}
    for clip in range(len(contexts)):
        for size in sizes:
            decoded = decode(model, contexts[clip : clip + 1], new_tokens, decoder, size, measure=True)
            seconds[size].append(float(torch.median(decoded.trace.seconds[1:])))
            tokens[size].append(decoded.stats.tokens_per_pass[0])
    return {
        "sizes": sizes,
        "seconds": [round(mean(seconds[size]), 6) for size in sizes],
        "tokens": [round(mean(tokens[size]), 3) for size in sizes],
    }


def write_curve(path: Path, curve: dict[str, list[Any]], about: dict[str, Any]) -> None:
    """As YAML that ``lanes: {name: adaptive, curve: PATH}`` reads; ``about`` says where it was measured."""
    text = OmegaConf.to_yaml(OmegaConf.create({**about, **curve}))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
