"""Each broken promise of a model is named, by ``check_model`` and, where it costs nothing, by every decode."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from plain_model import Plain
from torch import Tensor, nn

import vidjacobi
from vidjacobi import Grid, Guided
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.testing import TinyVideoModel, check_model

pytestmark = pytest.mark.unchecked  # the hook that checks shapes would find some of the mistakes first

GRID, VOCAB = Grid(4, 2, 3), 8


class Broken(TinyVideoModel):
    """A model whose forward call is ``broken``, while its prefill is right."""

    prefilling = False

    def __init__(self, **options: Any) -> None:
        super().__init__(VOCAB, GRID, surprise=0.7, dtype=torch.float64, **options)

    def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
        self.prefilling = True
        chunks = list(super().prefill(tokens, cache, keep))
        self.prefilling = False
        yield from chunks

    def forward(self, *inputs: Any) -> Tensor:
        return super().forward(*inputs) if self.prefilling else self.broken(*inputs)

    def broken(self, tokens: Tensor, positions: Tensor, slots: Tensor, visible: Tensor, cache: Any) -> Tensor:
        return super().forward(tokens, positions, slots, visible, cache)


class IgnoresKeep(Broken):
    def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
        yield from super().prefill(tokens, cache, tokens.shape[1])


class KeepsTooFew(Broken):
    def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
        yield from super().prefill(tokens, cache, 1)


class KeepsTheFirst(Broken):
    def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
        yield torch.cat(list(super().prefill(tokens, cache, tokens.shape[1])), 1)[:, :keep]


class SeesTheFuture(Broken):
    def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
        positions = torch.arange(tokens.shape[1]).expand(tokens.shape)
        everything = torch.ones(*tokens.shape, tokens.shape[1], dtype=torch.bool)
        yield TinyVideoModel.forward(self, tokens, positions, positions, everything, cache)[:, -keep:]


class IgnoresVisible(Broken):
    """An attention that is causal by itself."""

    def broken(self, tokens: Any, positions: Any, slots: Any, visible: Any, cache: Any) -> Tensor:
        causal = (torch.arange(visible.shape[-1]) <= positions[..., None]) | visible
        return super().broken(tokens, positions, slots, causal, cache)


class PositionsOffByOne(Broken):
    shift = 1

    def broken(self, tokens: Any, positions: Any, *rest: Any) -> Tensor:
        return super().broken(tokens, (positions + self.shift).clamp(0, GRID.tokens - 1), *rest)


class PositionsOffByOneBack(PositionsOffByOne):
    shift = -1


class CountsPositionsItself(Broken):
    def broken(self, tokens: Any, positions: Any, *rest: Any) -> Tensor:
        return super().broken(tokens, torch.arange(tokens.shape[1]).expand_as(tokens), *rest)


class WritesAfterReading(Broken):
    """Inputs of a pass see only what earlier passes wrote."""

    def broken(self, tokens: Any, positions: Any, slots: Any, visible: Any, cache: Any) -> Tensor:
        own = visible & (torch.arange(visible.shape[-1]) == slots[..., None])
        before = visible & (torch.arange(visible.shape[-1]) < slots.amin(-1)[:, None, None])
        return super().broken(tokens, positions, slots, own | before, cache)


class KeepsOldEntries(Broken):
    """What is in a slot stays there."""

    def broken(self, tokens: Any, positions: Any, slots: Any, visible: Any, cache: Any) -> Tensor:
        old = cache.clone()
        logits = super().broken(tokens, positions, slots, visible, cache)
        taken = old != 0
        cache[taken] = old[taken]
        return (
            logits
            if not taken.gather(1, slots).any()
            else super().broken(tokens * 0, positions, slots, visible, cache.clone())
        )


class WritesAtPositions(Broken):
    def broken(self, tokens: Any, positions: Any, slots: Any, visible: Any, cache: Any) -> Tensor:
        return super().broken(tokens, positions, torch.where(slots < 128, positions, slots), visible, cache)


class OnlyNeighbours(Broken):
    """Takes the first input's position and counts on."""

    def broken(self, tokens: Any, positions: Any, slots: Any, visible: Any, cache: Any) -> Tensor:
        run = positions[:, :1] + torch.arange(tokens.shape[1])
        same = positions == positions[:, :1]  # siblings and padding
        return super().broken(
            tokens, torch.where(same, positions, run.clamp(max=GRID.tokens - 1)), slots, visible, cache
        )


class OnlyRuns(Broken):
    """The same, siblings included."""

    def broken(self, tokens: Any, positions: Any, *rest: Any) -> Tensor:
        run = positions[:, :1] + torch.arange(tokens.shape[1])
        return super().broken(tokens, run.clamp(max=GRID.tokens - 1), *rest)


class MixesClips(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        logits = super().broken(*inputs)
        return logits + 0.1 * (len(logits) - 2) * torch.arange(VOCAB)


class BadPadding(Broken):
    def broken(self, tokens: Any, positions: Any, slots: Any, *rest: Any) -> Tensor:
        return super().broken(tokens, positions, slots, *rest).masked_fill(slots[..., None] == 128, torch.nan)


class ForgetsToMove(Broken):
    def move(self, cache: Any, source: Tensor, target: Tensor) -> None:
        """Nothing."""


class CopiesIntoTheFirstRow(Broken):
    def copy_rows(self, cache: Any, rows: Any, source: Any, source_rows: Any) -> None:
        super().copy_rows(cache, 0 * rows, source, source_rows)


class Draws(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        logits = super().broken(*inputs)
        return logits + torch.rand(logits.shape)


class InTrainMode(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Dropout(0.5))

    def broken(self, *inputs: Any) -> Tensor:
        return self.network(super().broken(*inputs).clamp(-9, 9))


class InTrainModeWithNorms(Broken):
    """Batch norms of train mode do not draw: they mix the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = {"head": nn.BatchNorm1d(VOCAB, dtype=torch.float64)}

    def forward(self, *inputs: Any) -> Tensor:
        logits = super().forward(*inputs).clamp(-9, 9)
        return self.layers["head"](logits.flatten(0, 1)).view_as(logits)


class NotANumber(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        return super().broken(*inputs) * torch.nan


class OneAxisLess(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        return super().broken(*inputs)[:, -1]


class LargerVocabulary(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        return nn.functional.pad(super().broken(*inputs), (0, 1))


class LastLogitsOnly(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        return super().broken(*inputs)[:, -1:]


class WholeNumbers(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        return super().broken(*inputs).clamp(-9, 9).long()


class AnotherDtype(Broken):
    def broken(self, *inputs: Any) -> Tensor:
        return super().broken(*inputs).float()


MISTAKES: dict[type[Broken], str] = {
    IgnoresKeep: "prefill must yield the logits of the last keep=1 inputs, and yielded more: does it ignore keep?",
    KeepsTooFew: "prefill must yield the logits of the last keep=12 inputs, and yielded 1: does it ignore keep?",
    KeepsTheFirst: "prefill with keep=10 does not yield the logits of the last 10 inputs: does it ignore keep?",
    SeesTheFuture: "in prefill an input sees tokens that come after it",
    IgnoresVisible: "`visible` is ignored: an entry that an input does not see changes its logits",
    PositionsOffByOne: "positions are off by one: forward treats position p as prefill treats p + 1",
    PositionsOffByOneBack: "positions are off by one: forward treats position p as prefill treats p - 1",
    CountsPositionsItself: "`positions` is ignored: forward gives the same logits whatever the positions are",
    WritesAfterReading: "inputs of one pass do not see those before them, which `visible` shows",
    KeepsOldEntries: "a slot that is written again keeps something of its old entry",
    WritesAtPositions: "an input whose slot is not its position (a sibling) is wrong: entries are written at `slots`",
    OnlyNeighbours: "inputs of one pass that are no neighbours get other logits than alone",
    OnlyRuns: "get other logits than alone: are positions counted on from the first?",
    MixesClips: "a clip's logits depend on the clips beside it",
    BadPadding: "padding gets logits that are not finite",
    ForgetsToMove: "`move` does not bring an entry to its new slot",
    CopiesIntoTheFirstRow: "`copy_rows` does not copy a row, or touches others",
    Draws: "forward gives other logits when it is called again with the same inputs: nothing may be drawn",
    InTrainMode: "Its network is in train mode (Dropout, Sequential): call eval() on it",
    InTrainModeWithNorms: "Its network is in train mode (BatchNorm1d): call eval() on it",
    NotANumber: "forward returns logits that are NaN or infinite",
    OneAxisLess: "forward must return floating-point logits [clips, inputs, vocabulary] = [2, 11, 8]",
    LargerVocabulary: "and returned torch.float64 [2, 11, 9]",
    LastLogitsOnly: "and returned torch.float64 [2, 1, 8]",
    WholeNumbers: "and returned torch.int64 [2, 11, 8]",
    AnotherDtype: "forward gives logits in torch.float32, and the model's dtype is torch.float64",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_named(mistake: type[Broken]) -> None:
    with pytest.raises(BadModelOutput) as caught:
        check_model(mistake())
    assert MISTAKES[mistake] in str(caught.value)


class Conditioned(TinyVideoModel):
    """Each row has a condition of its own."""

    rows_alike = False

    def forward(self, *inputs: Any) -> Tensor:
        logits = super().forward(*inputs)
        return logits + torch.arange(len(logits), dtype=logits.dtype)[:, None, None] * torch.arange(VOCAB)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: TinyVideoModel(VOCAB, GRID, dtype=dtype),
        lambda dtype: TinyVideoModel(dtype=dtype),  # six positions
        lambda dtype: Plain(TinyVideoModel(VOCAB, GRID, dtype=dtype)),
        lambda dtype: Conditioned(VOCAB, GRID, dtype=dtype),
        lambda dtype: Guided(*(TinyVideoModel(VOCAB, GRID, seed, dtype=dtype) for seed in (0, 1)), scale=2.0),
    ],
)
def test_good_models_pass(make: Any, dtype: torch.dtype) -> None:
    check_model(make(dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_adapter_passes(tiny_pair: Any, dtype: str) -> None:
    check_model(vidjacobi.load_model(tiny_pair, "cpu", dtype))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "micro"])
def test_the_bundled_models_pass(name: str) -> None:
    model, tokenizer = vidjacobi.load(name, "cpu", "float32")
    check_model(model)
    vidjacobi.testing.check_tokenizer(tokenizer, model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": 2.5}, "vocab_size must be a whole number"),
        ({"max_positions": 5}, "max_positions must be at least 6"),
        ({"prefix_tokens": [3]}, "prefix_tokens must be a tuple"),
        ({"device": "cpu"}, "device must be a torch.device, not 'cpu'"),
        ({"dtype": "float32"}, "dtype must be a torch.dtype"),
        ({"grid_for": lambda frames: (1, 2, 3)}, "grid_for(1) must be a vidjacobi.Grid"),
    ],
)
def test_members_of_another_type(change: dict[str, Any], words: str) -> None:
    model = Plain(TinyVideoModel(VOCAB, GRID))
    vars(model).update(change)
    with pytest.raises((InvalidArgument, BadModelOutput)) as caught:
        check_model(model)
    assert words in str(caught.value)


def test_members_that_are_missing() -> None:
    model = Plain(TinyVideoModel(VOCAB, GRID))
    del model.prefill, model.grid_for
    for call in (check_model, lambda model: vidjacobi.decode(model, torch.zeros(1, 2).long(), 2)):
        with pytest.raises(InvalidArgument, match=r"the model \(Plain\) lacks grid_for, prefill"):
            call(model)


ALWAYS = {
    **dict.fromkeys((IgnoresKeep,), "does it ignore keep?"),
    **dict.fromkeys((OneAxisLess, LargerVocabulary), "forward must return floating-point logits"),
    WholeNumbers: "and returned torch.int64",
}


@pytest.mark.parametrize("decoder", ["ar", "pathwise", "fast", "gs_sjd", "zipar"])
@pytest.mark.parametrize("mistake", ALWAYS, ids=lambda mistake: mistake.__name__)
def test_every_decode_looks_at_shapes(mistake: type[Broken], decoder: str) -> None:
    """They were decoded as they were, or died deep inside."""
    context = torch.randint(0, VOCAB, (2, 9), generator=torch.Generator().manual_seed(0))
    for model in (mistake(), Guided(mistake(), mistake(), 2.0)):
        with pytest.raises(BadModelOutput) as caught:
            vidjacobi.decode(model, context, 9, decoder, window=5)
        assert ALWAYS[mistake] in str(caught.value)


def test_keep_is_looked_at_where_logits_come_in_many_chunks() -> None:
    """Also by guidance, which takes no more of a branch than it needs."""

    class OneByOne(IgnoresKeep):
        def prefill(self, tokens: Tensor, cache: Any, keep: int) -> Iterator[Tensor]:
            for chunk in super().prefill(tokens, cache, keep):
                yield from chunk.split(1, 1)

    context = torch.zeros(1, 9, dtype=torch.long)
    for model in (OneByOne(), Guided(OneByOne(), OneByOne(), 2.0)):
        with pytest.raises(BadModelOutput, match="does it ignore keep"):
            vidjacobi.decode(model, context, 4, "ar")
