"""``vidjacobi batch --actions``: which actions clips are given, that they are kept, and what is refused."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_acted
import pyarrow.parquet as pq
import pytest
import torch
from batches import Batch, hashes, rows_of, words_of
from own_acted import condition
from robot_sets import FPS, LENGTHS, write_robot_set

import vidjacobi
from vidjacobi.acting import load_acted
from vidjacobi.batch.fed_actions import FedActions, read_actions
from vidjacobi.batch.settings import load_plan
from vidjacobi.cli import main
from vidjacobi.datasets import Episode, open_dataset
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.rollouts.chunks import Chunk
from vidjacobi.runtime import choose

CONTEXT, FRAMES = 2, 4  # two chunks of the model's 5 frames
OWN = "own_acted:load"


@pytest.fixture(scope="session")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its action is [frame / 3, -episode], 10 a second; the model asks for two a frame, 5 frames a second."""
    return write_robot_set(tmp_path_factory.mktemp("acted") / "set", codec="png")


@pytest.fixture
def flags(robot: Path) -> dict[str, Any]:
    return {
        **{
            "data": str(robot),
            "model": OWN,
            "dtype": "float64",
            "context": CONTEXT,
            "frames": FRAMES,
            "stride": 2,
        },
        **{"output": "tokens", "window": 4, "actions": "dataset", "devices": "cpu", "no_memory_check": True},
    }


def wanted(episode: int, start: int = 0) -> np.ndarray:
    """Rows 2 (start + i) and the one after it."""
    frames = 2 * (start + np.arange(CONTEXT + FRAMES - 1))
    return np.stack([frames / 3, 0 * frames - episode, (frames + 1) / 3, 0 * frames - episode], 1).astype(
        np.float32
    )


def run(out: Path, flags: dict[str, Any], *more: str) -> int:
    return main.main([*words_of(flags, out), *more])


def fed(out: Path) -> dict[Any, FedActions]:
    """By item."""
    found = {
        item: read_actions(out / str(row.tokens))
        for item, row in rows_of(out).items()
        if row.status == "done"
    }
    assert all(found.values())
    return {item: one for item, one in found.items() if one}


def rolled(robot: Path, actions: np.ndarray, episode: str, start: int) -> str:
    """Token hash of the rollout with these actions."""
    model, tokenizer = own_acted.load(choose("cpu", "float64"))
    there = {entry.id: entry for entry in open_dataset(robot, stride=2) if isinstance(entry, Episode)}

    def given(chunk: Chunk) -> list[int]:
        first = CONTEXT + chunk.first - chunk.context
        return [condition(torch.from_numpy(actions[first : first + chunk.context + chunk.latents - 1]))]

    options: dict[str, Any] = {"clip_id": episode, "start": start, "conditions": given, "window": 4}
    frames = there[episode].frames.read(start, CONTEXT).frames
    return vidjacobi.rollout(frames, model, tokenizer, FRAMES, **options).token_hash(0)


def test_a_clip_is_given_what_was_done_in_it(flags: dict[str, Any], robot: Path, tmp_path: Path) -> None:
    """Exactly, in every chunk; the tokens are those of a rollout with these actions."""
    assert run(tmp_path, {**flags, "starts": "every:2"}) == 0
    found, rows = fed(tmp_path), rows_of(tmp_path)
    # episodes of 6 and 10 frames at this stride
    assert [(item.episode[-1], item.start) for item in found] == [("0", 0), ("1", 0), ("1", 2), ("1", 4)]
    for item, one in found.items():
        assert one.names == ("x.0", "y.0", "x.1", "y.1")
        assert np.array_equal(one.values, wanted(int(item.episode[-1]), item.start))
        assert rows[item].actions_of == item.episode
        assert rows[item].actions_sha256 == one.digest
    item = list(found)[2]
    assert rows[item].tokens_sha256 == rolled(robot, found[item].values, item.episode, item.start)
    turned = found[item].values.copy()
    turned[-1] += 1  # of the last frame
    assert rows[item].tokens_sha256 != rolled(robot, turned, item.episode, item.start)
    table = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    assert [row["actions_of"][-1] for row in table] == ["0", "1", "1", "1"]


@pytest.mark.slow
def test_shuffled_depends_on_the_clip_alone(
    batch: Batch, flags: dict[str, Any], robot: Path, tmp_path: Path
) -> None:
    """Not on rows, shards, workers or a limit; the context keeps its own; never the clip's own recording."""
    from vidjacobi.batch.settings import Shard  # noqa: F401

    listed = tmp_path / "clips.txt"  # parts of two recordings
    listed.write_text("".join(f"episode_000001 {2 * start}\n" for start in range(4)) + "episode_000000 0\n")
    mine = {**flags, "clip_list": str(listed), "actions": "shuffled"}
    assert run(tmp_path / "a", mine) == 0
    found, rows = fed(tmp_path / "a"), rows_of(tmp_path / "a")
    assert len(found) == 5
    for item, one in found.items():
        own, start = int(item.episode[13]), int(item.episode.partition("@")[2])
        assert (one.values[: CONTEXT - 1, 1] == -own).all()
        assert (one.values[CONTEXT - 1 :, 1] == own - 1).all()  # of the other of 0 and 1
        other = int(str(rows[item].actions_of).partition("@")[2])
        assert int(str(rows[item].actions_of)[13]) == 1 - own
        ahead = min(CONTEXT - 1, (LENGTHS[1 - own] - other) // 2 - FRAMES)  # frames of the other
        times = [start + 2 * frame for frame in range(CONTEXT - 1)]
        times += [other + 2 * (ahead + frame) for frame in range(FRAMES)]
        assert np.allclose(one.values[:, 0] * 3, times)
    # one row at a time, in three shards, each with a worker's part, limited to a few
    for shard in range(3):
        run(tmp_path / "b", {**mine, "shard": f"{shard}/3", "rows": 1})
    assert hashes(rows_of(tmp_path / "b")) == hashes(rows)
    assert {item: one.digest for item, one in fed(tmp_path / "b").items()} == {
        item: one.digest for item, one in found.items()
    }
    run(tmp_path / "c", {**mine, "limit": 1})
    assert hashes(rows_of(tmp_path / "c")).items() <= hashes(rows).items()
    assert run(tmp_path / "d", {**mine, "seed": 7}) == 0
    assert hashes(rows_of(tmp_path / "d")) != hashes(rows)


def test_zero_is_the_model_s_own_no_op(flags: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    assert run(tmp_path / "a", {**flags, "actions": "zero"}) == 0
    for item, one in fed(tmp_path / "a").items():
        true = wanted(int(item.episode[-1]))
        assert np.array_equal(one.values[: CONTEXT - 1], true[: CONTEXT - 1])
        assert (one.values[CONTEXT - 1 :] == np.tile(true[CONTEXT - 2, -2:], 2)).all()
        assert rows_of(tmp_path / "a")[item].actions_of == "no-op"
    assert run(tmp_path / "b", {**flags, "actions": "zero", "model": "own_acted:load_plain"}) == 2
    assert "has no action that does nothing; shuffled is the other control" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"stride": 1}, "frames are 0.1 s apart, and this model's frames are 0.2 s apart"),
        ({"model": "own_acted:load_wrong"}, "action 0 must be 3 numbers, not 2 numbers"),
        ({"model": "own_model:load"}, "own_model:load follows no actions: leave --actions out"),
        (
            {"actions": None},
            "own_acted:load's frames follow actions: give --actions dataset or shuffled or zero",
        ),
        ({"actions": "shufled"}, "did you mean 'shuffled'"),
        ({"short": "pad"}, "--short pad repeats frames"),
        ({"split": "one", "actions": "shuffled"}, "set has one only"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Any], match: str, flags: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    robot = write_robot_set(tmp_path / "set", codec="png")
    info = json.loads((robot / "meta/info.json").read_text())
    (robot / "meta/info.json").write_text(json.dumps({**info, "splits": {"one": "0:1"}}))
    mine = {key: value for key, value in {**flags, "data": str(robot), **change}.items() if value is not None}
    assert run(tmp_path / "out", mine) == 2
    assert match in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_clips_whose_actions_do_not_fit_fail_alone(
    flags: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    """The last action of episode 1 is 19 / 3: out of the world's 7 there are none; out of 3 there are some."""
    robot = write_robot_set(tmp_path / "set", codec="png")
    place = robot / "data/chunk-000/file-000.parquet"
    table = pq.read_table(place)
    rows = table["action"].to_pylist()
    rows[LENGTHS[0] + 12] = [99.0, 0.0]
    pq.write_table(table.set_column(table.column_names.index("action"), "action", [rows]), place)
    mine = {**flags, "data": str(robot), "starts": "every:2"}
    assert run(tmp_path / "out", mine) == 1
    failed = [row for row in rows_of(tmp_path / "out").values() if row.status == "failed"]
    assert [(row.episode[-1], row.start) for row in failed] == [("1", 2), ("1", 4)]
    assert "action 12 holds 99, and this model's actions go from -1 to 7: other units?" in str(
        failed[0].error
    )
    assert len(fed(tmp_path / "out")) == 2
    assert run(tmp_path / "short", {**flags, "frames": 9}) == 1
    skipped = [row for row in rows_of(tmp_path / "short").values() if row.status == "skipped"]
    assert "actions are fed up to the last predicted frame, so a smaller --frames" in str(skipped[0].error)
    info = json.loads((robot / "meta/info.json").read_text())
    del info["features"]["action"]
    (robot / "meta/info.json").write_text(json.dumps(info))
    assert run(tmp_path / "none", mine) == 2
    assert "it has no actions: LeRobot has them in the column action" in capsys.readouterr().err


def test_a_batch_resumes_with_its_actions_only(flags: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert run(out, flags) == 0
    before, kept = hashes(rows_of(out)), fed(out)
    for other in ("shuffled", "zero"):
        assert run(out, {**flags, "actions": other}) == 2
        assert f"actions: dataset there, {other} here" in capsys.readouterr().err
    item = next(iter(kept))
    path = out / str(rows_of(out)[item].tokens)
    with np.load(path) as content:
        arrays = dict(content)
    np.savez_compressed(path, **{**arrays, "actions": arrays["actions"] + 1})
    assert run(out, flags) == 0
    assert f"{path.name}" in capsys.readouterr().err  # gone or damaged, and made again
    assert hashes(rows_of(out)) == before
    assert fed(out)[item].digest == kept[item].digest
    for damaged in (arrays["actions"][:, :3], arrays["actions"].astype(np.float64)):
        np.savez_compressed(path, **{**arrays, "actions": damaged})
        with pytest.raises(BadInput, match="is damaged"):
            read_actions(path)
    np.savez_compressed(path, **{key: value for key, value in arrays.items() if key != "actions"})
    assert run(out, flags) == 0
    assert fed(out)[item].digest == kept[item].digest


def test_an_export_has_the_actions_fed(flags: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    """Under the model's names, frame by frame; our own reader, and the model, take them as they are."""
    out, made = tmp_path / "out", tmp_path / "made"
    assert run(out, {**flags, "output": "videos", "actions": "shuffled", "samples": 2}) == 0
    assert main.main(["export", str(out), str(made)]) == 0
    kept, rows = fed(out), rows_of(out)
    info = json.loads((made / "meta/info.json").read_text())
    assert info["features"]["action"] == {
        "dtype": "float32",
        "shape": [4],
        "names": ["x.0", "y.0", "x.1", "y.1"],
    }
    assert info["fps"] == FPS // 2
    told = pq.read_table(made / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for episode, row, (item, one) in zip(open_dataset(made), told, kept.items(), strict=True):
        assert isinstance(episode, Episode)
        assert episode.actions is not None
        found = episode.actions.read()
        assert found.fps == FPS / 2
        assert np.array_equal(np.float32(found.rows), np.concatenate([one.values, one.values[-1:]]))
        assert row["actions_of"] == rows[item].actions_of != item.episode
    again = {**flags, "data": str(made), "stride": 1, "frames": FRAMES}
    assert run(tmp_path / "again", again) == 0
    assert [one.digest for one in fed(tmp_path / "again").values()] == [one.digest for one in kept.values()]
    assert main.main(["export", str(out), str(tmp_path / "merge"), "--same-features"]) == 0
    assert "action is what the model was told, in another shape than the source's" in capsys.readouterr().out
    assert main.main(["export", str(out), str(tmp_path / "bare"), "--pictures-only"]) == 0
    bare = json.loads((tmp_path / "bare/meta/info.json").read_text())
    assert bare["features"]["action"] == info["features"]["action"]
    assert "observation.state" not in bare["features"]


def test_own_models_say_what_they_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_acted(OWN, "cpu", "float64").actions is not None
    monkeypatch.setattr(own_acted.load, "actions", lambda model, tokenizer: 3, raising=True)
    with pytest.raises(InvalidArgument, match=r"must return a .*ActionSpec, and returned int"):
        load_acted(OWN, "cpu", "float64")
    assert load_plan("default", {"data": ".", "model": OWN}).config.model == OWN


@pytest.mark.slow
def test_workers_and_kills_change_nothing(
    flags: dict[str, Any],
    tmp_path: Path,
    started: Callable[[list[str]], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(own_acted.__file__).parent))
    mine = {**flags, "actions": "shuffled", "starts": "every:1", "samples": 3}
    assert run(tmp_path / "one", mine) == 0
    process = started(words_of({**mine, "rows": 1}, tmp_path / "two"))
    while not (kept := list((tmp_path / "two").rglob("*-0.npz"))) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    _, said = process.communicate()
    assert kept, said
    assert run(tmp_path / "two", {**mine, "workers": 2, "rows": 2}) == 0
    assert hashes(rows_of(tmp_path / "two")) == hashes(rows_of(tmp_path / "one"))
    assert {item: one.digest for item, one in fed(tmp_path / "two").items()} == {
        item: one.digest for item, one in fed(tmp_path / "one").items()
    }
