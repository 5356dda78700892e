"""Policies in worlds: what they see and may say, how worlds are compared, and a whole evaluation on a tiny model."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pusht_pictures import AGENTS, POSES, picture
from tiny_pusht import tiny_pusht, write_tiny_pusht

from vidjacobi.cli.main import main
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval.policies.contract import policies_of
from vidjacobi.eval.policies.planner import Planner, candidates_of
from vidjacobi.eval.policies.playing import load, play
from vidjacobi.eval.policies.ranks import BAR, agreement, ceiling
from vidjacobi.eval.policies.worlds import FIRST, Starts, TrueWorld
from vidjacobi.eval.pusht_poses import coverage

MODULE = """
from vidjacobi.errors import VidjacobiError

def middle(frames):
    assert frames.dtype.name == "uint8" and frames.shape[1:] == (64, 64, 3)
    return 256.0, 256.0 + len(frames)

class Steps:
    def __init__(self, start):
        self.start = start

    def __call__(self, frames):
        return [self.start, len(frames)]

def far(frames):
    return 600, 0

def fails(frames):
    return frames[100]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_policies.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_policies", raising=False)
    return "my_policies"


class PaintedWorld:
    """Agents are where they are told to be; the Ts come nearer to the goal with every frame."""

    def __init__(self) -> None:
        self.told: list[np.ndarray] = []
        self._agents = AGENTS[:2]

    def pictures(self) -> np.ndarray:
        return np.stack([picture(a, p) for a, p in zip(self._agents, self.poses(), strict=True)])

    def poses(self) -> np.ndarray:
        return POSES[:2] + len(self.told) * np.array([[12, 12, 0.05], [-12, -8, -0.1]])

    def step(self, targets: np.ndarray) -> None:
        self.told.append(targets)


def test_a_policy_sees_the_frames_so_far_and_coverage_is_read_off_them(module: str, tmp_path: Path) -> None:
    world = PaintedWorld()
    (policy,) = policies_of([f"{module}:Steps"])
    found = play(policy, world, world.pictures(), frames=2, seed=0, shown=1)
    assert np.stack(world.told).tolist() == [[[0, 1], [1, 1]], [[0, 2], [1, 2]]]  # (start, frames seen)
    assert found.frames.shape == (1, 3, 64, 64, 3)
    assert found.coverage[:, -1] == pytest.approx([coverage(pose) for pose in world.poses()], abs=0.02)
    assert found.lost == 0
    assert found.melted == 0
    found.save(tmp_path / "one.npz", "abc")
    again, source = load(tmp_path / "one.npz")
    assert source == "abc"
    assert np.array_equal(again.coverage, found.coverage)
    (tmp_path / "two.npz").write_bytes(b"PK")
    with pytest.raises(BadInput, match="holds no episodes"):
        load(tmp_path / "two.npz")


def test_what_a_policy_says_wrongly_is_refused_with_its_name(module: str) -> None:
    world = PaintedWorld()
    for name, words in ((f"{module}:far", "0 to 512, and returned"), (f"{module}:fails", "IndexError")):
        (policy,) = policies_of([name])
        with pytest.raises(BadInput, match=words) as caught:
            play(policy, world, world.pictures(), frames=1, seed=0, shown=0)
        assert name in str(caught.value)


def test_names_of_policies_are_checked(module: str) -> None:
    assert [policy.name for policy in policies_of(["still", f"{module}:middle"])] == [
        "still",
        f"{module}:middle",
    ]
    for names, words in (
        (["stil"], "did you mean 'still'"),
        (["no_such_module:act"], "there is no module"),
        ([f"{module}:nothing"], "has no function or class"),
        (["still", "still"], "named twice"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            policies_of(names)


def test_worlds_that_rank_alike_meet_the_bar_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(7)[:, None] / 10 + rng.normal(0, 0.05, (7, 30))
    alike, turned = agreement(true, true + 0.1), agreement(true, -true)
    assert alike.spearman.value == pytest.approx(1)
    assert alike.meets
    assert turned.spearman.value == pytest.approx(-1)
    assert not turned.meets
    frozen = agreement(true, np.ones_like(true))  # not defined: it does not meet the bar
    assert frozen.spearman.value is None
    assert not frozen.meets
    assert json.dumps(frozen.to_json())
    noise = agreement(true, rng.normal(0, 1, (7, 30)))
    assert noise.spearman.low is not None
    assert noise.spearman.high is not None
    assert noise.spearman.low < noise.spearman.high
    top = ceiling(true)
    assert top is not None
    assert top["mean"] > 0.9
    assert ceiling(true[:, :3]) is None


def test_the_correlations_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 1, (2, 8, 6)).round(1)
    found = agreement(one, other)
    assert found.spearman.value == pytest.approx(stats.spearmanr(one.mean(1), other.mean(1)).statistic)
    assert found.pearson.value == pytest.approx(stats.pearsonr(one.mean(1), other.mean(1)).statistic)
    assert BAR == 0.8


@pytest.mark.slow
@pytest.mark.unchecked
def test_an_evaluation_of_a_tiny_model_resumes(
    tmp_path: Path, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gym_pusht")
    weights, out = write_tiny_pusht(tmp_path / "weights", 4), tmp_path / "out"
    words = [
        "eval",
        "policies",
        "--model",
        f"pusht:{weights}",
        "--starts",
        "2",
        "--frames",
        "2",
        "--out",
        str(out),
    ]
    assert main([*words, "--policies", "still,wander"]) == 0
    first = json.loads((out / "results.json").read_text())
    assert [line["policy"] for line in first["policies"]] == ["still", "wander"]
    assert list(first["policies"][0]["worlds"]) == ["true", "model", "frozen", "other actions"]
    assert not first["ranks"][1]["meets_bar"]  # the frozen world
    for name in ("results.csv", "results.md", "results.tex", "report.html"):
        assert (out / name).stat().st_size > 200
    told = capsys.readouterr().err
    assert told.count("largest coverage") == 8
    assert main([*words, "--policies", "still,wander", "--policy", f"{module}:fails"]) == 2
    assert main([*words, "--policies", "still,wander,weak"]) == 0
    told = capsys.readouterr().err
    assert "my_policies:fails failed: IndexError" in told
    assert told.count("largest coverage") == 4  # those of the new policy alone
    again = json.loads((out / "results.json").read_text())
    assert again["policies"][:2] == first["policies"]
    assert main([*words[:-1], str(out), "--policies", "still,wander", "--seed", "1"]) == 2
    assert "another evaluation of policies (seed: 0 there, 1 here)" in capsys.readouterr().err


def test_a_model_of_another_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "policies", "--model", "nano"]) == 2
    assert "pusht:FOLDER" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.unchecked
def test_a_planner_acts_in_the_simulator() -> None:
    """It plans anew when what it chose is done, and does nothing but what it imagined."""
    pytest.importorskip("gym_pusht")
    planner = Planner(tiny_pusht(4), candidates=3, frames=7, done=2)
    starts = Starts(2, FIRST, 2, 16)
    found = play(planner.policy(), TrueWorld(starts), starts.pictures, 3, seed=0, shown=0)
    assert found.coverage.shape == (2, 4)
    assert len(planner.plans) == 2 * 2
    for plan in planner.plans:
        assert plan.index == int(np.argmax(plan.scores))
        assert len(plan.frames[0]) == 7  # beyond the model's clip of 8, of which 2 are given
    paths = candidates_of(np.array([100.0, 100.0]), POSES[0], 32, 10, np.random.default_rng(0))
    assert paths.shape == (32, 10, 2)
    assert (paths[0] == 100).all()  # one candidate stays where it is
    assert len(np.unique(paths.round(3), axis=0)) > 20  # long pushes at far edges are alike for 10 frames
