"""How tokens are decided: one by one (the oracle), or a window at a time."""

from collections.abc import Callable

from vidjacobi.decoders import autoregressive, jacobi
from vidjacobi.state import Problem
from vidjacobi.trace import Decoded

METHODS: dict[str, Callable[[Problem], Decoded]] = {
    "autoregressive": autoregressive.run,
    "jacobi": jacobi.run,
}
