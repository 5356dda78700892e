"""Distances of arrays of features, FVD first, and how far they can be trusted: floor, bootstrap and warnings.

With a hundred clips, FVD is far above zero even for two samples of the same distribution (the bias falls like 1/n),
so a value alone says little. Three things say more: the floor, which is the distance of two disjoint halves of the
real clips; the difference of two decoders against the same real clips, with its paired interval; and the number of
clips.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.eval.distance_kinds import DISTANCES, FRECHET
from vidjacobi.eval.moments import check_finite

Features = Float[Tensor, "n f"]
Other = Float[Tensor, "m g"]  # of another set; a message says so if its shape does not fit
Third = Float[Tensor, "k h"]

SINGULAR = 400  # clips; with fewer clips than features, both covariances are singular
USUAL = 2048  # clips that most published values use
SPLITS = 10  # random halves whose distances make the floor
NORMAL_95 = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution
BIAS = "resampled sets hold fewer different clips, so this mean lies above the value and is no estimate of it"


@dataclass(frozen=True)
class Distance:
    """A Frechet distance of two sets of clips, the numbers of clips, and warnings about what it is worth."""

    value: float
    generated: int
    real: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Floor:
    """Distances between disjoint random halves of the real clips: about what a perfect generator would get.

    Each half has half of the clips, so the floor is higher than it would be with all of them.
    """

    mean: float
    std: float
    clips_per_half: int
    splits: int


@dataclass(frozen=True)
class Spread:
    """The bootstrap of a single distance. Only ``std`` means something; ``warning`` says why."""

    std: float
    mean: float
    draws: int
    warning: str = BIAS


class ConfidenceInterval(NamedTuple):
    """A number and the ends of its 95 % interval, which is symmetric around it."""

    low: float
    mean: float
    high: float


def distance(generated: Features, real: Other, kind: str = FRECHET) -> Distance:
    """The distance of two sets of features; ``kind``: entry of ``DISTANCES``.

    Raises BadInput for fewer than two clips in a set and for features that are not finite, InvalidArgument for
    features of different networks.
    """
    if generated.shape[1] != real.shape[1]:
        raise InvalidArgument(f"{generated.shape[1]} and {real.shape[1]} features: two different networks?")
    fewest = min(len(generated), len(real))
    if fewest < 2:
        raise BadInput(
            f"a distance of distributions needs at least 2 clips on each side (better {SINGULAR}), "
            f"and there are {len(generated)} generated and {len(real)} real ones"
        )
    check_finite(generated, "generated")
    check_finite(real, "real")
    value = DISTANCES[kind].value(generated, real)
    return Distance(value, len(generated), len(real), warnings_for(fewest, kind))


def warnings_for(clips: int, kind: str = FRECHET) -> tuple[str, ...]:
    """The warnings that belong to a distance of so many clips."""
    if clips < SINGULAR:
        return (
            f"WARNING: only {number_of(clips, 'clip')}. Below {SINGULAR} {DISTANCES[kind].below}: compare it with "
            "its floor, and with values at the same clips only",
        )
    if clips < USUAL:
        return (
            f"{number_of(clips, 'clip')}: published values mostly use {USUAL} or more, and fewer "
            "clips give higher ones",
        )
    return ()


def floor(real: Features, seed: int = 0, splits: int = SPLITS, kind: str = FRECHET) -> Floor:
    """The mean and standard deviation of the distances over random splits of ``real`` into disjoint halves.

    Raises BadInput for fewer than four clips.
    """
    half = len(real) // 2
    if half < 2:
        raise BadInput(f"a floor needs at least 4 real clips to split in two, and there are {len(real)}")
    if splits < 2:
        raise InvalidArgument(f"a floor needs at least 2 splits, not {splits}")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(splits):
        order = torch.randperm(len(real), generator=generator)
        values.append(distance(real[order[:half]], real[order[half : 2 * half]], kind).value)
    found = torch.tensor(values, dtype=torch.float64)
    return Floor(float(found.mean()), float(found.std()), half, splits)


def paired_difference(
    a: Features,
    b: Other,
    real: Third,
    draws: int = 1000,
    seed: int = 0,
    kind: str = FRECHET,
    shown: Callable[[list[Any]], Iterable[Any]] = iter,
) -> ConfidenceInterval:
    """distance(a, real) - distance(b, real), with a 95 % interval from a paired bootstrap over clips.

    Row i of all three sets belongs to one clip, and each draw takes the same clips of all three. What is hard about
    a clip then cancels in the difference. The interval is the difference -+ 1.96 standard deviations of the draws.
    In simulations of equally good a and b it contains 0 in 96 to 98 % of the cases, and an interval between
    percentiles of the draws in 92 to 97 %. ``shown`` goes through the draws: of thousands of pictures one takes
    seconds. Raises BadInput where the sets do not belong together.
    """
    if not a.shape == b.shape == real.shape:
        raise BadInput(
            "a paired comparison needs the same clips in all three sets, and their features are "
            f"{list(a.shape)}, {list(b.shape)} and {list(real.shape)}"
        )
    value = distance(a, real, kind).value - distance(b, real, kind).value
    resampled = DISTANCES[kind].resampled
    of_a, of_b = (resampled(features.double(), real.double()) for features in (a, b))
    found = [of_a(counts) - of_b(counts) for counts in shown(_draws(len(real), draws, seed))]
    reach = NORMAL_95 * float(torch.stack(found).std())
    return ConfidenceInterval(value - reach, value, value + reach)


def spread(generated: Features, real: Other, draws: int = 1000, seed: int = 0, kind: str = FRECHET) -> Spread:
    """The bootstrap over clips of one distance. Row i of both sets belongs to one clip. Raises BadInput."""
    if generated.shape != real.shape:
        raise BadInput(
            f"a paired bootstrap needs the same clips on both sides, not {len(generated)} and {len(real)}"
        )
    of_draw = DISTANCES[kind].resampled(generated.double(), real.double())
    values = torch.stack([of_draw(counts) for counts in _draws(len(real), draws, seed)])
    return Spread(float(values.std()), float(values.mean()), draws)


def _draws(clips: int, draws: int, seed: int) -> list[Int[Tensor, " n"]]:
    """For each draw, how often each clip occurs in it."""
    if draws < 2:
        raise InvalidArgument(f"a bootstrap needs at least 2 draws, not {draws}")
    generator = torch.Generator().manual_seed(seed)
    # A draw of 5 clips such as 3 0 3 1 4 has the counts 1 1 0 2 1.
    picks = [torch.randint(clips, (clips,), generator=generator) for _ in range(draws)]
    return [torch.bincount(pick, minlength=clips) for pick in picks]


@dataclass(frozen=True)
class Shown:
    """Which frames were compared: their number in each clip, and in words which ones."""

    frames: int
    which: str


def formula_of(protocol: Mapping[str, Any]) -> str:
    """The entry of ``DISTANCES`` that a feature network's protocol asks for; Frechet unless it says so."""
    return str(protocol.get("formula", FRECHET))


def record(
    generated: Features,
    real: Features,
    protocol: dict[str, Any],
    shown: Shown,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """A distance as reports show it. Row i of both sets belongs to one clip.

    The record holds the value, the floor (None below four clips), the spread, warnings and the whole protocol.
    """
    kind = formula_of(protocol)
    found = distance(generated, real, kind)
    return {
        "metric": protocol["distance"],
        "value": found.value,
        "clips": found.real,
        "floor": asdict(floor(real, seed, kind=kind)) if found.real >= 4 else None,
        "bootstrap": asdict(spread(generated, real, draws, seed, kind)),
        "warnings": list(found.warnings),
        "protocol": {
            **protocol,
            "frames": shown.frames,
            "frames_shown": shown.which,
            "clips": found.real,
            **DISTANCES[kind].facts,
            "seed": seed,
        },
    }
