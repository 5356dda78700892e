"""How long an evaluation will take after its contexts are encoded: guessed from one measured clip and a few draws."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from vidjacobi.bench.duration import Guess, Pace, about
from vidjacobi.datasets.contract import Episode
from vidjacobi.eval.fvd import formula_of, paired_difference
from vidjacobi.eval.measure import Measurer, compare
from vidjacobi.eval.prediction import as_the_model_sees
from vidjacobi.eval.quality import ROWS, read

DRAWS = (2, 8)  # draws of two short bootstraps: they differ by six draws and by nothing that is done once
T = TypeVar("T")
TRIED = ("tokenizer", 0)  # the reference that needs no decode


@dataclass(frozen=True)
class Forecast:
    """The guessed seconds of the three long parts of an evaluation.

    Attributes:
        decoding: what the bench is guessed to take.
        measuring: seconds to turn what is left into frames, features and per-frame distances.
        comparing: seconds of the bootstrap.
    """

    decoding: Guess
    measuring: float
    comparing: float

    def __str__(self) -> str:
        """Two sentences for the console."""
        whole = self.decoding.seconds + self.measuring + self.comparing
        return (
            f"this evaluation will take {about(whole)}: decoding {about(self.decoding.seconds)}, measuring "
            f"{about(self.measuring)}, bootstrap {about(self.comparing)}. Decoding: {self.decoding}"
        )


def forecast(measurer: Measurer, clips: tuple[Episode, ...], decoding: Guess) -> Forecast:
    """Measure one reference of the first clip and a few draws of the bootstrap, and scale them up.

    Raises BadInput where the first clip cannot be read.
    """
    config = measurer.config
    source = clips[0].frames.read(0, config.frames_needed).frames
    given = as_the_model_sees(source[: config.context], measurer.tokenizer)
    compare(TRIED, 0, given[:1], given[:1].flip(1))  # loads the libraries, which is not timed

    def measure() -> Float[Tensor, "1 f"]:
        frames = measurer.predicted(TRIED, 0, source)
        compare(TRIED, 0, frames, frames.flip(1))  # not the frames themselves, since equal ones cost nothing
        return measurer.extractor((frames if config.shown == "pred" else torch.cat([given, frames]))[None])

    each, feature = timed(measure)
    done = sum(clip < len(clips) for *_, clip in read(measurer.out / ROWS))
    # the ground truth of every clip has features too, which take most of the time
    left = max(0, (len(measurer.names) + 1) * len(clips) - done)
    sets = torch.randn(3, len(clips), feature.shape[1], generator=torch.Generator().manual_seed(0))
    difference = partial(
        paired_difference, sets[0], sets[1], sets[2], kind=formula_of(measurer.extractor.protocol)
    )
    few, many = (timed(partial(difference, draws=draws))[0] for draws in DRAWS)
    draw = max(0.0, many - few) / (DRAWS[1] - DRAWS[0])
    return Forecast(decoding, each * left, draw * config.draws * len(measurer.names))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The seconds that ``work`` takes, and its result."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def followed(steps: Iterable[T], total: int, what: str, tell: Callable[[str], None]) -> Iterator[T]:
    """The steps, with a progress bar or, where there is no terminal, a line after every tenth part of them."""
    pace, part = Pace(f"clips, {what}"), -(-total // 10)
    with tqdm(steps, what, total, unit="clip", disable=None) as bar:
        for done, step in enumerate(bar, 1):
            yield step
            if bar.disable and done % part == 0:
                tell(pace.left(done, total))
