"""Long rollouts of nano-pusht and the numbers that judge them, on a tiny network with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pusht_pictures import AGENTS, POSES, picture

from cosmos_adapter.transformer.spec import ModelSpec
from scripts.nano.pusht.judge_push_policies import ceiling, with_interval
from scripts.nano.pusht.judge_pushes import errors_at, interval, read_clips, speed_of, write_rollouts
from scripts.nano.pusht.push_rollouts import PushRollouts, shown
from scripts.nano.pusht.pusht_sizes import CONTEXT, FRAMES
from vidjacobi.families.frame_tokenizer import FrameTokenizer
from vidjacobi.families.pusht import PushT
from vidjacobi.families.pusht_network import PushTNetwork, PushTSpec
from vidjacobi.families.pusht_pixels import PatchNetwork, PatchSpec


def family() -> PushT:
    torch.manual_seed(0)
    trunk = ModelSpec(
        dim=24,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        ffn_hidden_size=32,
        vocab_size=16,
        video_latent_shape=(FRAMES, 2, 2),
        num_video_frames=FRAMES,
    )
    patches = PatchSpec(levels=(4, 4), patch=4, side=2, read=8, drawn=8, fine=4, max_frames=FRAMES)
    network, pictures = PushTNetwork(PushTSpec(trunk, near_width=4)), PatchNetwork(patches)
    for parameter in (*network.parameters(), *pictures.parameters()):
        torch.nn.init.normal_(parameter.requires_grad_(False), std=0.5)
    return PushT(network, FrameTokenizer(pictures, (8, 8), FRAMES))


def clips(count: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 16, (count, frames, 4), generator=generator)
    return tokens, torch.rand(count, frames - 1, 4, generator=generator) * 512


@pytest.mark.slow
@pytest.mark.unchecked
def test_rollouts_go_on_under_their_actions_and_repeat() -> None:
    model, (tokens, actions) = family(), clips(2, CONTEXT + 6)

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


def test_intervals_and_ranks() -> None:
    low, mean, high = interval(np.linspace(-1, 3, 50))
    assert low < mean < high
    assert mean == pytest.approx(1)
    rng = np.random.default_rng(0)
    true = np.arange(7)[:, None] / 10 + rng.normal(0, 0.05, (7, 30))
    alike, turned = with_interval(true, true + 0.1), with_interval(true, -true)
    assert alike["spearman"] == pytest.approx(1)
    assert turned["spearman"] == pytest.approx(-1)
    assert turned["interval"][1] < 0 < alike["interval"][0]
    assert ceiling(true)["mean"] > 0.9
