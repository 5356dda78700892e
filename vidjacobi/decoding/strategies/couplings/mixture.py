"""Alpha-coupling: a coin chooses a coupled redraft or an independent one (MC-SJD, section 5)."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from vidjacobi.decoding.strategies.couplings.gumbel import Gumbel
from vidjacobi.decoding.strategies.couplings.independent import Independent
from vidjacobi.decoding.strategies.couplings.maximal import Maximal
from vidjacobi.decoding.strategies.evidence import Coupling, DraftEvidence, Redraft
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import lookup
from vidjacobi.sampling.noise import Purpose


@dataclass(frozen=True)
class Mixture:
    """With probability ``alpha`` (0..1) the coupling named ``of``, else an independent redraft."""

    alpha: float
    of: str = "maximal"
    coupled: Coupling = field(init=False)
    guarantee: ClassVar[str] = "lossless"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InvalidArgument(f"alpha must lie in [0, 1], not {self.alpha}")
        entry = lookup("coupling", self.of, {"maximal": Maximal, "gumbel": Gumbel})
        object.__setattr__(self, "coupled", entry())

    @property
    def fresh(self) -> Purpose:
        return self.coupled.fresh

    @property
    def reads_draft_probs(self) -> bool:
        return self.coupled.reads_draft_probs

    def __call__(self, trial: DraftEvidence) -> Redraft:
        heads = trial.noise.uniform(Purpose.COIN) < self.alpha
        coupled, free = trial.draw(self.coupled), trial.draw(Independent())
        return Redraft(
            torch.where(heads, coupled.tokens, free.tokens), torch.where(heads, coupled.kept, free.kept)
        )
