"""A batch's futures as a LeRobot dataset: what training needs is kept, in the source's own terms."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from clip_files import decode_all, psnr
from finished_batches import CONTEXT, FRAMES, write_batch, write_clips
from robot_sets import CAMERA, LENGTHS, TASKS, WRIST, robot_rows, write_robot_set

from vidjacobi.cli import main
from vidjacobi.datasets import Episode, open_dataset
from vidjacobi.errors import BadInput
from vidjacobi.export.lerobot_source import LeRobotSource
from vidjacobi.video.clips import open_clip, read_frames

LENGTH = CONTEXT + FRAMES


@pytest.fixture(scope="session")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A robot dataset."""
    return write_robot_set(tmp_path_factory.mktemp("robot") / "set")


@pytest.fixture(scope="session")
def futures(robot: Path) -> Path:
    """A batch of its two episodes, two futures each."""
    return write_batch(robot.parent / "futures", robot)


def exported(out: Path, made: Path, *words: str) -> Path:
    assert main.main(["export", str(out), str(made), *words]) == 0
    return made


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main.main(["export", *map(str, words)]) == 2
    return capsys.readouterr().err


def rows_in(made: Path) -> dict[str, list[Any]]:
    return pq.read_table(made / "data/chunk-000/file-000.parquet").to_pydict()


def episodes_in(made: Path) -> list[dict[str, Any]]:
    return pq.read_table(made / "meta/episodes/chunk-000/file-000.parquet").to_pylist()


def json_in(made: Path, name: str) -> dict[str, Any]:
    return json.loads((made / "meta" / f"{name}.json").read_text())


def test_state_action_text_and_camera_are_the_sources(robot: Path, futures: Path, tmp_path: Path) -> None:
    made = exported(futures, tmp_path / "set")
    source, rows = robot_rows().to_pydict(), rows_in(made)
    for number in range(4):  # two futures of each episode, from frame 0 on
        first = LENGTHS[0] * (number // 2)
        for name in ("observation.state", "action", "next.done", "note"):
            assert rows[name][number * LENGTH : (number + 1) * LENGTH] == source[name][first : first + LENGTH]
    assert rows["predicted"] == ([0] * CONTEXT + [1] * FRAMES) * 4
    assert rows["recorded"] == [1] * LENGTH * 4
    texts = {task: name for name, task in tasks_in(made).items()}
    assert [texts[task] for task in rows["task_index"][:LENGTH]] == [TASKS[0]] * 6 + [TASKS[1]] * 2
    assert [texts[task] for task in rows["task_index"][2 * LENGTH : 3 * LENGTH]] == [TASKS[1]] * LENGTH
    assert [episode["tasks"] for episode in episodes_in(made)] == [[TASKS[0], TASKS[1]]] * 2 + [
        [TASKS[1]]
    ] * 2
    told, mine = json_in(robot, "info"), json_in(made, "info")
    assert mine["robot_type"] == "arm"
    assert {name: mine["features"][name] for name in told["features"]} == told["features"]
    assert set(mine["features"]) - set(told["features"]) == {"predicted", "recorded"}


def tasks_in(made: Path) -> dict[str, int]:
    table = pq.read_table(made / "meta/tasks.parquet").to_pydict()
    return dict(zip(table["__index_level_0__"], table["task_index"], strict=True))


def test_the_pictures_are_in_one_video_in_the_sources_format(futures: Path, tmp_path: Path) -> None:
    made = exported(futures, tmp_path / "set")
    files = list(made.rglob("*.mp4"))
    assert files == [made / "videos" / CAMERA / "chunk-000/file-000.mp4"]
    with av.open(str(files[0])) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "av1"
    info = open_clip(files[0])
    assert (info.height, info.width, info.fps, info.frames) == (48, 64, 10, 4 * LENGTH)
    found = [entry for entry in open_dataset(made) if isinstance(entry, Episode)]
    truth = [entry for entry in open_dataset(futures.parent / "set") if isinstance(entry, Episode)]
    for number, episode in enumerate(found):
        # the model saw all columns and all but a strip of the rows; H.264, AV1 and a third of the size cost the rest
        mine, true = episode.frames.read(0, LENGTH).frames, truth[number // 2].frames.read(0, LENGTH).frames
        assert psnr(mine[:, 8:-8, 8:-8].numpy(), true[:, 8:-8, 8:-8].numpy()) > 30
    places = [episode[f"videos/{CAMERA}/from_timestamp"] for episode in episodes_in(made)]
    assert places == pytest.approx([0.0, 0.8, 1.6, 2.4])


def test_every_feature_has_statistics(futures: Path, tmp_path: Path) -> None:
    made = exported(futures, tmp_path / "set")
    features, found, rows = json_in(made, "info")["features"], json_in(made, "stats"), rows_in(made)
    assert set(found) == set(features) - {"note"}  # a text has none
    assert found["predicted"]["mean"] == pytest.approx([FRAMES / LENGTH])
    state = np.array(rows["observation.state"])
    assert found["observation.state"]["max"] == state.max(0).tolist()
    assert found["observation.state"]["std"] == pytest.approx(state.std(0).tolist())
    assert found["observation.state"]["q50"] == pytest.approx(np.median(state, 0).tolist())
    assert {len(values) for values in found["action"].values()} == {1, 2}  # count; one for each number
    pictures = decode_all(made / "videos" / CAMERA / "chunk-000/file-000.mp4") / 255
    assert np.ravel(found[CAMERA]["mean"]) == pytest.approx(pictures.mean((0, 1, 2)), abs=0.02)
    assert np.ravel(found[CAMERA]["q90"]) == pytest.approx(np.quantile(pictures, 0.9, (0, 1, 2)), abs=0.03)
    episode = episodes_in(made)[0]
    assert {f"stats/{name}/mean" for name in found} <= set(episode)
    assert episode["stats/action/max"] == np.array(rows["action"][:LENGTH]).max(0).tolist()


def test_rows_follow_start_and_stride_and_end_with_the_recording(
    robot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = write_batch(tmp_path / "futures", robot, (2,), 1, stride=2)
    made = exported(out, tmp_path / "set")
    rows, source = rows_in(made), robot_rows().to_pydict()
    # every second row from the fourth on; episode 0 has 12 rows, so row 10 is its last one that counts
    numbers = [4, 6, 8, 10]
    assert rows["note"][:LENGTH] == [f"0-{n}" for n in numbers] + ["0-11"] * 4
    assert rows["recorded"][:LENGTH] == [1] * 4 + [0] * 4
    assert rows["action"][LENGTH - 1] == source["action"][11]
    assert rows["note"][LENGTH:] == [f"1-{n}" for n in range(4, 20, 2)]
    assert rows["recorded"][LENGTH:] == [1] * LENGTH
    assert json_in(made, "info")["fps"] == 5
    assert "4 frames behind the end of the recording have the last state" in capsys.readouterr().out
    # without the mark the future ends there
    plain = exported(out, tmp_path / "plain", "--same-features")
    assert "4 frames behind the end of the recording are left out" in capsys.readouterr().out
    assert [episode["length"] for episode in episodes_in(plain)] == [4, LENGTH]
    assert rows_in(plain)["note"] == rows["note"][:4] + rows["note"][LENGTH:]
    assert [entry.frames.count() for entry in open_dataset(plain) if isinstance(entry, Episode)] == [
        4,
        LENGTH,
    ]


def test_the_same_features_as_the_source(
    robot: Path, futures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = exported(futures, tmp_path / "set", "--same-features")
    assert "notes" not in json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json_in(made, "info")["features"] == json_in(robot, "info")["features"]
    assert {"predicted", "recorded"}.isdisjoint(rows_in(made))
    assert {episode["context_frames"] for episode in episodes_in(made)} == {CONTEXT}


def test_pictures_in_a_table_stay_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot = write_robot_set(tmp_path / "robot", codec="png")
    out = write_batch(tmp_path / "futures", robot, samples=1)
    made = exported(out, tmp_path / "set", "--same-features")
    assert "notes" not in json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not list(made.rglob("*.mp4"))
    assert json_in(made, "info")["features"] == json_in(robot, "info")["features"]
    assert json_in(made, "info")["video_path"] is None
    for mine, true in zip(open_dataset(made), open_dataset(robot), strict=True):
        assert isinstance(mine, Episode)
        assert isinstance(true, Episode)
        frames, truth = mine.frames.read(0, LENGTH).frames, true.frames.read(0, LENGTH).frames
        assert psnr(frames[:, 8:-8, 8:-8].numpy(), truth[:, 8:-8, 8:-8].numpy()) > 30


def test_a_cameras_key_leads_nowhere_else(robot: Path, tmp_path: Path) -> None:
    spoiled = shutil.copytree(robot, tmp_path / "robot")
    info = json.loads((spoiled / "meta/info.json").read_text())
    info["features"]["../../up"] = info["features"].pop(CAMERA)
    (spoiled / "meta/info.json").write_text(json.dumps(info))
    episode = Episode("e", next(e for e in open_dataset(robot)).frames, 10.0, "e", {"camera": "../../up"})
    with pytest.raises(BadInput, match="outside of the exported set"):
        LeRobotSource(spoiled, {"e": episode})


def test_what_stands_against_a_merge_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot = write_robot_set(tmp_path / "robot", (CAMERA, WRIST), "mpeg4")
    out = write_batch(tmp_path / "futures", robot, samples=1, camera="top", stride=2)
    made = exported(out, tmp_path / "set", "--same-features")
    told = capsys.readouterr().out
    assert f"remove_feature --operation.feature_names \"['{WRIST}']\"" in told
    assert "not in the source's format" in told
    assert "5 fps" in told
    assert json_in(made, "info")["features"][CAMERA]["info"]["video.codec"] == "h264"
    clips = write_batch(tmp_path / "others", write_clips(tmp_path / "clips"))
    assert "goes with a batch of a LeRobot dataset" in refused(
        capsys, clips, tmp_path / "no", "--same-features"
    )


def test_a_source_that_moved_or_is_gone(
    robot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, later = shutil.copytree(robot, tmp_path / "first"), tmp_path / "later"
    out = write_batch(tmp_path / "futures", first, samples=1)
    first.rename(later)
    told = refused(capsys, out, tmp_path / "set")
    assert "--source" in told
    assert "--pictures-only" in told
    assert not (tmp_path / "set").exists()
    moved = exported(out, tmp_path / "moved", "--source", str(later))
    assert rows_in(moved)["note"][0] == "0-0"
    pictures = exported(out, tmp_path / "pictures", "--pictures-only")
    assert {"observation.state", "action"}.isdisjoint(rows_in(pictures))
    assert "predicted future of episode_000000" in tasks_in(pictures)


def test_damaged_rows_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot = write_robot_set(tmp_path / "robot")
    out = write_batch(tmp_path / "futures", robot, samples=1)
    data = robot / "data/chunk-000/file-000.parquet"
    pq.write_table(robot_rows().drop_columns(["action"]), data)
    assert "lacks action, which meta/info.json lists" in refused(capsys, out, tmp_path / "set")
    data.write_bytes(data.read_bytes()[:-200])
    assert "file-000.parquet: the rows of episode_000000 cannot be read" in refused(
        capsys, out, tmp_path / "set"
    )
    assert not (tmp_path / "set").exists()


def test_bridge_keeps_states_and_actions(tmp_path: Path) -> None:
    root = tmp_path / "bridge"
    write_clips(root / "videos/train/7").joinpath("a.mp4").rename(root / "videos/train/7/rgb.mp4")
    (root / "annotation/train").mkdir(parents=True)
    states = np.arange(12 * 7).reshape(12, 7)
    note = {"texts": ["open the drawer"], "videos": [{"video_path": "videos/train/7/rgb.mp4"}]}
    note |= {"state": states.tolist(), "action": (-states[:-1]).tolist()}
    (root / "annotation/train/7.json").write_text(json.dumps(note))
    made = exported(write_batch(tmp_path / "futures", root, (4,), 1), tmp_path / "set")
    rows = rows_in(made)
    assert rows["observation.state"] == states[4:12].tolist()
    assert rows["action"] == (-states[[4, 5, 6, 7, 8, 9, 10, 10]]).tolist()  # one action fewer than states
    assert rows["recorded"] == [1] * 7 + [0]
    assert tasks_in(made) == {"open the drawer": 0}
    assert json_in(made, "info")["features"]["action"]["shape"] == [7]


def test_plain_videos_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_batch(tmp_path / "futures", write_clips(tmp_path / "clips"))
    made = exported(out, tmp_path / "deeper" / "set")
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told == {"dataset": str(made), "episodes": 4, "frames": 32, "tasks": 2}
    rows = episodes_in(made)
    assert [(row["source_episode"], row["sample"]) for row in rows] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]
    assert rows[2]["tasks"] == ["predicted future of b"]
    for episode, row in zip(open_dataset(made), rows, strict=True):
        wanted = out / f"items/{row['source_episode']}/000000-{row['sample']}.mp4"
        assert isinstance(episode, Episode)
        assert torch.equal(episode.frames.read(0, LENGTH).frames, read_frames(wanted, 0, LENGTH).frames)
    numbers = rows_in(made)
    assert numbers["index"] == list(range(4 * LENGTH))
    assert numbers["timestamp"][:3] == pytest.approx([0, 0.1, 0.2])
    info = json_in(made, "info")
    assert info["splits"] == {"train": "0:4"}
    assert set(info["features"]) == {"observation.images.rollout", *numbers} == set(json_in(made, "stats"))


def test_the_models_own_pictures_of_a_robot(futures: Path, tmp_path: Path) -> None:
    made = exported(futures, tmp_path / "set", "--size", "model")
    assert json_in(made, "info")["features"][CAMERA]["shape"] == [32, 48, 3]
    assert len(list(made.rglob("*.mp4"))) == 4
    assert "action" in rows_in(made)


def test_what_cannot_be_exported(futures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no batch lies here" in refused(capsys, tmp_path, tmp_path / "set")
    assert "exists: give another folder" in refused(capsys, futures, futures)
    out = shutil.copytree(futures, tmp_path / "copy")
    next(out.glob("items/*/*.mp4")).unlink()
    assert "is missing: run the batch once more" in refused(capsys, out, tmp_path / "set")
    settings = json.loads((out / "settings.json").read_text())
    settings["settings"]["output"] = "tokens"
    (out / "settings.json").write_text(json.dumps(settings))
    assert "kept tokens" in refused(capsys, out, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_folders_of_any_bytes(robot: Path, tmp_path: Path) -> None:
    """Arrow takes no path that is not UTF-8; the source's tables are read and the set's written all the same."""
    strange = tmp_path / os.fsdecode(b"caf\xe9")
    source = shutil.copytree(robot, strange / "set")
    made = exported(write_batch(strange / "futures", source), strange / "made")
    table = pq.read_table(io.BytesIO((made / "data/chunk-000/file-000.parquet").read_bytes())).to_pydict()
    assert table["predicted"] == ([0] * CONTEXT + [1] * FRAMES) * 4
    assert table["action"][:LENGTH] == robot_rows().to_pydict()["action"][:LENGTH]


def test_a_video_that_was_cut_is_named_with_what_helps(
    robot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = write_batch(tmp_path / "futures", robot)
    video = next(out.glob("items/*/*.mp4"))
    whole = video.read_bytes()
    video.write_bytes(whole[:500])
    told = refused(capsys, out, tmp_path / "set")
    assert f"{video} is damaged" in told
    assert "run the batch once more, and it is made again" in told
    video.write_bytes(whole)
    tokens = next(out.glob("items/*/*.npz"))
    tokens.write_bytes(tokens.read_bytes()[:60])
    told = refused(capsys, out, tmp_path / "set")
    assert f"{tokens} is damaged" in told
    assert "run the batch once more, and it is made again" in told
