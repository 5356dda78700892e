"""Planning: candidates are imagined as they would be alone, out of one prefill."""

import math

import pytest
import torch
from torch import Tensor

from tests.families.test_pusht import actions, network
from tests.session.test_acting import frames, session_of
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.pusht import PushTModel
from vidjacobi.session import best_of


class Counting(PushTModel):
    """Notes how many rows each prefill has."""

    def __init__(self) -> None:
        super().__init__(network())
        self.rows: list[int] = []

    def prefill(self, tokens: Tensor, cache: object, keep: int) -> object:  # type: ignore[override]
        self.rows.append(len(tokens))
        return super().prefill(tokens, cache, keep)  # type: ignore[arg-type]


def redness(film: Tensor) -> float:
    return float(film[-1, ..., 0].float().mean())


def test_the_best_candidate_is_the_one_whose_frames_score_best() -> None:
    model, acts = Counting(), actions(5)[:, 1:]
    session = session_of(model, frames(1, 2), torch.stack, context_actions=[[actions(1)[0, 0]]])
    found = best_of(session, list(map(list, acts)), redness)
    assert model.rows == [1]  # one prefill for all
    assert session.latents == [0]
    assert found.index == max(range(5), key=lambda index: found.scores[index])
    assert len(set(found.scores)) > 1
    for candidate, film, score in zip(acts, found.frames, found.scores, strict=True):
        alone = session_of(model, frames(1, 2), torch.stack, context_actions=[[actions(1)[0, 0]]])
        steps = [alone.step([action]).frames[0] for action in candidate]
        assert torch.equal(film, torch.cat(steps))
        assert score == redness(film)
    # the session goes on as if nothing had been imagined
    kept = session.step([acts[3, 0]]).tokens
    other = session_of(model, frames(1, 2), torch.stack, context_actions=[[actions(1)[0, 0]]])
    assert torch.equal(kept, other.step([acts[3, 0]]).tokens)
    assert found.seconds > 0
    assert len(found.nfe) == 5


def test_what_cannot_be_chosen_from_is_refused() -> None:
    model, acts = PushTModel(network()), list(map(list, actions(2)))
    session = session_of(model, frames(1), torch.stack)
    for candidates, words in (
        ([], "0 candidates"),
        ([acts[0], acts[1][:1]], "one length"),
        ([acts[0][:0]], "one length"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            best_of(session, candidates, redness)
    with pytest.raises(InvalidArgument, match="all are NaN"):
        best_of(session, [acts[0][:1]], lambda film: math.nan)
    two = session_of(model, frames(2), torch.stack)
    with pytest.raises(InvalidArgument, match="1 clip, not 2"):
        best_of(two, [acts[0]], redness)
    still = session_of(PushTModel(network(), [torch.zeros(0, 4)]), frames(1), None)
    with pytest.raises(InvalidArgument, match="without a condition"):
        best_of(still, [acts[0]], redness)


@pytest.mark.unchecked
def test_a_planner_plans_and_acts_again_and_again() -> None:
    acts = actions(3)
    session, other = (session_of(PushTModel(network()), frames(1), torch.stack) for _ in range(2))
    for frame in range(3):  # beyond the first step the cache is one that a decode has made
        candidates = [[own[frame]] for own in acts]
        found = best_of(session, candidates, lambda film: film.float().mean())  # a tensor of one number
        done = session.step([acts[found.index, frame]])
        assert torch.equal(done.tokens, other.step([acts[found.index, frame]]).tokens)
        assert torch.equal(done.frames[0], found.frames[found.index])
    with pytest.raises(InvalidArgument, match="a candidate must be a list of actions, not 5"):
        best_of(session, [5], redness)  # type: ignore[list-item]


def test_nothing_depends_on_a_prefill() -> None:
    model, acts = PushTModel(network()), actions(2)
    with_it, without = (session_of(model, frames(2), torch.stack) for _ in range(2))
    with_it.prefill(list(acts.flip(0)[:, 0]))  # of other actions
    for frame in range(2):
        given = list(acts[:, frame])
        assert torch.equal(with_it.step(given).tokens, without.step(given).tokens)
