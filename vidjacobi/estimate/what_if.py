"""The best window under other circumstances: 8-bit weights, captured passes."""

from dataclasses import dataclass, replace

from vidjacobi.estimate.memory import memory_of
from vidjacobi.estimate.predictions import PassPredictor, Prediction


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
