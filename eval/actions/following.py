"""How well actions that are read off frames agree with those that led to them: error, R2, paired intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from vidjacobi.errors import BadInput
from vidjacobi.eval.actions.readers import Actions
from vidjacobi.eval.resampling import Resampled, resampled

Sums = Float[np.ndarray, "units k"]


@dataclass(frozen=True)
class Agreement:
    """Actions read and wanted, as sums over each recording, from which any draw of recordings is made.

    Attributes:
        count: steps ``[units 1]``.
        squares: of the differences.
        total, total_squares: of what is wanted.
        by_step: mean squared difference of each step of a clip, over clips ``[steps k]``.
    """

    count: Float[np.ndarray, "units 1"]
    squares: Sums
    total: Sums
    total_squares: Sums
    by_step: Float[np.ndarray, "steps k"]

    def r2(self, units: np.ndarray) -> Float[np.ndarray, " draws"]:
        """1 - squared error / variance of what is wanted, averaged over the numbers of an action that vary."""
        # ``units`` are recordings ``[draws n]``, some of them several times: sums over each draw, ``[draws k]``.
        count, squares, total, total_squares = (
            part[units].sum(1) for part in (self.count, self.squares, self.total, self.total_squares)
        )
        # Wanted 1 2 3 4 5 about their middle: the total is 0, that of the squares 10. All read 0.5 too large: the
        # squared errors sum up to 1.25, and R2 is 0.875.
        spread = total_squares - total**2 / count
        varies = spread > 1e-9 * np.maximum(total_squares, 1e-30)
        with np.errstate(all="ignore"):
            own = np.where(varies, 1 - squares / spread, np.nan)
            return np.where(varies.any(1), np.nansum(own, 1) / varies.sum(1), np.nan)

    def rmse(self) -> list[float]:
        """Of each number of an action, in its own units."""
        return np.sqrt(self.squares.sum(0) / self.count.sum()).tolist()


def agreement(read: list[Actions], wanted: list[Actions], recordings: list[str]) -> Agreement:
    """Of clips. Raises BadInput for actions that never vary: there is nothing to read."""
    names, groups = np.unique(np.array(recordings), return_inverse=True)
    width = wanted[0].shape[1]
    parts = {name: np.zeros((len(names), width)) for name in ("squares", "total", "total_squares")}
    count = np.zeros((len(names), 1))
    # sums of squares about a middle: large numbers that vary little would lose their digits
    middle = np.concatenate(wanted).mean(0)
    for group, own, right in zip(groups, read, wanted, strict=True):
        count[group] += len(right)
        parts["squares"][group] += ((own - right) ** 2).sum(0)
        parts["total"][group] += (right - middle).sum(0)
        parts["total_squares"][group] += ((right - middle) ** 2).sum(0)
    steps = max(map(len, wanted))
    by_step = np.array(
        [
            np.mean([(a[step] - b[step]) ** 2 for a, b in zip(read, wanted, strict=True) if step < len(b)], 0)
            for step in range(steps)
        ]
    )
    found = Agreement(count, by_step=by_step, **parts)
    if np.isnan(found.r2(np.arange(len(names))[None]))[0]:
        raise BadInput("the recorded actions never vary: there is nothing that could be read off frames")
    return found


def line_of(name: str, kind: str, own: Agreement, true: Agreement, predicted: Agreement) -> dict[str, Any]:
    """A line of the results.

    Args:
        kind: ``reader`` (true frames), ``predicted`` or ``control``.
        true, predicted: of the true and the predicted frames, to which it is compared over the same recordings.
    """
    units = len(own.count)

    def difference(other: Agreement) -> Resampled:
        return resampled(lambda rows: own.r2(rows) - other.r2(rows), units)

    spread = np.sqrt(np.maximum(true.total_squares.sum(0) / true.count.sum(), 1e-30))
    return {
        "frames": name,
        "kind": kind,
        "r2": resampled(own.r2, units).to_json(),
        "rmse": own.rmse(),
        "r2_above_true": None if kind == "reader" else difference(true).to_json(),
        "r2_above_predicted": difference(predicted).to_json() if kind == "control" else None,
        # root mean square of the numbers' errors, each in deviations of the recorded actions
        "error_by_step": np.sqrt((own.by_step / spread**2).mean(1)).tolist(),
    }


def verdict(lines: list[dict[str, Any]]) -> dict[str, bool]:
    """What can be said: whether the reader reads true frames, and predicted ones better than every control's."""
    reader = next(line for line in lines if line["kind"] == "reader")
    controls = [line["r2_above_predicted"] for line in lines if line["kind"] == "control"]
    low = reader["r2"]["low"]
    return {
        "actions can be read off true frames": low is not None and low > 0,
        # Control minus predicted: the whole interval lies below 0.
        "predicted frames follow their actions better than every control": bool(controls)
        and all(one["high"] is not None and one["high"] < 0 for one in controls),
    }
