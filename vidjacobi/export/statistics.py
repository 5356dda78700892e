"""Minimum, maximum, mean, deviation and quantiles of features, nested as LeRobot's stats.json has them."""

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_LEVELS = np.arange(256) / 255


def number_statistics(values: Shaped[np.ndarray, "n *shape"]) -> dict[str, Any]:
    """Of numbers or truth values, over all n frames. The values of a scalar feature are lists of one number."""
    values = values[:, None] if values.ndim == 1 else values
    whole = np.int64 if values.dtype.kind in "biu" else np.float64
    exact = values.astype(np.float64)
    found = {"min": values.min(0).astype(whole), "max": values.max(0).astype(whole)}
    found |= {"mean": exact.mean(0), "std": exact.std(0)}
    found |= dict(zip(QUANTILES, np.quantile(exact, list(QUANTILES.values()), axis=0), strict=True))
    return {**{name: value.tolist() for name, value in found.items()}, "count": [len(values)]}


def colour_counts(frames: UInt8[np.ndarray, "T H W 3"]) -> Int[np.ndarray, "3 256"]:
    """How often each value of each colour occurs; the counts of several clips can be added."""
    return np.stack([np.bincount(frames[..., colour].ravel(), minlength=256) for colour in range(3)])


def picture_statistics(counts: Int[np.ndarray, "3 256"], frames: int) -> dict[str, Any]:
    """Of each colour in 0..1, from ``colour_counts`` of so many frames."""
    # Exact, from 256 counts a colour: the largest level is the first that occurs from the end, and a quantile the
    # first level at or below which so large a share of the pixels lies.
    pixels = counts.sum(1)
    mean = counts @ _LEVELS / pixels
    found = {
        "min": _LEVELS[(counts > 0).argmax(1)],
        "max": _LEVELS[255 - (counts[:, ::-1] > 0).argmax(1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(counts @ _LEVELS**2 / pixels - mean**2, 0)),
    }
    below = counts.cumsum(1)
    for name, share in QUANTILES.items():
        found[name] = _LEVELS[(below >= share * pixels[:, None]).argmax(1)]
    return {**{name: value[:, None, None].tolist() for name, value in found.items()}, "count": [frames]}
