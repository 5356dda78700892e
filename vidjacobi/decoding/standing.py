"""A decode between two passes, for those who want its first tokens before its last."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.trace import Decoded


@dataclass(frozen=True)
class PartialDecode:
    """What is final so far.

    Attributes:
        reach: of each clip, how many of its new tokens are decided without a gap, from the first one on. A pass
            in flight is not waited for: what it decides is seen one pass later.
        tokens: gives the new tokens ``[n]`` of a clip, on the model's device; its first ``reach`` ones are final.
    """

    reach: list[int]
    tokens: Callable[[int], Int[Tensor, " n"]]


Steps = Generator[PartialDecode, None, Decoded]  # one PartialDecode a pass; closing it ends the decode


def finish(steps: Steps) -> Decoded:
    """Make all passes."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            decoded: Decoded = stop.value
            return decoded
