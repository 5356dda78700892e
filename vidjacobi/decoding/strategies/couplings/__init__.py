"""How a redraft depends on the draft it replaces. The contract is in evidence.py."""

from vidjacobi.decoding.strategies.couplings.gumbel import Gumbel
from vidjacobi.decoding.strategies.couplings.independent import Independent
from vidjacobi.decoding.strategies.couplings.maximal import Maximal
from vidjacobi.decoding.strategies.couplings.mixture import Mixture
from vidjacobi.decoding.strategies.couplings.reuse import Reuse

COUPLINGS: dict[str, type] = {
    "independent": Independent,
    "maximal": Maximal,
    "gumbel": Gumbel,
    "mixture": Mixture,
    "reuse": Reuse,
}
