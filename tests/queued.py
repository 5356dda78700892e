"""Requests for the clip queue, the model that decodes them, and what each future is on its own."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from plain_model import Plain
from torch import Tensor

from vidjacobi import Decoded, Finished, Request, decode, decode_each
from vidjacobi.config.yaml_files import config_names
from vidjacobi.kinds import Grid
from vidjacobi.testing import TinyVideoModel

DECODERS = config_names("decoder")
GRID, VOCAB, WINDOW = Grid(4, 2, 3), 8, 5
# (context, new tokens, futures): whole frames, mid-row, one token of either, more futures than some batches have rows
SIZES = [(6, 18, 1), (1, 20, 2), (10, 3, 3), (7, 1, 1), (12, 12, 5), (6, 18, 1), (20, 4, 1)]


class Counting(TinyVideoModel):
    """Notes the sizes of prefills and passes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(VOCAB, GRID, surprise=0.5, dtype=torch.float64, **options)
        self.prefills: list[int] = []
        self.passes: list[int] = []

    def prefill(self, tokens: Tensor, *rest: Any) -> Iterator[Tensor]:
        self.prefills.append(len(tokens))
        yield from super().prefill(tokens, *rest)
        self.passes.pop()  # that of this prefill

    def forward(self, tokens: Tensor, *rest: Any) -> Tensor:
        self.passes.append(len(tokens))
        return super().forward(tokens, *rest)


class PlainCounting(Plain):
    """The same model without ``move`` and ``copy_rows``."""

    def __init__(self) -> None:
        model = Counting()
        super().__init__(model)
        self.prefills, self.passes = model.prefills, model.passes


def requests() -> list[Request]:
    generator = torch.Generator().manual_seed(0)
    return [
        Request(torch.randint(0, VOCAB, (context,), generator=generator), new, f"clip {index}", samples)
        for index, (context, new, samples) in enumerate(SIZES)
    ]


def window_of(decoder: str) -> int | None:
    return None if decoder == "ar" else WINDOW


@cache
def alone(decoder: str) -> dict[tuple[str, int], Decoded]:
    """Every future by (clip, sample), decoded on its own."""
    found = {}
    for request in requests():
        for sample in request.numbers:
            name = (str(request.name), 0, sample, 0)
            context, new = request.context[None], request.new_tokens
            found[name[0], sample] = decode(
                Counting(), context, new, decoder, window_of(decoder), clip_ids=[name]
            )
    return found


def of_all(decoder: str, rows: int, wanted: Any = None, model: Any = None, **options: Any) -> list[Finished]:
    """What comes out of the queue."""
    wanted = requests() if wanted is None else wanted
    found = list(decode_each(model or Counting(), iter(wanted), rows, decoder, window_of(decoder), **options))
    assert all(isinstance(one, Finished) for one in found)
    return found  # type: ignore[return-value]


def assert_as_alone(found: list[Finished], decoder: str, several: bool = True) -> None:
    """Tokens, numbers and traces; ``several``: all of the requests."""
    expected = alone(decoder)
    for one in found:
        own, got = expected[str(one.request.name), one.sample], one.decoded
        assert torch.equal(got.tokens, own.tokens)
        assert got.stats.nfe == own.stats.nfe
        assert got.stats.positions == own.stats.positions
        assert got.stats.tokens_per_pass == own.stats.tokens_per_pass
        for part in ("decided", "accepted", "changed", "pending", "evaluated", "decided_in", "redrafted"):
            assert torch.equal(getattr(got.trace, part), getattr(own.trace, part)), part
        assert (
            len(got.trace.seconds) == len(got.trace.forward_seconds) == got.stats.passes == got.stats.nfe[0]
        )
        assert got.stats.guarantee == own.stats.guarantee
    if several:
        assert sorted((str(one.request.name), one.sample) for one in found) == sorted(expected)
