"""Actions read off frames: exact where frames follow them, and not where they follow others or stand still."""

import json
from pathlib import Path

import numpy as np
import pytest
from pusht_pictures import picture

from vidjacobi.batch.manifest import Item
from vidjacobi.cli.main import main
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval.actions import futures
from vidjacobi.eval.actions.following import agreement, verdict
from vidjacobi.eval.actions.futures import ActedClip, Batch, open_batches
from vidjacobi.eval.actions.readers import pixels, push_t, read_held_out
from vidjacobi.eval.actions.run import ActionRun, measure

pytest.importorskip("sklearn")
RECORDINGS, STEPS = 10, 6


def grey(actions: np.ndarray, start: float = 120.0) -> np.ndarray:
    """A clip whose upper half grows brighter by the first number of each action, the lower half by the second."""
    levels = start + np.concatenate([np.zeros((2, 2)), np.cumsum(actions, 0)])  # two frames of context
    return (
        np.broadcast_to(levels.repeat(4, 1)[:, :, None, None], (len(levels), 8, 8, 3))
        .round()
        .astype(np.uint8)
    )


def acted(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-15, 16, (RECORDINGS, STEPS, 2)).astype(float)


def clips_of(shown: dict[str, np.ndarray], fed: dict[str, np.ndarray | None]) -> list[ActedClip]:
    """Clips whose frames follow, in each batch, some actions; recorded are those of ``acted``."""
    return [
        ActedClip(
            Item(f"recording {number}", 0, 0),
            grey(acted()[number]),
            acted()[number],
            {name: grey(actions[number]) for name, actions in shown.items()},
            {name: None if actions is None else actions[number] for name, actions in fed.items()},
        )
        for number in range(RECORDINGS)
    ]


def batch(name: str, choice: str | None = None) -> Batch:
    return Batch(Path(name), name, {"actions": choice}, {})


@pytest.mark.parametrize("reader", ["ridge", "network"])
def test_frames_that_follow_their_actions_are_told_from_controls(reader: str) -> None:
    shown = {"futures": acted(), "shuffled": acted(5)}
    clips = clips_of(shown, dict(shown))
    lines = measure(
        clips, [batch("futures", "dataset"), batch("shuffled", "shuffled")], ActionRun((), reader=reader)
    )
    found = {line["frames"]: line for line in lines}
    least = 0.97 if reader == "ridge" else 0.5
    assert found["true frames"]["r2"]["mean"] > least  # on recordings that the reader was not fitted on
    assert found["futures"]["r2"]["mean"] == found["true frames"]["r2"]["mean"]  # the same frames
    assert found["futures"]["r2_above_true"] == {"mean": 0, "low": 0, "high": 0}
    assert found["shuffled, against the actions it was fed"]["r2"]["mean"] > least - 0.1
    for name in ("frozen", "shuffled", "predicted, against another recording's actions"):
        assert found[name]["r2"]["mean"] < 0.2
        assert found[name]["r2_above_predicted"]["high"] < 0
    assert len(found["futures"]["error_by_step"]) == STEPS
    assert len(found["futures"]["rmse"]) == 2
    assert all(verdict(lines).values())
    assert json.dumps(lines)


def test_a_model_that_ignores_its_actions_is_found_out() -> None:
    ignoring = {"futures": acted(9)}  # something happens, whatever is done
    lines = measure(clips_of(ignoring, {"futures": None}), [batch("futures")], ActionRun(()))
    said = verdict(lines)
    assert said == {
        "actions can be read off true frames": True,
        "predicted frames follow their actions better than every control": False,
    }


def test_actions_that_frames_do_not_show_cannot_be_read() -> None:
    """The reader's own held-out error says so: it is not fitted on what it is judged on."""
    noise = list(np.random.default_rng(1).normal(0, 1, (RECORDINGS, STEPS, 2)))
    steps = [pixels(grey(actions)) for actions in acted()]
    names = [f"recording {number}" for number in range(RECORDINGS)]
    read = read_held_out(steps, noise, names, {})["true"]
    found = agreement(read, noise, names).r2(np.arange(RECORDINGS)[None])
    assert found[0] < 0.2


def test_the_agent_is_read_by_its_colour() -> None:
    places = 256 + np.cumsum(np.random.default_rng(2).normal(0, 15, (4, 2)), 0)
    found = push_t(np.stack([picture(place, None) for place in places]))
    wanted = np.concatenate([places[1:-1], np.diff(places, axis=0)[1:], np.diff(places, axis=0)[:-1]], 1)
    assert found == pytest.approx(wanted, abs=2)
    lost = push_t(np.stack([picture(None, None), picture(places[0], None), picture(None, None)]))
    assert lost[0] == pytest.approx([*places[0], 0, 0, *(places[0] - 256)], abs=2)


def test_numbers_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(3)
    wanted = [1000 + rng.normal(0, 1, (5, 2)) for _ in range(6)]
    read = [one + rng.normal(0, 0.5, one.shape) for one in wanted]
    found = agreement(read, wanted, list("aabbcd"))
    whole, own = np.concatenate(wanted), np.concatenate(read)
    r2 = 1 - ((whole - own) ** 2).sum(0) / ((whole - whole.mean(0)) ** 2).sum(0)
    assert found.r2(np.arange(4)[None])[0] == pytest.approx(r2.mean())
    assert found.rmse() == pytest.approx(np.sqrt(((whole - own) ** 2).mean(0)).tolist())
    with pytest.raises(BadInput, match="never vary"):
        agreement(read, [np.ones((5, 2))] * 6, list("aabbcd"))


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    steps, actions = [np.zeros((3, 2))] * 3, [np.zeros((3, 1))] * 3
    with pytest.raises(BadInput, match="4 or more"):
        read_held_out(steps, actions, list("abc"), {})
    with pytest.raises(InvalidArgument, match="did you mean 'ridge'"):
        read_held_out(steps, actions, list("abc"), {}, "rigde")
    with pytest.raises(InvalidArgument, match="square pictures"):
        push_t(np.zeros((4, 8, 6, 3), np.uint8))
    with pytest.raises(BadInput, match=r"holds no batch: there is no settings.json"):
        open_batches([tmp_path])
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(BadInput, match=r"settings.json is damaged"):
        open_batches([tmp_path])


def test_a_column_is_refused_where_the_batch_kept_its_actions(tmp_path: Path) -> None:
    """Frames are compared with what was fed: a column would not be looked at."""
    from robot_sets import write_robot_set

    from tests.export.finished_batches import CONTEXT, FRAMES, write_batch

    write_robot_set(tmp_path / "set", codec="h264")
    folder = write_batch(tmp_path / "futures", tmp_path / "set", samples=1)
    found, _ = futures.clips_of(open_batches([folder]), None, "action", None)  # none kept: the column is read
    assert found[0].actions.shape == (FRAMES, 2)
    fed = np.random.default_rng(0).normal(0, 1, (CONTEXT + FRAMES - 1, 4))
    for file in folder.rglob("*.npz"):
        with np.load(file) as content:
            arrays = dict(content)
        np.savez(file, **arrays, actions=fed)
    with pytest.raises(
        BadInput, match=r"was fed actions, and these are what its frames .*leave --column out"
    ):
        futures.clips_of(open_batches([folder]), None, "action", None)
    found, _ = futures.clips_of(open_batches([folder]), None, None, None)
    assert (found[0].actions == fed[CONTEXT - 1 :]).all()


@pytest.mark.slow
def test_a_batch_of_push_t_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gym_pusht")
    from scripts.nano.pusht.push_dataset import write_set
    from tests.export import finished_batches

    write_set(tmp_path / "set", range(1_000_000, 1_000_006))
    monkeypatch.setattr(finished_batches, "MODEL_SIZE", (64, 64))
    made = finished_batches.write_batch(
        tmp_path / "futures", tmp_path / "set", (0, 20, 40), 1, output="frames"
    )
    words = ["eval", "actions", str(made), "--features", "pusht", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["recordings"] == 6
    assert found["clips"] == 18
    lines = {line["frames"]: line for line in found["lines"]}
    # these futures show the true frames
    assert lines["true frames"]["r2"]["mean"] > 0.5
    assert lines["futures"]["r2"]["mean"] == pytest.approx(lines["true frames"]["r2"]["mean"], abs=1e-6)
    assert "told no actions" in found["warnings"][0]
    for name in ("results.csv", "results.md", "results.tex", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 200
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--column", "nothing"]) == 2
    assert "has no column 'nothing' (it has observation.state" in capsys.readouterr().err
    assert (tmp_path / "out" / "report.html").exists()  # nothing done is lost
