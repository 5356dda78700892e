"""What stands under the tables and plots of an evaluation: its protocol, and what the numbers that are shown say."""

from collections.abc import Mapping, Sequence
from typing import Any

from vidjacobi.bench.decode_rows import AR
from vidjacobi.errors import number_of
from vidjacobi.eval.frame_metrics import MIRRORED, VALID
from vidjacobi.eval.prediction import REFERENCES
from vidjacobi.eval.results import Line
from vidjacobi.eval.settings import EvalConfig

METRICS = (
    "PSNR and SSIM: per frame in float64, means over frames and clips; frames that equal the ground truth are left "
    "out of the mean PSNR and counted; SSIM with a Gaussian window (11x11, sigma 1.5) over "
)
BORDERS = {
    MIRRORED: "the whole map, frames mirrored at their borders",
    VALID: "the map without 5 pixels at each border",
}


def setting(config: EvalConfig, clips: int) -> str:
    """What was run, as a sentence."""
    stride = f", stride {config.stride}" if config.stride > 1 else ""
    top_k = "" if config.top_k is None else f"top-k {config.top_k}, "
    return (
        f"Rollouts of {config.model} on {config.dataset}: {number_of(clips, 'clip')}, "
        f"{number_of(config.context, 'frame')} given, "
        f"{config.frames} predicted{stride}, temperature {config.temperature:g}, top-p {config.top_p:g}, "
        f"{top_k}seed {config.seed}."
    )


def conventions(config: EvalConfig, measured: Mapping[str, Any], label: str, device: str) -> list[str]:
    """How every number was made, a sentence each. ``measured`` is the record of AR's distance (``fvd.record``)."""
    protocol, floor = measured["protocol"], measured["floor"]
    workers = f" by each of {config.workers} processes" if config.workers > 1 else ""
    found = [
        "L: positions per pass. NFE: passes of a clip, the prefill included, mean over clips.",
        f"Latency: seconds to decode a clip{workers} on {device}, without the video tokenizer.",
        "x fewer, x faster: AR's passes and seconds divided by the decoder's, geometric means over clips.",
        f"{label}: {protocol['features']} features of {protocol['frames']} {protocol['frames_shown']}, resize "
        f"{str(protocol.get('resize', 'none')).split(':')[0]}, weights sha256 {protocol['weights_sha256'][:12]}, "
        f"{_formula(protocol)}; it depends on the number of clips.",
        f"{label} - AR's: difference over the same clips, with a paired bootstrap of {config.draws} draws (interval: "
        "1.96 standard deviations to either side). The other intervals are Student's t over clips; all are 95 %.",
        f"{METRICS}{BORDERS[config.ssim_borders]}.",
    ]
    if floor:
        found.append(
            f"Floor of {label}: {floor['mean']:.1f}, the mean distance of two disjoint halves "
            f"({number_of(floor['clips_per_half'], 'clip')} each) of the real clips."
        )
    return found


def _formula(protocol: Mapping[str, Any]) -> str:
    """How the distance of the features is computed."""
    if "kernel" in protocol:
        return f"MMD with the kernel {protocol['kernel']}"
    return f"covariances with ddof {protocol['covariance_ddof']}"


def references() -> str:
    """What the lines without a decoder are, as a sentence."""
    return " ".join(f"{name}: {meaning}." for name, meaning in REFERENCES.items())


def against_ar(lines: Sequence[Line], label: str) -> str:
    """Of which decoders the distance differs from AR's, by the intervals of these very lines; empty without any."""
    found: dict[str, dict[str, list[int]]] = {}
    windows: dict[str, list[int]] = {}
    for line in lines:
        interval, name = line["fvd_above_ar"], line["decoder"]
        if interval is None or name in (AR, *REFERENCES):
            continue
        windows.setdefault(name, []).append(line["window"])
        low, high = interval["low"], interval["high"]
        where = "lies above 0" if low > 0 else "lies below 0" if high < 0 else "contains 0"
        found.setdefault(where, {}).setdefault(name, []).append(line["window"])
    if not found:
        return ""
    parts = [f"{where} for {_named(names, windows)}" for where, names in sorted(found.items())]
    several = sum(map(len, windows.values())) > 1
    odds = " Of decoders that equal AR, one interval in 20 misses 0 by chance." if several else ""
    return f"The interval of {label} - AR's {'; it '.join(parts)}.{odds}"


def _named(names: Mapping[str, list[int]], windows: Mapping[str, list[int]]) -> str:
    """Decoders, with the windows that are meant where these are not all of a decoder's."""
    if all(names.get(name) == found for name, found in windows.items()):
        return "every decoder and window"
    return ", ".join(
        name if mine == windows[name] else f"{name} at {', '.join(map(str, mine))}"
        for name, mine in names.items()
    )
