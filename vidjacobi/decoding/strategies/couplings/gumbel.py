"""Gumbel coupling: every draw at a position uses that position's own Gumbel noise (SCD pi_GS)."""

from dataclasses import dataclass
from typing import ClassVar

from vidjacobi.decoding.strategies.evidence import DraftEvidence, Redraft
from vidjacobi.sampling.noise import Purpose


@dataclass(frozen=True)
class Gumbel:
    """Redraft argmax(log p + G_position): agreement at least (1 - TV) / (1 + TV) between any two passes."""

    fresh: ClassVar[Purpose] = Purpose.GUMBEL
    reads_draft_probs: ClassVar[bool] = False
    guarantee: ClassVar[str] = "lossless"

    def __call__(self, trial: DraftEvidence) -> Redraft:
        tokens = trial.from_target(Purpose.GUMBEL)
        return Redraft(tokens, tokens == trial.drafts)
