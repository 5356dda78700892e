"""Token reuse (SJD++): a draft stays while the model still likes it. Not a coupling: the law is lost."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidjacobi.decoding.strategies.couplings.independent import Independent
from vidjacobi.decoding.strategies.evidence import DraftEvidence, Redraft
from vidjacobi.errors import InvalidArgument
from vidjacobi.sampling.noise import Purpose


@dataclass(frozen=True)
class Reuse:
    """Keep the draft x if p(x) > ``threshold`` q(x), else draw from ``p`` anew.

    A test on the token's own value, so what stays no longer follows ``p`` (lossy), although ``p`` is stored as
    its law as everywhere here; the only public code keeps the old ``q``, which is further off.
    """

    threshold: float = 0.5
    fresh: ClassVar[Purpose] = Purpose.FRESH
    reads_draft_probs: ClassVar[bool] = True
    guarantee: ClassVar[str] = "lossy"

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise InvalidArgument(f"reuse: threshold must be at least 0, not {self.threshold!r}")

    def __call__(self, trial: DraftEvidence) -> Redraft:
        p, q = trial.target.of(trial.drafts), trial.laws.of(trial.drafts)
        kept = p > self.threshold * q
        return Redraft(torch.where(kept, trial.drafts, trial.draw(Independent()).tokens), kept)
