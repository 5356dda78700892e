"""The actions that datasets have: LeRobot's column, Bridge's annotations, JSON lines beside a video."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_files import encode, moving
from lerobot_sets import CAMERAS, write_v3
from robot_sets import FPS, LENGTHS, write_robot_set

from vidjacobi.datasets import Episode, left_out, open_dataset
from vidjacobi.datasets.recorded_actions import RecordedActions
from vidjacobi.errors import BadInput

DATA = "data/chunk-000/file-000.parquet"


def episodes(root: Path, **options: object) -> list[Episode]:
    return [entry for entry in open_dataset(root, **options) if isinstance(entry, Episode)]  # type: ignore[arg-type]


def actions(episode: Episode) -> RecordedActions:
    assert episode.actions is not None
    return episode.actions.read()


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its action is [frame / 3, -episode]."""
    return write_robot_set(tmp_path_factory.mktemp("robot") / "set", codec="png")


def test_lerobot(robot: Path) -> None:
    for number, episode in enumerate(episodes(robot)):
        found = actions(episode)
        assert (found.fps, found.first, found.step, len(found.rows)) == (FPS, 0, 1, LENGTHS[number])
        assert np.allclose(found.rows, [[frame / 3, -number] for frame in range(LENGTHS[number])])


def test_parts_of_an_episode(robot: Path, tmp_path: Path) -> None:
    """A clip list and a stride cut the actions where they cut the frames."""
    chosen = tmp_path / "clips.txt"
    chosen.write_text("episode_000001 6 2\nepisode_000001 9\nepisode_000000\n")
    first, second, third = episodes(robot, clips=chosen, stride=3)
    assert [
        (found.first, found.step, found.frames_per_second) for found in map(actions, (first, second, third))
    ] == [
        (6, 2, 5),
        (9, 3, FPS / 3),
        (0, 3, FPS / 3),
    ]
    names = {episode.actions.recording for episode in (first, second, third) if episode.actions}
    assert len(names) == 2


def rewritten(robot: Path, made: Path, change: object) -> Path:
    """The set with a data file that ``change`` makes of its table."""
    write_robot_set(made, codec="png")
    pq.write_table(change(pq.read_table(made / DATA)), made / DATA)  # type: ignore[operator]
    return made


def test_what_lerobot_lacks_is_said(robot: Path, tmp_path: Path) -> None:
    no_column = rewritten(robot, tmp_path / "a", lambda table: table.drop_columns(["action"]))
    with pytest.raises(BadInput, match=r"has no column 'action', which meta/info.json lists\. It has: obs"):
        actions(episodes(no_column)[0])

    def slower(table: pa.Table) -> pa.Table:
        times = pa.array([2 * time for time in table["timestamp"].to_pylist()], pa.float32())
        return table.set_column(table.column_names.index("timestamp"), "timestamp", times)

    with pytest.raises(BadInput, match=r"its rows are not 0.1 s apart, as 10 fps in meta/info.json say"):
        actions(episodes(rewritten(robot, tmp_path / "b", slower))[0])
    cut = rewritten(robot, tmp_path / "c", lambda table: table.slice(1))
    with pytest.raises(BadInput, match="11 rows, but meta/ says 12"):
        actions(episodes(cut)[0])
    info = json.loads((robot / "meta/info.json").read_text())
    del info["features"]["action"]
    (tmp_path / "c/meta/info.json").write_text(json.dumps(info))
    assert [episode.actions for episode in episodes(tmp_path / "c")] == [None, None]


def test_lerobot_with_videos(tmp_path: Path) -> None:
    """lerobot_sets lists an action and writes none."""
    with pytest.raises(BadInput, match="no column 'action'"):
        actions(episodes(write_v3(tmp_path / "set"), camera=CAMERAS[0])[0])


def test_bridge(tmp_path: Path) -> None:
    note = {
        "videos": [{"video_path": "videos/train/1/rgb.mp4"}],
        "action": [[row / 9] * 7 for row in range(4)],
    }
    for folder in ("annotation/train", "videos/train/1"):
        (tmp_path / folder).mkdir(parents=True)
    encode(tmp_path / "videos/train/1/rgb.mp4", moving(5, 16, 24), rate=3)
    place = tmp_path / "annotation/train/1.json"
    place.write_text(json.dumps(note))
    found = actions(episodes(tmp_path)[0])
    assert (found.rows, found.fps, found.by_number) == (note["action"], None, True)
    found.check_frames(5, "1")
    episode = episodes(tmp_path)[0]
    place.write_text(json.dumps({**note, "action": "none"}))
    with pytest.raises(BadInput, match="no actions can be read: action is a str"):
        actions(episode)
    place.write_text(json.dumps({"videos": note["videos"]}))
    assert episodes(tmp_path)[0].actions is None


def test_json_lines_beside_a_video(tmp_path: Path) -> None:
    for name in "ab":
        encode(tmp_path / f"{name}.mp4", moving(4, 16, 24), rate=20)
    rows = [{"forward": row % 2, "camera": [0.0, float(row)]} for row in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "notes.jsonl").write_text("{}\n")
    first, second = episodes(tmp_path)
    assert second.actions is None
    assert actions(first).rows == rows
    assert actions(first).by_number
    said = left_out(tmp_path)
    assert said is not None
    assert "notes.jsonl" in said
    assert "a.jsonl" not in said
    (tmp_path / "list.jsonl").write_text(
        "\n".join(
            json.dumps(line)
            for line in (
                {"visual_input": "b.mp4", "actions": "a.jsonl"},
                {"visual_input": "b.mp4", "id": "none"},
                {"visual_input": "b.mp4", "id": "words", "actions": "walks"},
            )
        )
    )
    listed = episodes(tmp_path / "list.jsonl")
    assert actions(listed[0]).rows == rows
    assert [episode.actions for episode in listed[1:]] == [None, None]
    (tmp_path / "a.jsonl").write_text('{"forward": 1}\nno json\n')
    with pytest.raises(BadInput, match=r"a\.jsonl, line 2: not valid JSON"):
        actions(first)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(BadInput, match=r"a\.jsonl: cannot be read"):
        actions(first)
