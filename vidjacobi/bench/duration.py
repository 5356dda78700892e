"""How long a bench will take: guessed before it starts, from a few measured passes, and as it goes on.

The seconds of a pass are measured. How many passes a clip needs is known of AR only. Of the other decoders the guess
takes it that about the square root of the window is decided in a pass: at windows 16 to 256 that is within a factor
of 2 of most decoders, on nano as in the table of the MC-SJD paper (docs/results.md). The beginning of a decode would
be a worse guide: the first passes of some decoders decide little more than one token.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from vidjacobi.bench.clip_actions import chosen
from vidjacobi.bench.decode_rows import AR
from vidjacobi.bench.material import Material, material_of
from vidjacobi.bench.running import Bench, PendingBatch, pending
from vidjacobi.bench.settings import BenchCase
from vidjacobi.decoding.recipe import Progress
from vidjacobi.models.protocol import flatten

PASSES = 4  # passes after the prefill that are timed at each window


@dataclass(frozen=True)
class Guess:
    """The seconds that the decodes of a bench are guessed to take, and what the guess rests on.

    Attributes:
        seconds: of all decodes that are left.
        decodes: how many these are.
        windows: at how many windows passes were timed.
        spent: seconds that timing them took.
    """

    seconds: float
    decodes: int
    windows: int
    spent: float

    def __str__(self) -> str:
        if not self.decodes:
            return "every decode is there already"
        return (
            f"{counted(self.decodes, 'decode')} to make, {about(self.seconds)}. This is a guess, easily wrong by "
            f"half: {PASSES} passes were timed at {counted(self.windows, 'window')} ({self.spent:.0f} s), and how "
            "many a clip needs is known of AR only"
        )


class _Enough(Exception):
    """All passes that were asked for have been run."""


class _Stopwatch:
    """Notes when the prefill and each pass were finished, and ends the decode after PASSES of them."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, progress: Progress) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) > PASSES:
            raise _Enough


def guess(bench: Bench) -> Guess:
    """Time some passes at every window of the decodes that are left, on the first batch of clips of each model.

    Several processes are taken to share the machine without loss. Raises what decoding raises.
    """
    began = time.perf_counter()
    timed: dict[tuple[str, int], Callable[[float], float]] = {}
    seconds, decodes = 0.0, 0
    for group in pending(bench):
        material = material_of(group.model, bench.config, bench.source)
        for case, clips in group.todo:
            name, window = case.key
            at = (group.model, window)
            if at not in timed:
                timed[at] = _seconds_of_passes(bench, group, case, material)
            seconds += timed[at](material.new_tokens / (1 if name == AR else window**0.5))
            decodes += len(clips)
    spent = time.perf_counter() - began
    return Guess(seconds / bench.config.workers, decodes, len(timed), spent)


def _seconds_of_passes(
    bench: Bench, group: PendingBatch, case: BenchCase, material: Material
) -> Callable[[float], float]:
    """From the passes of a decode of a batch to its seconds, with those of the likelihood of its tokens."""
    context = flatten(material.pair[0], material.grids[: min(bench.config.batch, len(material.grids))])
    for _ in range(1 if bench.config.compile == "off" else 2):  # the first one compiles
        watch, began = _Stopwatch(), time.perf_counter()
        with suppress(_Enough):
            bench.decode_with(
                material.pair[0],
                context,
                material.new_tokens,
                case.decoder,
                sampling=bench.config.sampling(group.seed),
                conditions=chosen(material.conditions, range(len(context))),
                observe=watch,
            )
    prefill = watch.times[0] - began
    each = (watch.times[-1] - watch.times[0]) / max(1, len(watch.times) - 1)
    # The likelihood is computed by another prefill, of the whole clip: its seconds grow with the tokens.
    likelihood = prefill * (context.shape[1] + material.new_tokens) / context.shape[1]
    return lambda passes: prefill + likelihood + each * passes


class Pace:
    """How long a run will go on, from the share that is done."""

    def __init__(self, items: str = "batches of clips", clock: Callable[[], float] = time.monotonic) -> None:
        self._items, self._clock, self._began = items, clock, clock()

    def left(self, done: int, total: int) -> str:
        """What is done, and about how long the rest will take, as text."""
        text = f"{done} of {total} {self._items}"
        if not 0 < done < total:
            return text
        spent = self._clock() - self._began
        return f"{text}, {about(spent * (total - done) / done)} left"


def about(seconds: float) -> str:
    """A rough number of seconds, minutes or hours, such as "about 3 min"."""
    if seconds < 1:
        return "less than a second"
    if seconds < 100:
        return f"about {seconds:.0f} s"
    if seconds < 100 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 clip" or "2 clips"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
