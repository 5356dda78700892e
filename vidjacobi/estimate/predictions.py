"""Predicted latencies of a rollout by decoder and window, the best window and batch, and what-ifs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.estimate.acceptance import Acceptance
from vidjacobi.estimate.laws import LawWork, law_work
from vidjacobi.estimate.memory_model import Setting, fits
from vidjacobi.estimate.pass_model import (
    Machine,
    PassShape,
    pass_seconds,
    prefill_seconds,
    quantised,
    total,
)
from vidjacobi.estimate.request import Lengths, Request, lengths_of
from vidjacobi.estimate.simulate import decoding, read_slots
from vidjacobi.models.outline import Arithmetic, Outline

PREFIXES = 8  # prefix lengths that a mean over a rollout is taken at
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Counted:
    """What decoders do beside the forward, counted once for each decoder and window.

    Args:
        outline: of the model.
        request: frames and law; its decoder and rows are not looked at.
    """

    def __init__(self, outline: Outline, request: Request) -> None:
        self.outline, self.request = outline, request
        self._laws: dict[tuple[str, int], LawWork] = {}
        self._operations: int | None = None

    def asked(self, decoder: str, window: int, rows: int = 1) -> Request:
        """The request with a decoder at a window, each row a context of its own."""
        chosen = with_window(load_decoder(decoder), window)
        return replace(self.request, decoder=chosen, rows=rows, contexts=rows)

    def laws(self, decoder: str, window: int) -> LawWork:
        """Of one row."""
        key = decoder, window
        if key not in self._laws:
            self._laws[key] = law_work(self.outline, self.asked(*key))
        return self._laws[key]

    @property
    def forward_operations(self) -> int:
        """Operations of a forward, whatever its width."""
        if self._operations is None:
            self._operations = decoding(self.outline, self.asked("ar", 1)).forward.kernels
        return self._operations


@dataclass(frozen=True)
class Case:
    """A model on a machine, and what is rolled out.

    Attributes:
        counted: the model and what its decoders do.
        machine: where.
        weight_bits: of quantised matrices, None: as the dtype.
    """

    counted: Counted
    machine: Machine
    weight_bits: int | None = None

    @property
    def arithmetic(self) -> Arithmetic:
        """Of the model, quantised or not."""
        arithmetic = self.counted.outline.arithmetic
        return arithmetic if self.weight_bits is None else quantised(arithmetic, self.weight_bits)

    @property
    def lengths(self) -> Lengths:
        """Of a clip."""
        return lengths_of(self.counted.outline, self.counted.request)

    def setting(self, decoder: str, window: int, rows: int = 1) -> Setting:
        """What must fit in memory: of one clip a rollout, of several a batch with the tokenizer beside it."""
        asked = replace(self.counted.asked(decoder, window, rows), contexts=1)
        return Setting(self.counted.outline, asked, weight_bits=self.weight_bits, beside=rows > 1)

    def pass_parts(self, decoder: str, window: int, prefix: int, rows: int = 1) -> dict[str, float]:
        """Seconds of a pass by part whose first undecided position is ``prefix``. AR reads the whole clip's slots."""
        laws, end = self.counted.laws(decoder, window), self.lengths.end
        inputs = laws.inputs
        slots = end if decoder == "ar" else read_slots(prefix, inputs, end)
        operations = self.counted.forward_operations + laws.each_pass.kernels
        shape = PassShape(rows, inputs, slots, rows * laws.each_pass.moved, operations)
        return pass_seconds(self.machine, self.arithmetic, shape)

    def mean_pass(self, decoder: str, window: int, rows: int = 1) -> float:
        """Seconds of a pass, the mean over a rollout that decides equally many tokens everywhere."""
        lengths = self.lengths
        span = lengths.end - lengths.context
        middles = [lengths.context + int(span * (part + 0.5) / PREFIXES) for part in range(PREFIXES)]
        parts = [self.pass_parts(decoder, window, prefix, rows) for prefix in middles]
        return sum(map(total, parts)) / PREFIXES

    def prefill(self, decoder: str, window: int) -> float:
        """Seconds of a context."""
        laws = self.counted.laws(decoder, window).prefill.moved
        return prefill_seconds(self.machine, self.arithmetic, self.lengths.context, laws)


@dataclass(frozen=True)
class Prediction:
    """A rollout of one clip: latency from the first token to the last.

    Attributes:
        decoder, window: how.
        tokens: decided per pass.
        passes: of the clip.
        each: seconds of a pass, mean over the rollout.
        seconds: of all passes and the prefill; the tokenizer is not in it.
    """

    decoder: str
    window: int
    tokens: float
    passes: float
    each: float
    seconds: float


def predict(case: Case, acceptance: Acceptance, windows: Sequence[int] | None) -> list[Prediction]:
    """Every decoder and window whose acceptance is known (AR at 1 always); ``windows`` picks some."""
    predictions = [_prediction(case, "ar", 1, 1.0)]
    for (decoder, window), tokens in acceptance.tokens.items():
        if decoder != "ar" and (windows is None or window in windows):
            predictions.append(_prediction(case, decoder, window, tokens))
    return predictions


def _prediction(case: Case, decoder: str, window: int, tokens: float) -> Prediction:
    lengths = case.lengths
    passes = (lengths.end - lengths.context) / tokens
    each = case.mean_pass(decoder, window)
    return Prediction(decoder, window, tokens, passes, each, case.prefill(decoder, window) + passes * each)


@dataclass(frozen=True)
class Throughput:
    """Many clips at once: each pass serves ``rows`` of them, freed rows are refilled."""

    prediction: Prediction
    rows: int
    each: float
    clips_per_hour: float


def throughputs(
    case: Case, predictions: Iterable[Prediction], batches: Sequence[int] = BATCHES
) -> list[Throughput]:
    """By clips per hour, best first, whether they fit or not."""
    found = []
    for one in predictions:
        for rows in batches:
            each = case.mean_pass(one.decoder, one.window, rows)
            clip = case.prefill(one.decoder, one.window) + one.passes * each / rows
            found.append(Throughput(one, rows, each, 3600 / clip))
    return sorted(found, key=lambda line: -line.clips_per_hour)


def best_throughput(case: Case, predictions: Iterable[Prediction]) -> Throughput | None:
    """Most clips per hour of those that fit on the GPU; None where not even one clip does."""
    room = case.machine.gpu.usable
    for line in throughputs(case, predictions):
        if fits(case.setting(line.prediction.decoder, line.prediction.window, line.rows), room):
            return line
    return None


def curve_of(
    case: Case, predictions: Sequence[Prediction], tokens_of: str, passes_of: str
) -> dict[str, list[Any]]:
    """``sizes``, ``seconds`` and ``tokens``, as ``vidjacobi curve`` measures them.

    ``tokens_of`` is the decoder whose acceptance it is, ``passes_of`` the one whose passes are timed.
    """
    mine = sorted((one for one in predictions if one.decoder == tokens_of), key=lambda one: one.window)
    return {
        "sizes": [one.window for one in mine],
        "seconds": [round(case.mean_pass(passes_of, one.window), 6) for one in mine],
        "tokens": [round(one.tokens, 3) for one in mine],
    }
