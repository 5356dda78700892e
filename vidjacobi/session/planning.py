"""Choosing among candidate action sequences by what the model predicts of each."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import real
from vidjacobi.session.actions import own_actions
from vidjacobi.session.session import Session
from vidjacobi.shapes import Frames

Score = Callable[[Frames], float]  # of the frames uint8 [n H W 3] that a candidate leads to; larger is better


@dataclass(frozen=True, eq=False)
class Choice:
    """What was imagined of each candidate, and the best one.

    Attributes:
        index: of the best candidate; the first of equals.
        scores: of all; NaN is never the best.
        frames: that each leads to, uint8 ``[n H W 3]``.
        nfe: passes of each candidate's clip, what is fed at the start of a step included, the shared prefill not.
        seconds: wall time, scores included.
    """

    index: int
    scores: list[float]
    frames: list[Frames]
    nfe: list[int]
    seconds: float


def best_of(session: Session, candidates: Sequence[Sequence[Any]], score: Score) -> Choice:
    """Imagine the future of each candidate and choose the one whose frames score best.

    The context is fed once and shared, and all candidates meet the same dice: what differs between them is what was
    done. The session itself stays where it is.

    Args:
        session: of one clip, which follows actions.
        candidates: action sequences of one length, an action for each latent frame.
        score: of the frames of a candidate, context left out.

    Raises InvalidArgument for a session of several clips or without actions, for no candidates or candidates of
    different lengths, and where no score is a number.
    """
    began = time.perf_counter()
    candidates = [own_actions(candidate, "a candidate") for candidate in candidates]
    lengths = set(map(len, candidates))
    if len(session) != 1:
        raise InvalidArgument(f"best_of needs a session of 1 clip, not {len(session)}")
    if len(lengths) != 1 or 0 in lengths:
        raise InvalidArgument(
            f"{number_of(len(candidates), 'candidate')} of the lengths {sorted(lengths)}: one length of at least 1 "
            "is needed"
        )
    # Any action will do: what it leads to is fed again by the first step.
    session.prefill([candidates[0][0]])
    copies = session.fork(len(candidates))
    frames: list[list[Frames]] = [[] for _ in candidates]
    nfe = [0] * len(candidates)
    for actions in zip(*candidates, strict=True):
        step = copies.step(list(actions))
        nfe = [before + own for before, own in zip(nfe, step.nfe, strict=True)]
        for own, made in zip(frames, step.frames, strict=True):
            own.append(made)
    films = [torch.cat(parts) for parts in frames]
    scores = [_number(score(film)) for film in films]
    if all(map(math.isnan, scores)):
        raise InvalidArgument(
            f"no score of {number_of(len(candidates), 'candidate')} is a number: all are NaN"
        )
    best = max(
        range(len(scores)), key=lambda index: -math.inf if math.isnan(scores[index]) else scores[index]
    )
    return Choice(best, scores, films, nfe, time.perf_counter() - began)


def _number(score: object) -> float:
    # ``frames.float().mean()`` is a tensor of one number
    return real("a score", score.item() if isinstance(score, torch.Tensor) and score.numel() == 1 else score)
