"""Inverse dynamics: what is seen of a step from frame to frame, and models that read the action off it.

A reader is fitted on true frames and reads frames of recordings that it was not fitted on. Recordings are held out,
not frames, since frames of one recording are alike.
"""

import warnings
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8

from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.eval.pusht_poses import SIDE, agents, shares
from vidjacobi.registry import lookup

FOLDS = 5
SMALL = 16  # pixels of a side that a frame is shrunk to
ALPHAS = tuple(10.0**power for power in range(-1, 6))  # penalties of the ridge, of which the best is taken
FEWEST = 4  # recordings

Clip = UInt8[np.ndarray, "t h w 3"]
Steps = Float[np.ndarray, "n f"]  # what is seen of each step
Actions = Float[np.ndarray, "n k"]


@runtime_checkable
class Reader(Protocol):
    """A regression, as scikit-learn has them."""

    def fit(self, steps: Any, actions: Any) -> Any: ...

    def predict(self, steps: Any) -> Any: ...


def pixels(clip: Clip) -> Float[np.ndarray, "n f"]:
    """Of the steps 1 -> 2, 2 -> 3 ...: a small picture of the first frame, its change, and the change before."""
    frames = torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2).float() / 255
    small = F.adaptive_avg_pool2d(frames, SMALL).flatten(1).numpy()
    change = np.diff(small, axis=0)
    return np.concatenate([small[1:-1], change[1:], change[:-1]], 1).astype(float)


def push_t(clip: Clip) -> Float[np.ndarray, "n f"]:
    """Of the same steps of Push-T: where the agent is, how it moves, and how it moved before, by its colour.

    The agent follows its target by a linear law, so a linear reader is exact but for the error of the colours. Where
    no agent is seen it is where it was, and before it is seen in the middle.

    Raises InvalidArgument for pictures that are not square.
    """
    if clip.shape[1] != clip.shape[2]:
        raise InvalidArgument(
            f"--features pusht needs the square pictures of Push-T, not {clip.shape[1]}x{clip.shape[2]}: take pixels"
        )
    places = agents(shares(clip)[1], SIDE / clip.shape[1])
    last = np.full(2, SIDE / 2)
    for number, place in enumerate(places):
        last = places[number] = last if np.isnan(place).any() else place
    change = np.diff(places, axis=0)
    return np.concatenate([places[1:-1], change[1:], change[:-1]], 1)


FEATURES: dict[str, Callable[[Clip], Steps]] = {"pixels": pixels, "pusht": push_t}


def ridge(seed: int) -> Reader:
    """Linear, its penalty chosen by recordings that are held out."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    return GridSearchCV(
        _scaled(Ridge()),
        {"regressor__ridge__alpha": ALPHAS},
        cv=GroupKFold(3),
        scoring="neg_mean_squared_error",
    )


def network(seed: int) -> Reader:
    """A small network: one hidden layer."""
    from sklearn.neural_network import MLPRegressor

    return _scaled(
        MLPRegressor(
            hidden_layer_sizes=(64,), alpha=1.0, max_iter=200, tol=0, n_iter_no_change=200, random_state=seed
        )
    )


def _scaled(model: Any) -> Any:
    """With features and actions of mean 0 and variance 1."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return TransformedTargetRegressor(make_pipeline(StandardScaler(), model), transformer=StandardScaler())


READERS: dict[str, Callable[[int], Reader]] = {"ridge": ridge, "network": network}


def read_held_out(
    true: list[Steps],
    actions: list[Actions],
    recordings: list[str],
    others: dict[str, list[Steps]],
    reader: str = "ridge",
    seed: int = 0,
) -> dict[str, list[Actions]]:
    """Actions read off every clip by a reader that was fitted on the true frames of other recordings.

    Args:
        true: what is seen of the steps of each clip's true frames.
        actions: that led to them.
        recordings: the recording of each clip.
        others: further frames of the same clips by name, such as predicted ones, with as many steps.
        reader: a key of READERS.
        seed: of the network's start.

    Returns by name, and ``true``, the actions of each clip.

    Raises InvalidArgument for an unknown reader, BadInput for too few recordings and without scikit-learn.
    """
    make = lookup("reader", reader, READERS)
    names, groups = np.unique(np.array(recordings), return_inverse=True)
    if len(names) < FEWEST:
        raise BadInput(
            f"{number_of(len(names), 'recording')}: a reader that is fitted on some and judged on others needs "
            f"{FEWEST} or more"
        )
    if "true" in others:
        raise InvalidArgument("the name true is that of the true frames")
    seen = {"true": true, **others}
    found: dict[str, list[Actions]] = {name: [np.empty((0, 0))] * len(true) for name in seen}
    # A number modulo 5 for each recording in random order: 7 recordings make folds of 2, 2, 1, 1 and 1.
    turns = np.random.default_rng(seed).permutation(len(names)) % min(FOLDS, len(names))
    for fold in range(min(FOLDS, len(names))):
        held = turns[groups] == fold
        model = fitted(make, seed, [np.flatnonzero(~held), groups], true, actions)
        for name, clips in seen.items():
            for number in np.flatnonzero(held):
                found[name][number] = np.asarray(model.predict(clips[number])).reshape(actions[number].shape)
    return found


def fitted(
    make: Callable[[int], Reader],
    seed: int,
    chosen: list[np.ndarray],
    true: list[Steps],
    actions: list[Actions],
) -> Reader:
    """A reader of the chosen clips. ``chosen``: their numbers, and the recording of every clip."""
    numbers, groups = chosen
    steps = np.concatenate([true[number] for number in numbers])
    wanted = np.concatenate([actions[number] for number in numbers])
    lengths = [len(true[number]) for number in numbers]
    try:
        model: Any = make(seed)
    except ImportError as error:
        raise BadInput(f"readers of actions need scikit-learn: pip install scikit-learn ({error})") from None
    # The penalty is chosen by recordings too: steps of one recording never stand on both sides.
    options = {"groups": np.repeat(groups[numbers], lengths)} if hasattr(model, "cv") else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stochastic Optimizer")  # a fixed number of rounds is meant
        found: Reader = model.fit(steps, wanted, **options)
    return found
