"""How a redraft depends on the draft it replaces. The contract is ``vidjacobi.trial.Coupling``."""

from vidjacobi.couplings.gumbel import Gumbel
from vidjacobi.couplings.independent import Independent
from vidjacobi.couplings.maximal import Maximal
from vidjacobi.couplings.mixture import Mixture
from vidjacobi.couplings.reuse import Reuse

COUPLINGS: dict[str, type] = {
    "independent": Independent,
    "maximal": Maximal,
    "gumbel": Gumbel,
    "mixture": Mixture,
    "reuse": Reuse,
}
