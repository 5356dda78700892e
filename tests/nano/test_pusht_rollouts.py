"""Long rollouts of nano-pusht and the numbers that judge them, on a tiny network with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pusht_pictures import AGENTS, POSES, picture
from tiny_pusht import tiny_pusht

from scripts.nano.pusht.judge_pushes import errors_at, interval, read_clips, speed_of, write_rollouts
from scripts.nano.pusht.pusht_sizes import CONTEXT
from vidjacobi.eval.policies.rollouts import PushRollouts, shown


def clips(count: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 16, (count, frames, 4), generator=generator)
    return tokens, torch.rand(count, frames - 1, 4, generator=generator) * 512


@pytest.mark.slow
@pytest.mark.unchecked
def test_rollouts_go_on_under_their_actions_and_repeat() -> None:
    model, (tokens, actions) = tiny_pusht(), clips(2, CONTEXT + 6)

    def rolled(given: torch.Tensor, decoder: str = "pathwise") -> PushRollouts:
        made = PushRollouts(model, tokens[:, :CONTEXT], actions[:, : CONTEXT - 1], ["a", "b"], decoder)
        assert made.advance(given[:, CONTEXT - 1 :]).shape == (2, 6, 4)
        return made

    first = rolled(actions)
    assert first.tokens.equal(rolled(actions, "ar").tokens)
    assert first.tokens[:, :CONTEXT].equal(tokens[:, :CONTEXT])
    assert first.actions.equal(actions)
    assert 0 < first.passes < 6 * 4
    later = actions.clone()
    later[:, -1] = 512 - later[:, -1]
    other = rolled(later).tokens
    assert other[:, :-1].equal(first.tokens[:, :-1])  # the last frame's action leads to the last frame alone
    assert shown(model, first.tokens).shape == (2, CONTEXT + 6, 8, 8, 3)
    found = speed_of(model, tokens, torch.cat([actions, actions], 1), "pathwise")
    assert found["simulator_steps_a_second"] > 0


def test_errors_of_true_pictures_are_small_and_those_of_others_are_not(tmp_path: Path) -> None:
    pictures = np.stack([np.stack([picture(a, p)] * 5) for a, p in zip(AGENTS, POSES, strict=True)])
    states = np.stack([np.stack([[*a, *p]] * (CONTEXT + 4)) for a, p in zip(AGENTS, POSES, strict=True)])
    readings = read_clips(pictures)
    right = errors_at(readings, states, 4)
    assert right["steps"] == 8
    assert right["agent_median"] < 0.3
    assert right["tee_mean"] < 0.6
    assert right["agent_lost"] == 0
    moved = states.copy()
    moved[:, -1, :2] += 40
    moved[:, -1, 2:4] += 80
    wrong = errors_at(readings, moved, 4)
    assert wrong["agent_median"] > 5
    assert wrong["tee_frozen_mean"] > 10
    write_rollouts(np.concatenate([pictures] * 3, 1), pictures, tmp_path)
    assert (tmp_path / "rollouts.png").stat().st_size > 1000


def test_intervals() -> None:
    low, mean, high = interval(np.linspace(-1, 3, 50))
    assert low < mean < high
    assert mean == pytest.approx(1)
