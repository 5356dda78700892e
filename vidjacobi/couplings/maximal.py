"""Maximal coupling: keep the draft as often as any coupling can (MC-SJD, algorithm 2; agreement 1 - TV(p, q))."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidjacobi.distributions import probability, race, residual
from vidjacobi.noise import Purpose
from vidjacobi.trial import Coupled, Trial


@dataclass(frozen=True)
class Maximal:
    """Keep the draft x if u q(x) < p(x), else draw from norm(max(0, p - q)).

    The one home of the rejection test: the speculative verifier reads its verdict from here.
    """

    fresh: ClassVar[Purpose] = Purpose.FRESH
    reads_laws: ClassVar[bool] = True
    law: ClassVar[str] = "lossless"

    def __call__(self, trial: Trial) -> Coupled:
        p = probability(trial.target, trial.drafts)
        q = probability(trial.laws, trial.drafts)
        kept = trial.noise.uniform(Purpose.ACCEPT) * q < p
        redrawn = race(residual(trial.target, trial.laws), trial.exponential(Purpose.REDRAW))
        return Coupled(torch.where(kept, trial.drafts, redrawn), kept)
