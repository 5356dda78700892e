"""Results of decoders that never ran: made-up decodes, features and qualities through the real tables."""

from collections.abc import Sequence
from typing import Any

import torch

from vidjacobi.bench.decode_rows import AR, Measurement
from vidjacobi.bench.table import summary
from vidjacobi.eval.fvd import Shown, record
from vidjacobi.eval.measure import TRUTH
from vidjacobi.eval.prediction import REFERENCES
from vidjacobi.eval.quality import Quality
from vidjacobi.eval.results import Line, results

GUARANTEES = {"ar": "identical", "pathwise": "identical", "sjdpp": "lossy", "pjd_temporal": "lossy"}
MANY = ("sjd", "mc_sjd", "gs_sjd", "sjd_pac", "sjdpp", "pathwise", "fast", "pjd_temporal")
PROTOCOL = {
    "distance": "FVD",
    "features": "i3d",
    "network": "TF-hub i3d-kinetics-400/1",
    "weights_sha256": "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    "resize": "squash: 224x224 whatever the proportions, bilinear, no antialiasing, half-pixel centres",
}


def measurement(decoder: str, window: int, clip: int, nfe: int) -> Measurement:
    return Measurement(
        *("nano", decoder, GUARANTEES.get(decoder, "lossless"), "raster", 0, clip, window, nfe, 960),
        *(float(window), nfe * 0.0123, nfe * 0.01, 1.0 if decoder in (AR, "pathwise") else 0.26),
        *(2.5, 0.01),
    )


def made_up(
    decoders: Sequence[str] = MANY, windows: Sequence[int] = (16, 32, 64, 128), clips: int = 24
) -> tuple[list[Line], dict[str, Any]]:
    """The lines of an evaluation, and the record of AR's distance."""
    rows = [measurement(AR, 1, clip, 960) for clip in range(clips)]
    for index, name in enumerate(decoders):
        for window in windows:
            level = 960 / (2.4 * (window / 16) ** (0.12 + 0.08 * index) + 0.3 * index)
            rows += [
                measurement(name, window, clip, round(level * (0.8 + 0.4 * clip / clips)))
                for clip in range(clips)
            ]
    lines = summary(rows, "gs_sjd", "pathwise")
    generator = torch.Generator().manual_seed(0)
    truth = 3 * torch.randn(clips, 6, generator=generator)

    def near(noise: float) -> torch.Tensor:
        return truth + noise * torch.randn(clips, 6, generator=generator)

    features = {TRUTH: truth} | {(name, 0): near(1.5 + i) for i, name in enumerate(REFERENCES)}
    features |= {
        (line["decoder"], line["window"]): near(2.0 + (line["guarantee"] == "lossy")) for line in lines
    }
    for line in lines:
        if line["decoder"] == "pathwise":
            features["pathwise", line["window"]] = features[AR, 1]
    quality = {
        (*key, clip): Quality(*key, clip, [23.0 + clip % 3] * 24, [0.78] * 24)
        for key in features
        if key != TRUTH
        for clip in range(clips)
    }
    shown = Shown(24, "predicted frames")
    return results(lines, features, quality, 40, 0), record(features[AR, 1], truth, PROTOCOL, shown, 40)
