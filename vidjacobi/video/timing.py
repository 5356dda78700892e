"""Seconds and rates from time stamps, where these agree with the order of the pictures."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

FALLBACK_FPS = Fraction(25)
# A share of steps back in time up to which a clock restarts; above it the stamps are shuffled.
_RESTARTS = 0.02


class Times(NamedTuple):
    """When frames are displayed.

    Attributes:
        seconds: display times; the first is 0.
        rate: frames per second, exact where the file declares a rate that it keeps.
        notes: what is odd about the stamps.
    """

    seconds: Float[np.ndarray, " n"]
    rate: Fraction
    notes: tuple[str, ...]


def times_of(stamps: list[int | None], base: Fraction, declared: list[Fraction]) -> Times:
    """The times of frames in display order.

    Args:
        stamps: in units of ``base`` seconds. None is filled in from its neighbours, and so is a repeated stamp.
            Where they do not increase otherwise, they are not used.
        declared: rates that the file names, the likeliest first.
    """
    n = len(stamps)
    known = np.array([k for k, s in enumerate(stamps) if s is not None], np.int64)
    values = np.array([s for s in stamps if s is not None], np.int64)
    distinct = len(np.unique(values))
    if distinct < 2 or 2 * distinct < len(values):  # the rate of the codec is less of a guess then
        # A file without any time stamps is a plain stream, and nothing is odd about that.
        notes = ("too few time stamps; its rate is a guess",) if len(known) and n > 1 else ()
        return _even(n, _first(declared[::-1]), notes)
    steps = np.diff(values)
    if (steps < 0).any():
        return _out_of_order(steps, values, n, base, declared)
    odd = []
    if len(known) < n:
        odd.append(f"frames without a time stamp: {n - len(known)} of {n}; they are spread evenly")
    kept = np.flatnonzero(np.r_[True, steps > 0])
    if len(kept) < len(values):
        odd.append(f"repeated time stamps: {len(values) - len(kept)}; these frames are spread evenly")
    # The last frame of a run of equal stamps has no later one in reach of interpolation: it gets a usual step.
    ticks = _filled(known[kept], values[kept], n)
    seconds = (ticks - ticks[0]) * float(base)
    return Times(seconds, _rate(seconds, declared, float(base)), tuple(odd))


def _filled(places: Int[np.ndarray, " k"], values: Int[np.ndarray, " k"], n: int) -> Float[np.ndarray, " n"]:
    """Values at all of 0 ... n - 1: straight lines between the places, and the usual step beyond the last."""
    step = float(np.median(np.diff(values) / np.diff(places)))
    filled = np.interp(np.arange(n), places, values.astype(np.float64))
    before, after = np.arange(n) < places[0], np.arange(n) > places[-1]
    filled[before] = values[0] - step * (places[0] - np.arange(n)[before])
    filled[after] = values[-1] + step * (np.arange(n)[after] - places[-1])
    return filled


def _out_of_order(
    steps: Int[np.ndarray, " k"],
    values: Int[np.ndarray, " m"],
    n: int,
    base: Fraction,
    declared: list[Fraction],
) -> Times:
    back = int((steps < 0).sum())
    if back <= max(1, _RESTARTS * n):
        place = f", first at frame {int((steps < 0).argmax()) + 1}" if len(values) == n else ""
        note, usual = (
            f"its clock goes back {_times(back)}{place} (was it joined? if "
            "packets are lost, frames there may show traces of others); its frames follow each other evenly",
            steps[steps > 0],
        )
    else:
        usual = np.diff(np.unique(values))
        note = "its time stamps are not in the order of its pictures and are not used"
    return _even(n, _nearest(1 / (float(np.median(usual)) * float(base)), declared), (note,))


def _even(n: int, rate: Fraction, notes: tuple[str, ...]) -> Times:
    return Times(np.arange(n) / float(rate), rate, notes)


def _first(rates: list[Fraction]) -> Fraction:
    return rates[0] if rates else FALLBACK_FPS


def _nearest(rate: float, declared: list[Fraction]) -> Fraction:
    """The declared rate that is within a hundredth of ``rate``, or else ``rate``."""
    near = [r for r in declared if abs(float(r) / rate - 1) < 0.01]
    return near[0] if near else Fraction(rate).limit_denominator(1001)


def _rate(seconds: Float[np.ndarray, " n"], declared: list[Fraction], tick: float) -> Fraction:
    """The declared rate that the frames keep best, or else their mean rate.

    A header's mean rate counts the duration of the last frame, which may be anything; the frames' times do not.
    """
    n = len(seconds)
    if n < 2:
        return _first(declared)
    mean = Fraction((n - 1) / float(seconds[-1])).limit_denominator(1001)
    best, least = mean, np.inf
    for rate in [*declared, mean]:
        if not np.array_equal(nearest(seconds, rate), np.arange(n)):
            continue
        off = float(np.median(np.abs(seconds * float(rate) - np.arange(n))))
        # Stamps are rounded to ticks: what is off by less is not off, and the rate that was declared first wins.
        off = 0.0 if off <= tick * float(rate) else off
        if off < least:
            best, least = rate, off
    return best


def nearest(seconds: Float[np.ndarray, " n"], rate: Fraction) -> Int[np.ndarray, " n"]:
    """For tick k of a clock at ``rate``, the index of the frame whose time is nearest to k / rate."""
    # At 10 fps and with frames at 0, 0.1, 0.2, 0.5 and 0.6 s, the ticks 0, 0.1, 0.2, 0.3 and 0.4 take the
    # frames 0 1 2 2 3. ``right`` is the first frame at or after a tick; the frame before it is taken if it is
    # not further.
    n = len(seconds)
    if n < 2:
        return np.arange(n)
    ticks = np.arange(n) / float(rate)
    right = np.searchsorted(seconds, ticks).clip(1, n - 1)
    left_is_nearer = ticks - seconds[right - 1] <= seconds[right] - ticks
    return right - left_is_nearer


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
