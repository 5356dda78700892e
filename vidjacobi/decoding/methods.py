"""How tokens are decided: one by one (the oracle), or a window at a time."""

from collections.abc import Callable, Iterator
from functools import partial

from vidjacobi.decoding import autoregressive, jacobi
from vidjacobi.decoding.compiled import CompiledModel
from vidjacobi.decoding.scheduler import Done, Orders, continuous_batching, static_batching
from vidjacobi.decoding.standing import Steps
from vidjacobi.decoding.state import Problem
from vidjacobi.decoding.trace import Decoded
from vidjacobi.models.protocol import VideoModel, has_free_rows
from vidjacobi.registry import lookup

METHODS: dict[str, Callable[[Problem], Decoded]] = {
    "autoregressive": autoregressive.run,
    "jacobi": jacobi.run,
}
STEPS: dict[str, Callable[[Problem], Steps]] = {
    "autoregressive": autoregressive.steps,
    "jacobi": jacobi.steps,
}
SERVERS: dict[str, Callable[[Orders, int], Iterator[Done]]] = {
    "jacobi": continuous_batching
}  # refill a row at once


def server_of(method: str, model: VideoModel) -> Callable[[Orders, int], Iterator[Done]]:
    """How clips of a queue are decoded: with rows refilled at once where method and model can, else in batches.

    Compiled passes keep their rows.
    """
    if refills(method, model):
        return SERVERS[method]
    return partial(static_batching, lookup("method", method, METHODS))


def refills(method: str, model: VideoModel) -> bool:
    """Whether a row of a queue takes the next clip as soon as its own is finished."""
    return method in SERVERS and has_free_rows(model) and not isinstance(model, CompiledModel)
