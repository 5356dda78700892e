"""Maximal coupling: keep the draft as often as any coupling can (MC-SJD, algorithm 2; agreement 1 - TV(p, q))."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidjacobi.decoding.strategies.evidence import DraftEvidence, Redraft
from vidjacobi.sampling.noise import Purpose


@dataclass(frozen=True)
class Maximal:
    """Keep the draft x if u q(x) < p(x), else draw from norm(max(0, p - q)).

    The one home of the rejection test: the speculative verifier reads its verdict from here.
    """

    fresh: ClassVar[Purpose] = Purpose.FRESH
    reads_draft_probs: ClassVar[bool] = True
    guarantee: ClassVar[str] = "lossless"

    def __call__(self, trial: DraftEvidence) -> Redraft:
        p, q = trial.target.of(trial.drafts), trial.laws.of(trial.drafts)
        kept = trial.noise.uniform(Purpose.ACCEPT) * q < p
        redrawn = trial.from_residual(Purpose.REDRAW, ~kept)
        return Redraft(torch.where(kept, trial.drafts, redrawn), kept)
