"""How tokens are decided: one by one (the oracle), or a window at a time."""

from collections.abc import Callable

from vidjacobi.decoding import autoregressive, jacobi
from vidjacobi.decoding.trace import Steps

METHODS: dict[str, Callable[..., Steps]] = {
    "autoregressive": autoregressive.steps,
    "jacobi": jacobi.steps,
}
