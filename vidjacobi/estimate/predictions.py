"""Predicted latency of a rollout by decoder and window, and the best window and batch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vidjacobi.config.decoder import load_decoder, with_window
from vidjacobi.decoding.recipe import Recipe
from vidjacobi.errors import BadInput
from vidjacobi.estimate.memory import fits
from vidjacobi.estimate.overhead import OutsideWork, outside_work
from vidjacobi.estimate.pass_seconds import (
    Machine,
    PassShape,
    PublishedTable,
    prefill_seconds,
    quantised,
    seconds_by_part,
    total,
)
from vidjacobi.estimate.scenario import Lengths, RolloutShape, Scenario, lengths_of
from vidjacobi.estimate.simulate import decoding, recipe_of, slots_read
from vidjacobi.models.outline import Arithmetic, Outline

PREFIXES = 8  # prefix lengths that a mean over a rollout is taken at
BATCHES = (1, 2, 4, 8, 16, 32, 64)
STAND_IN = "gs_sjd"  # published, and its redrafts are coupled as those of pathwise and adaptive


@dataclass(frozen=True)
class Acceptance:
    """How many tokens a pass decides.

    Attributes:
        source: where the numbers are from.
        model: on which model they were counted.
        tokens: tokens per pass by decoder and window.
        borrowed: decoders that have none of their own, and whose numbers stand for them.
    """

    source: str
    model: str
    tokens: Mapping[tuple[str, int], float]
    borrowed: Mapping[str, str] = field(default_factory=dict)

    def covering(self, decoder: str) -> "Acceptance":
        """With numbers for ``decoder``: its own, or those of STAND_IN where it has none and is not lossy."""
        known = {name for name, _ in self.tokens}
        # How much a lossy decoder accepts is up to its own test: no other's counts can stand for it.
        if decoder in known or STAND_IN not in known or load_decoder(decoder).guarantee == "lossy":
            return self
        lent = {(decoder, window): n for (name, window), n in self.tokens.items() if name == STAND_IN}
        return replace(self, tokens={**self.tokens, **lent}, borrowed={decoder: STAND_IN})


def acceptance_of_paper(table: PublishedTable) -> Acceptance:
    """Of a published table; AR's is 1 at window 1."""
    tokens = {(row.decoder, row.window): table.new_tokens / row.passes for row in table.rows}
    return Acceptance(table.paper, table.model, tokens)


def acceptance_of_bench(path: Path) -> Acceptance:
    """Of a ``bench.json`` that ``vidjacobi bench`` wrote; of several models the first one.

    Raises BadInput where it is none.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
        model = str(summary[0]["model"])
        tokens = {
            (str(line["decoder"]), int(line["window"])): float(line["tokens_per_pass"])
            for line in summary
            if line["model"] == model
        }
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadInput(f"{path} is not the bench.json that `vidjacobi bench` writes") from None
    if min(tokens.values()) < 1:
        raise BadInput(f"{path}: fewer tokens than passes ({min(tokens.values())} tokens a pass)")
    return Acceptance(str(path), model, tokens)


class DecoderCosts:
    """What decoders do in a pass of one model, counted once for each decoder and window.

    Args:
        outline: of the model.
        shape: frames and sampling; its decoder and rows are not looked at.
    """

    def __init__(self, outline: Outline, shape: RolloutShape) -> None:
        self.outline, self.shape = outline, shape
        self._recipes: dict[tuple[str, int], Recipe] = {}
        self._outside: dict[tuple[str, int], OutsideWork] = {}
        self._operations: int | None = None

    def shape_of(self, decoder: str, window: int, rows: int = 1) -> RolloutShape:
        """The shape with a decoder at a window, each row a context of its own."""
        chosen = with_window(load_decoder(decoder), window)
        return replace(self.shape, decoder=chosen, rows=rows, contexts=rows)

    def recipe(self, decoder: str, window: int) -> Recipe:
        """What such passes are run with."""
        key = decoder, window
        if key not in self._recipes:
            self._recipes[key] = recipe_of(self.outline, self.shape_of(*key))
        return self._recipes[key]

    def outside(self, decoder: str, window: int) -> OutsideWork:
        """Work outside the forward call, of one row."""
        key = decoder, window
        if key not in self._outside:
            self._outside[key] = outside_work(self.outline, self.shape_of(*key))
        return self._outside[key]

    @property
    def forward_operations(self) -> int:
        """Operations of a forward call: AR's, which stand for those of every width."""
        # A window's forward call launches 6 % more of them on the 4B (1,138 instead of 1,074).
        if self._operations is None:
            self._operations = decoding(self.outline, self.shape_of("ar", 1)).forward.kernels
        return self._operations


@dataclass(frozen=True)
class PassPredictor:
    """Predicts passes of a model on a machine.

    Attributes:
        costs: the model, what is rolled out, and what its decoders do.
        machine: where.
        weight_bits: of quantised matrices, None: as the dtype.
    """

    costs: DecoderCosts
    machine: Machine
    weight_bits: int | None = None

    @property
    def arithmetic(self) -> Arithmetic:
        """Of the model, quantised or not."""
        arithmetic = self.costs.outline.arithmetic
        return arithmetic if self.weight_bits is None else quantised(arithmetic, self.weight_bits)

    @property
    def lengths(self) -> Lengths:
        """Of a clip."""
        return lengths_of(self.costs.outline, self.costs.shape)

    def scenario(self, decoder: str, window: int, rows: int = 1) -> Scenario:
        """What must fit in memory: a rollout of one clip, or a batch of several and its tokenizer's work."""
        shape = replace(self.costs.shape_of(decoder, window, rows), contexts=1)
        return Scenario(self.costs.outline, shape, weight_bits=self.weight_bits, in_batch=rows > 1)

    def pass_parts(self, decoder: str, window: int, prefix: int, rows: int = 1) -> dict[str, float]:
        """Seconds of a pass by part whose first undecided position is ``prefix``."""
        recipe, outside = self.costs.recipe(decoder, window), self.costs.outside(decoder, window).each_pass
        operations = self.costs.forward_operations + outside.kernels
        # Rows share the operations of a pass, but not its bytes.
        slots, moved = slots_read(recipe, prefix), rows * outside.moved
        shape = PassShape(rows, recipe.window, slots, moved, operations)
        return seconds_by_part(self.machine, self.arithmetic, shape)

    def mean_pass(self, decoder: str, window: int, rows: int = 1) -> float:
        """Seconds of a pass, the mean over a rollout that decides equally many tokens everywhere."""
        lengths = self.lengths
        # At the middles of equal parts: 8 parts of the positions 5,120 ... 12,800 give 5,600, 6,560 ... 12,320.
        span = lengths.end - lengths.context
        middles = [lengths.context + int(span * (part + 0.5) / PREFIXES) for part in range(PREFIXES)]
        parts = [self.pass_parts(decoder, window, prefix, rows) for prefix in middles]
        return sum(map(total, parts)) / PREFIXES

    def prefill(self, decoder: str, window: int) -> float:
        """Seconds of a context."""
        moved = self.costs.outside(decoder, window).prefill.moved
        return prefill_seconds(self.machine, self.arithmetic, self.lengths.context, moved)


@dataclass(frozen=True)
class Prediction:
    """A rollout of one clip: latency from the first token to the last.

    Attributes:
        decoder, window: of the rollout.
        tokens: decided per pass.
        passes: of the clip.
        each: seconds of a pass, mean over the rollout.
        seconds: of all passes and the prefill; the tokenizer is not in it.
        tokens_of: the decoder that ``tokens`` were counted with.
    """

    decoder: str
    window: int
    tokens: float
    passes: float
    each: float
    seconds: float
    tokens_of: str


def predict(
    predictor: PassPredictor, acceptance: Acceptance, windows: Sequence[int] | None
) -> list[Prediction]:
    """Every decoder and window whose acceptance is known (AR at 1 always); ``windows`` picks some."""
    predictions = [_prediction(predictor, "ar", 1, 1.0, "ar")]
    # AR is the first of them whatever else is asked for: speedups are ratios to it.
    for (decoder, window), tokens in acceptance.tokens.items():
        if decoder != "ar" and (windows is None or window in windows):
            tokens_of = acceptance.borrowed.get(decoder, decoder)
            predictions.append(_prediction(predictor, decoder, window, tokens, tokens_of))
    return predictions


def _prediction(
    predictor: PassPredictor, decoder: str, window: int, tokens: float, tokens_of: str
) -> Prediction:
    lengths = predictor.lengths
    passes = (lengths.end - lengths.context) / tokens
    each = predictor.mean_pass(decoder, window)
    seconds = predictor.prefill(decoder, window) + passes * each
    return Prediction(decoder, window, tokens, passes, each, seconds, tokens_of)


@dataclass(frozen=True)
class Throughput:
    """Many clips at once: each pass serves ``rows`` of them, freed rows are refilled."""

    prediction: Prediction
    rows: int
    each: float
    clips_per_hour: float


def throughputs(
    predictor: PassPredictor, predictions: Iterable[Prediction], batches: Sequence[int] = BATCHES
) -> list[Throughput]:
    """By clips per hour, best first, whether they fit or not."""
    found = []
    for one in predictions:
        for rows in batches:
            each = predictor.mean_pass(one.decoder, one.window, rows)
            # The rows of a batch share each pass; contexts are prefilled one at a time.
            clip = predictor.prefill(one.decoder, one.window) + one.passes * each / rows
            found.append(Throughput(one, rows, each, 3600 / clip))
    return sorted(found, key=lambda line: -line.clips_per_hour)


def best_throughput(predictor: PassPredictor, predictions: Iterable[Prediction]) -> Throughput | None:
    """Most clips per hour of those that fit on the GPU; None where not even one clip does."""
    room = predictor.machine.gpu.usable
    for line in throughputs(predictor, predictions):
        if fits(predictor.scenario(line.prediction.decoder, line.prediction.window, line.rows), room):
            return line
    return None


def curve_of(predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
    """``sizes``, ``seconds`` and ``tokens`` of one decoder's predictions, as ``vidjacobi curve`` measures them."""
    mine = sorted(predictions, key=lambda one: one.window)
    return {
        "sizes": [one.window for one in mine],
        "seconds": [round(one.each, 6) for one in mine],
        "tokens": [round(one.tokens, 3) for one in mine],
    }
