"""Means, paired ratios and their intervals from the decodes of one model, and the tables that show them.

The unit of every interval is the clip: the values of a clip's seeds are averaged first. Intervals are 95 %, by
Student's t over the clips.

A ratio of passes is the exponential of the mean log ratio, paired by clip and seed. So every clip counts the same,
however hard it is (in a ratio of mean passes the hard clips would decide), and to swap the decoders inverts the
ratio. An example with two clips, where decoder A needs 50 and 400 passes and B needs 100 and 500:

    log ratios    log(50 / 100) = -0.693    log(400 / 500) = -0.223    mean -0.458    A / B = exp(-0.458) = 0.632
    ratio of the means, for comparison: 225 / 300 = 0.75

The interval of the mean log ratio is mean +- t * s / sqrt(clips), where s is the standard deviation of the log ratios
and t is 12.7 for 2 clips, 2.78 for 5 and 2.13 for 16. Its ends are exponentiated as well.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

from vidjacobi.bench.decode_rows import AR, Measurement

Key = tuple[str, int]  # decoder, window
Rows = Sequence[Measurement]


@dataclass(frozen=True)
class Estimate:
    """A mean over clips and the ends of its 95 % interval, which are None for a single clip."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def apply(self, function: Callable[[float], float]) -> "Estimate":
        """The estimate on another scale; ``function`` must be rising."""
        ends = [None if end is None else function(end) for end in (self.low, self.high)]
        return Estimate(function(self.mean), *ends)


def over_clips(values: Iterable[tuple[int, float]]) -> Estimate | None:
    """The mean of (clip, value) pairs and its interval; None without values. Values of a clip are averaged first."""
    clips: dict[int, list[float]] = {}
    for clip, value in values:
        clips.setdefault(clip, []).append(value)
    means = [mean(found) for found in clips.values()]
    if not means:
        return None
    if len(means) == 1:
        return Estimate(means[0], None, None)
    half = t_quantile(len(means) - 1) * stdev(means) / math.sqrt(len(means))
    return Estimate(mean(means), mean(means) - half, mean(means) + half)


def t_quantile(degrees: int, inside: float = 0.95) -> float:
    """The t below which Student's |T| stays with probability ``inside``, found by bisection."""
    # Bisection needs only the distribution function below, and SciPy would be a dependency for this one number.
    low, high = 0.0, 1.0
    while t_inside(high, degrees) < inside:
        high *= 2
    for _ in range(60):  # 60 halvings use up the digits of a float
        middle = (low + high) / 2
        low, high = (middle, high) if t_inside(middle, degrees) < inside else (low, middle)
    return (low + high) / 2


def t_inside(t: float, degrees: int) -> float:
    """P(|T| < t) for a whole number of degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    # A finite series in the cosine of ``angle``: cos + 2/3 cos^3 + ... for odd degrees, 1 + 1/2 cos^2 + ... for even
    # ones, with degrees // 2 terms, times the sine.
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for index in range(degrees // 2):
        total += term
        term *= math.cos(angle) ** 2 * (2 * index + 1 + odd) / (2 * index + 2 + odd)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def of(rows: Rows, key: Key) -> dict[tuple[int, int], Measurement]:
    """The decodes of one decoder at one window, by (clip, seed)."""
    return {(row.clip, row.seed): row for row in rows if (row.decoder, row.window) == key}


def ratio(rows: Rows, key: Key, other: Key) -> Estimate | None:
    """The passes of ``key`` divided by those of ``other``, paired by clip and seed; None where no pair exists."""
    ours, theirs = of(rows, key), of(rows, other)
    logs = [(pair[0], math.log(ours[pair].nfe / theirs[pair].nfe)) for pair in ours if pair in theirs]
    found = over_clips(logs)
    return found and found.apply(math.exp)


def nll_above_ar(rows: Rows, key: Key) -> Estimate | None:
    """The negative log-likelihood of the tokens minus that of AR's tokens, paired by clip and seed."""
    ours, theirs = of(rows, key), of(rows, (AR, 1))
    return over_clips((pair[0], ours[pair].nll - theirs[pair].nll) for pair in ours if pair in theirs)


def ratio_at_equal_positions(rows: Rows, key: Key, reference: str) -> Estimate | None:
    """The passes divided by those that ``reference`` would need with the same mean number of positions a pass.

    For each clip and seed, the log passes of the reference are interpolated linearly over the log positions between
    its windows. None where a decode lies outside of them.
    """
    curves: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for row in rows:
        if row.decoder == reference:
            point = (math.log(row.positions), math.log(row.nfe))
            curves.setdefault((row.clip, row.seed), []).append(point)
    logs = []
    for pair, row in of(rows, key).items():
        if pair in curves:
            expected = interpolate(sorted(curves[pair]), math.log(row.positions))
            if expected is None:
                return None
            logs.append((pair[0], math.log(row.nfe) - expected))
    found = over_clips(logs)
    return found and found.apply(math.exp)


def interpolate(curve: list[tuple[float, float]], at: float) -> float | None:
    """The height of a curve, which is given by points (x, y), at ``at``; None outside of the points."""
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 <= at <= x1:
            return y0 if x0 == x1 else y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return None


def summary(rows: Rows, baseline: str, reference: str) -> list[dict[str, Any]]:
    """A line (see ``line``) for each decoder and window of one model; AR is the first."""
    keys = dict.fromkeys((row.decoder, row.window) for row in rows)
    order = {decoder: index for index, decoder in enumerate(dict.fromkeys(row.decoder for row in rows))}
    return [
        line(rows, key, baseline, reference)
        for key in sorted(keys, key=lambda key: (key[0] != AR, order[key[0]], key[1]))
    ]


def line(rows: Rows, key: Key, baseline: str, reference: str) -> dict[str, Any]:
    """The numbers of one decoder and window; comparisons are None where there is nothing to compare with."""
    ours, ar = of(rows, key), of(rows, (AR, 1))
    found = list(ours.values())
    lanes, is_ar = found[0].lanes != "raster", key[0] == AR

    def average(value: Callable[[Measurement], float]) -> float:
        return mean(float(value(row)) for row in found)

    # Speed-ups are ratios like those of passes.
    faster = over_clips(
        (pair[0], math.log(ar[pair].seconds / ours[pair].seconds)) for pair in ours if pair in ar
    )
    kls = [row.kl for row in found if row.kl is not None]
    means = {
        "passes": over_clips((row.clip, float(row.nfe)) for row in found),
        "tokens_per_pass": over_clips((row.clip, row.new_tokens / row.nfe) for row in found),
        "seconds": over_clips((row.clip, row.seconds) for row in found),
    }
    estimates = {
        "fewer_passes": ratio(rows, (AR, 1), key),
        "to_baseline": None if lanes or is_ar else ratio(rows, key, (baseline, key[1])),
        "to_reference": ratio_at_equal_positions(rows, key, reference) if lanes else None,
        "faster": faster and faster.apply(math.exp),
        "excess": over_clips((row.clip, row.excess) for row in found),
        "nll_above_ar": None if is_ar else nll_above_ar(rows, key),
    }
    return {
        "model": found[0].model,
        "decoder": key[0],
        "guarantee": found[0].guarantee,
        "lanes": found[0].lanes,
        "window": key[1],
        "clips": len({clip for clip, _ in ours}),
        "decodes": len(found),
        "positions": average(lambda row: row.positions),
        **{key: value for name, mean in means.items() for key, value in with_ends(name, mean).items()},
        "outside_forward": average(lambda row: 1 - row.forward_seconds / row.seconds),
        "ar_agreement": average(lambda row: row.ar_agreement),
        "nll": average(lambda row: row.nll),
        "kl": mean(kls) if kls else None,
        **{name: estimate and asdict(estimate) for name, estimate in estimates.items()},
    }


def with_ends(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """A mean under its name, and the ends of its interval as NAME_low and NAME_high."""
    assert estimate is not None  # a line has at least one decode
    return {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def tables(lines: Sequence[dict[str, Any]], baseline: str, reference: str) -> str:
    """The summary as Markdown: all decoders and windows, then those with lanes beside the reference."""
    head = [
        *(
            "decoder",
            "guarantee",
            "window",
            "positions a pass",
            "passes",
            "tokens a pass",
            f"passes / {baseline}'s",
        ),
        *("seconds", "x faster", "outside forward", "AR's tokens", "nll", "nll - AR's", "excess", "KL"),
    ]
    text = markdown(head, [cells(line) for line in lines])
    lanes = [line for line in lines if line["lanes"] != "raster"]
    if not lanes:
        return text
    head = ["lanes", "positions a pass", "passes", f"passes / {reference}'s at equal positions"]
    body = []
    for line in lanes:
        compared = estimate_text(line["to_reference"]) or f"not between {reference}'s windows"
        body.append([line["decoder"], f"{line['positions']:.1f}", f"{line['passes']:.1f}", compared])
    return text + "\n\n" + markdown(head, body)


def cells(line: dict[str, Any]) -> list[str]:
    """The cells of a line in the first table."""
    faster, kl = line["faster"], line["kl"]
    return [
        *(line["decoder"], line["guarantee"], str(line["window"]), f"{line['positions']:.1f}"),
        *(f"{line['passes']:.1f}", f"{line['tokens_per_pass']:.2f}", estimate_text(line["to_baseline"])),
        *(f"{line['seconds']:.2f}", f"{faster['mean']:.2f}" if faster else ""),
        *(f"{100 * line['outside_forward']:.0f} %", f"{100 * line['ar_agreement']:.2f} %"),
        *(
            f"{line['nll']:.3f}",
            estimate_text(line["nll_above_ar"]),
            estimate_text(line["excess"]),
            "" if kl is None else f"{kl:.4f}",
        ),
    ]


def estimate_text(estimate: dict[str, Any] | None) -> str:
    """An estimate as text, empty for None."""
    return "" if estimate is None else str(Estimate(**estimate))


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table. A cell may hold any text: the name of a folder, say."""
    rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (head, *body)]
    rows.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
