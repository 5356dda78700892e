"""Independent coupling: every redraft is a new draw (SJD, Teng et al. 2024)."""

from dataclasses import dataclass
from typing import ClassVar

from vidjacobi.decoding.strategies.evidence import DraftEvidence, Redraft
from vidjacobi.sampling.noise import Purpose


@dataclass(frozen=True)
class Independent:
    """Redraft from ``p`` with noise of this pass; agrees with the draft by chance only."""

    fresh: ClassVar[Purpose] = Purpose.FRESH
    reads_draft_probs: ClassVar[bool] = False
    guarantee: ClassVar[str] = "lossless"

    def __call__(self, trial: DraftEvidence) -> Redraft:
        tokens = trial.from_target(Purpose.REDRAW)
        return Redraft(tokens, tokens == trial.drafts)
