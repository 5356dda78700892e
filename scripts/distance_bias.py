"""Frechet distances of few clips, where the true distance is known: bias, floor, bootstrap and extrapolation.

Features are drawn from Gaussians of 400 dimensions whose deviations fall as those of FVD's network on rendered clips
do. The generated sets are either other draws (unpaired) or the real ones with noise (paired, as rollouts against the
futures of the same clips).

    python scripts/distance_bias.py              # the table, about two minutes on one core
    python scripts/distance_bias.py --write      # into docs/metrics.md
"""

import argparse
from collections.abc import Callable
from statistics import fmean, stdev

import torch
from page_parts import write_part
from tqdm import tqdm

from vidjacobi.errors import BadInput
from vidjacobi.eval.distance_kinds import DISTANCES, FRECHET
from vidjacobi.eval.fvd import distance, floor, spread

WIDTH, COUNTS = 400, (16, 32, 64, 128, 256)
LEAST, SIZES, REPEATS = (
    16,
    6,
    6,
)  # clips; numbers of clips in subsets, from half of all on, and subsets of each
TRIALS, DRAWS = 12, 20
DECAY, TRACE = 1.2, 3000.0  # variances fall as k^-DECAY and sum to TRACE

Pair = tuple[torch.Tensor, torch.Tensor]


def deviations() -> torch.Tensor:
    """The deviations of the features along their principal axes."""
    variances = torch.arange(1, WIDTH + 1, dtype=torch.float64) ** -DECAY
    return (variances * TRACE / variances.sum()).sqrt()


def unpaired(clips: int, generator: torch.Generator, shift: float, wider: float) -> Pair:
    """Two independent sets; the generated one is moved by ``shift`` and ``wider`` times as wide."""
    first, second = (torch.randn(clips, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    return wider * first * deviations() + shift * deviations(), second * deviations()


def paired(clips: int, generator: torch.Generator, shift: float, wider: float) -> Pair:
    """The real set and itself with noise, so that it has the same distribution as the unpaired one."""
    real, noise = (torch.randn(clips, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    return (real + (wider**2 - 1) ** 0.5 * noise + shift) * deviations(), real * deviations()


def extrapolated(generated: torch.Tensor, real: torch.Tensor, seed: int = 0, kind: str = FRECHET) -> float:
    """The value at infinitely many clips, from a line through the distances of subsets over 1 / clips.

    FID-infinity (Chong and Forsyth 2020) does this for thousands of pictures, where the bias falls as 1 / n. Row i of
    both sets [n f] belongs to one clip, and subsets take the same clips of both.

    Raises BadInput for fewer than 16 clips.
    """
    clips = len(real)
    if clips < LEAST or len(generated) != clips:
        raise BadInput(f"an extrapolation needs the same {LEAST} or more clips on both sides, not {clips}")
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(clips / 2, clips, SIZES).round().long().unique().tolist()
    points = []
    for size in sizes:
        for _ in range(1 if size == clips else REPEATS):
            chosen = torch.randperm(clips, generator=generator)[:size]
            points.append((1 / size, DISTANCES[kind].value(generated[chosen], real[chosen])))
    x, y = torch.tensor(points, dtype=torch.float64).T
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float(y.mean() - slope * x.mean())


CASES: dict[str, tuple[Callable[..., Pair], float, float]] = {
    "unpaired, the same distribution": (unpaired, 0.0, 1.0),
    "unpaired, apart": (unpaired, 0.3, 1.3),
    "paired, apart": (paired, 0.3, 1.3),
}


def truth(shift: float, wider: float) -> float:
    """The distance of the two distributions."""
    return (shift**2 + (wider - 1) ** 2) * float(deviations().square().sum())


def table() -> str:
    """A line for each case and number of clips."""
    head = ["sets", "true", "clips", "FVD", "floor", "mean of the bootstrap", "its deviation", "extrapolated"]
    lines = [_row(head), "|---" * len(head) + "|"]
    for name, (draw, shift, wider) in CASES.items():
        for clips in tqdm(COUNTS, name, disable=None):
            rows = [
                _trial(draw(clips, torch.Generator().manual_seed(seed), shift, wider), seed)
                for seed in range(TRIALS)
            ]
            values, floors, means, stds, ends = zip(*rows, strict=True)
            true = truth(shift, wider)
            cells = [name, f"{true:.0f}", str(clips), _spread(values), _spread(floors), f"{fmean(means):.0f}"]
            lines.append(_row([*cells, f"{fmean(stds):.0f}", _spread(ends)]))
    return "\n".join(lines)


def _trial(pair: Pair, seed: int) -> tuple[float, float, float, float, float]:
    generated, real = pair
    boot = spread(generated, real, DRAWS, seed)
    return (
        distance(generated, real).value,
        floor(real, seed, splits=4).mean,
        boot.mean,
        boot.std,
        extrapolated(generated, real, seed=seed),
    )


def _spread(values: tuple[float, ...]) -> str:
    return f"{fmean(values):.0f} +- {stdev(values):.0f}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Simulate, and print or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/metrics.md")
    options = parser.parse_args()
    found = table()
    print(found)
    if options.write:
        write_part("distance_bias.py", found)


if __name__ == "__main__":
    main()
