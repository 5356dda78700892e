"""Environments keep Gymnasium's contract, and a row of many is an environment alone."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from tests.families.test_pusht import network  # noqa: E402
from tests.session.test_acting import SAMPLING, PaintedCodes, frames  # noqa: E402
from vidjacobi.errors import BadInput, InvalidArgument  # noqa: E402
from vidjacobi.families.pusht import PushTModel  # noqa: E402
from vidjacobi.gym import Start, WorldModelEnv, WorldModelVectorEnv, starts_of  # noqa: E402
from vidjacobi.models.action_spec import ActionSpec  # noqa: E402
from vidjacobi.video import write_video  # noqa: E402

pytestmark = pytest.mark.unchecked
SPACE = gymnasium.spaces.Box(0, 512, (4,), np.float32)
STARTS = [Start(clip, f"start {number}") for number, clip in enumerate(frames(3))]


def condition(actions: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(actions)).double()


def world(**options: object) -> tuple[PushTModel, PaintedCodes, dict[str, object]]:
    model = PushTModel(network())
    usual = {"action_space": SPACE, "condition": condition, "sampling": SAMPLING, "window": 5}
    return model, PaintedCodes(model.vocab_size, 4), {**usual, **options}


def env(**options: object) -> WorldModelEnv:
    model, tokenizer, usual = world(**options)
    return WorldModelEnv(model, tokenizer, STARTS, **usual)


def test_the_contract() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(rendering|normalized|symmetric|spec).*")
        check_env(env(render_mode="rgb_array"), skip_render_check=True)
        _, tokenizer, _ = world()
        check_env(
            WorldModelEnv(PushTModel(network(), [torch.zeros(0, 4)]), tokenizer, STARTS),
            skip_render_check=True,
        )


def test_an_episode() -> None:
    made = env(
        reward=lambda seen: float(seen[-1, 0, 0, 0]),
        terminated=lambda seen: False,
        horizon=5,
        render_mode="rgb_array",
    )
    first, info = made.reset(seed=3)
    assert first.shape == (2, 3, 3)
    ends, pictures = [], []
    for _ in range(5):
        seen, reward, terminated, truncated, told = made.step(np.full(4, 100, np.float32))
        ends.append((terminated, truncated))
        pictures.append(seen)
        assert reward == seen[0, 0, 0]
        assert np.array_equal(made.render(), seen)
        assert told["frames"].shape == (1, 2, 3, 3)
        assert told["nfe"] >= 1
    assert ends == [(False, False)] * 4 + [(False, True)]
    # the same dice once more, and others
    made.reset(options={"start": info["start"], "noise": info["noise"]})
    again = [made.step(np.full(4, 100, np.float32))[0] for _ in range(5)]
    assert np.array_equal(again, pictures)
    made.reset(options={"start": info["start"], "noise": info["noise"] + 1})
    assert not np.array_equal([made.step(np.full(4, 100, np.float32))[0] for _ in range(5)], pictures)


def test_rows_are_environments_alone() -> None:
    """Over several episodes of different lengths."""
    rules = {"terminated": lambda seen: bool(seen[-1, 0, 0, 0] < 3), "horizon": 3}
    model, tokenizer, usual = world(**rules)
    many = WorldModelVectorEnv(model, tokenizer, STARTS, 3, **usual)
    actions = np.random.default_rng(0).uniform(0, 512, (7, 3, 4)).astype(np.float32)
    seen, _ = many.reset(seed=11)
    rows = [seen]
    ended = 0
    for act in actions:
        seen, _, terminated, truncated, infos = many.step(act)
        rows.append(seen)
        ended += int((terminated | truncated).sum())
        if (terminated | truncated).any():
            assert infos["_final_obs"].tolist() == (terminated | truncated).tolist()
    assert ended > 3
    for row in range(3):
        alone = env(**rules)
        wanted = [alone.reset(seed=11 + row)[0]]
        for act in actions:
            seen, _, terminated, truncated, _ = alone.step(act[row])
            wanted.append(alone.reset()[0] if terminated or truncated else seen)
        assert np.array_equal([part[row] for part in rows], wanted)
    many.close()


def test_starts_of_a_dataset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", torch.zeros(12, 32, 48, 3, dtype=torch.uint8), 10)
    found = starts_of(tmp_path, 9)
    assert [(start.name, tuple(start.frames.shape)) for start in found] == [
        ("a", (9, 32, 48, 3)),
        ("b", (9, 32, 48, 3)),
    ]
    assert len(starts_of(tmp_path, 1, most=1)) == 1
    with pytest.raises(BadInput, match="12"):
        starts_of(tmp_path, 17)


def test_starts_have_the_actions_between_their_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", torch.zeros(12, 32, 48, 3, dtype=torch.uint8), 10)
    asked = ActionSpec(("x",), condition=list, per_frame=2)
    with pytest.raises(BadInput, match="a has no recorded actions, and a start of 3 frames"):
        starts_of(tmp_path, 3, asked=asked)
    (tmp_path / "a.jsonl").write_text("".join(f"[{row}]\n" for row in range(12)))
    (found,) = starts_of(tmp_path, 3, asked=asked, start=1, stride=4)
    # frames 1, 5 and 9: rows 1 and 3 lead to 5, rows 5 and 7 to 9
    assert [action.tolist() for action in found.actions] == [[1, 3], [5, 7]]
    assert starts_of(tmp_path, 1, asked=asked)[0].actions == ()


def test_refusals() -> None:
    model, tokenizer, usual = world()
    for call, words in (
        (lambda: env(action_space=None), "needs both"),
        (lambda: env(render_mode="ascii"), "render_mode"),
        (lambda: env(horizon=0), "horizon"),
        (lambda: env().step(np.zeros(4)), "begins with reset"),
        (lambda: env().reset(options={"begin": 1}), "options start and noise, not begin"),
        (lambda: env().reset(options={"start": 3}), "no start 3"),
        (lambda: WorldModelEnv(model, tokenizer, [], **usual), "no start"),
        (lambda: WorldModelVectorEnv(model, tokenizer, STARTS, 2, **usual).reset(seed=[1]), "1 seed for 2"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            call()


def test_drawing_into_a_picture_changes_nothing() -> None:
    made, plain = env(render_mode="rgb_array"), env(render_mode="rgb_array")
    for action in (None, *(np.full(4, 100 * step, np.float32) for step in range(1, 5))):
        told = [one.reset(seed=2) if action is None else one.step(action) for one in (made, plain)]
        assert np.array_equal(told[0][0], told[1][0])
        told[0][0][:] = 0
        if action is not None:
            assert np.array_equal(told[0][4]["frames"], told[1][4]["frames"])
            told[0][4]["frames"][:] = 0
        assert np.array_equal(made.render(), plain.render())
        assert plain.render().any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", None, np.zeros(3)])
def test_a_reward_that_is_no_number_is_refused(value: object) -> None:
    made = env(reward=lambda seen: value)
    made.reset(seed=0)
    with pytest.raises(InvalidArgument, match="the reward"):
        made.step(np.zeros(4, np.float32))


def test_rules_may_answer_with_arrays_and_tensors_of_one_number_but_not_with_words() -> None:
    made = env(reward=lambda seen: torch.tensor(2.5), terminated=lambda seen: np.bool_(True))
    made.reset(seed=0)
    assert made.step(np.zeros(4, np.float32))[1:4] == (2.5, True, False)
    made = env(terminated=lambda seen: "no")
    made.reset(seed=0)
    with pytest.raises(InvalidArgument, match="terminated must be True or False, not 'no'"):
        made.step(np.zeros(4, np.float32))
    with pytest.raises(InvalidArgument, match="reward must be a function"):
        env(reward=5)


def test_every_start_is_looked_at_before_one_is_drawn() -> None:
    model, tokenizer, usual = world()
    last = Start(frames(1, 2)[0], "the last")
    with pytest.raises(
        InvalidArgument, match="the start 'the last' has 0 actions: a context of 2 frames needs 1"
    ):
        WorldModelEnv(model, tokenizer, [*STARTS, last], **usual)
    with pytest.raises(InvalidArgument, match="a start must be a Start"):
        WorldModelEnv(model, tokenizer, [frames(1)[0]], **usual)


def test_seeds_of_a_vector_may_be_numpy_numbers() -> None:
    model, tokenizer, usual = world()
    many = WorldModelVectorEnv(model, tokenizer, STARTS, 2, **usual)
    noise = many.reset(seed=5)[1]["noise"].tolist()
    for seeds in (np.int64(5), np.array([5, 6]), (5, 6)):
        assert many.reset(seed=seeds)[1]["noise"].tolist() == noise
    for seeds in (-1, 1.5, "ab", [1, "a"]):
        with pytest.raises(InvalidArgument, match="the seed must be"):
            many.reset(seed=seeds)
