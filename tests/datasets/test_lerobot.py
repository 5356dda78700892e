"""LeRobot v2 and v3: every episode has its own frames of the chosen camera, from videos and parquet files."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="LeRobot datasets need pyarrow (the batch extra)")

import pyarrow as pa
import pyarrow.parquet as pq
from clip_files import decode_all, encode, moving, psnr
from lerobot_sets import CAMERAS, LENGTHS, TASKS, frames_of, write_info, write_v2, write_v3

from vidjacobi.datasets import Entry, Episode, Skipped, counted, detect, open_dataset
from vidjacobi.datasets.lerobot_meta import read_tasks
from vidjacobi.errors import BadInput, InvalidArgument

SETS: dict[str, Callable[[Path], Path]] = {
    "v2.0": lambda root: write_v2(root, version="v2.0"),
    "v2.1": write_v2,
    "v3.0": write_v3,
    "v2.1 images": lambda root: write_v2(root, "image"),
    "v3.0 images": lambda root: write_v3(root, "image"),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("lerobot")
    return {name: write(top / name) for name, write in SETS.items()}


def usable(entry: Entry) -> Episode:
    assert isinstance(entry, Episode), entry
    return entry


def reason(entry: Entry) -> str:
    assert isinstance(entry, Skipped), entry
    return entry.reason


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("camera", [0, 1])
def test_every_episode_has_its_own_frames(sets: dict[str, Path], name: str, camera: int) -> None:
    assert detect(sets[name]) == "lerobot"
    found = [usable(entry) for entry in open_dataset(sets[name], camera=CAMERAS[camera].rsplit(".")[-1])]
    assert [e.id for e in found] == ["episode_000000", "episode_000001", "episode_000002"]
    for number, listed in enumerate(found):
        episode = pickle.loads(pickle.dumps(listed))
        assert (episode.fps, episode.frames.count()) == (10.0, LENGTHS[number])
        assert episode.metadata["text"] == TASKS[number]
        assert episode.metadata["camera"] == CAMERAS[camera]
        clip = episode.frames.read(1, 4, stride=2)
        expected = frames_of(number, camera)
        assert psnr(clip.frames.numpy(), expected[1:8:2]) > 38
        # so the bound above tells neighbouring frames apart
        assert psnr(clip.frames.numpy(), expected[2:9:2]) < 38
        assert (clip.start, clip.fps) == (1, 5.0)
        last = episode.frames.read(LENGTHS[number] - 1, 1)
        assert psnr(last.frames.numpy(), expected[-1:]) > 38
        with pytest.raises(BadInput, match=f"has {LENGTHS[number]}"):
            episode.frames.read(LENGTHS[number] - 2, 3)
        with pytest.raises(BadInput):
            episode.frames.read(-1, 1)


def test_a_set_written_by_lerobot(shared: Path) -> None:
    root = shared / "data" / "lerobot_v3_bridge_tiny"
    found = [usable(entry) for entry in open_dataset(root)]
    assert [episode.frames.count() for episode in found] == [24, 30, 24, 24]
    assert found[0].metadata["text"] == "turn faucet right 55"
    whole = decode_all(root / "videos" / "observation.images.image_0" / "chunk-000" / "file-000.mp4")
    data = pq.read_table(root / "data").to_pydict()
    for episode in found:
        rows = [i for i, number in enumerate(data["episode_index"]) if number == episode.metadata["episode"]]
        frames = episode.frames.read(0, len(rows)).frames.numpy()
        np.testing.assert_array_equal(frames, whole[rows])
    small = whole[:, ::8, ::8].astype(int)
    cuts = np.abs(small[1:] - small[:-1]).mean((1, 2, 3))
    # the scene changes where one episode ends and the next begins
    assert sorted(np.argsort(cuts)[-3:] + 1) == [24, 54, 78]


def test_splits_and_cameras(sets: dict[str, Path]) -> None:
    root = sets["v2.1"]
    assert [entry.id for entry in open_dataset(root, camera="top", split="test")] == ["episode_000002"]
    with pytest.raises(InvalidArgument, match=r"no split 'val' \(it has test, train\)"):
        open_dataset(root, camera="top", split="val")
    both = r"observation.images.top, observation.images.wrist"
    with pytest.raises(InvalidArgument, match=f"several cameras, choose one with camera=: {both}"):
        open_dataset(root)
    with pytest.raises(InvalidArgument, match=rf"no camera 'observation.images.tip' \(did you mean .*{both}"):
        open_dataset(root, camera="observation.images.tip")


def test_episodes_with_trouble_are_listed_and_the_others_work(sets: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets["v2.1"], root)
    videos = [path for path in sorted((root / "videos").rglob("*.mp4")) if CAMERAS[0] in str(path)]
    videos[0].unlink()
    videos[1].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    entries = list(open_dataset(root, camera="top"))
    assert reason(entries[0]).endswith("episode_000000.mp4: no such file")
    assert "git-lfs pointer" in reason(entries[1])
    assert usable(entries[2]).frames.count() == 15
    encode(videos[0], moving(12, 48, 64), rate=30)
    encode(videos[1], moving(4, 48, 64), rate=10)
    entries = list(open_dataset(root, camera="top"))
    assert "rows go on to frame 33, but the video ends with frame 11" in reason(counted(entries[0]))
    assert reason(counted(entries[1], 5)).endswith("4 frames, but 5 are needed")
    # in a video of its own, the frames before its end are surely the episode's
    assert usable(entries[1]).frames.read(0, 4).notes == (
        "the video lacks the last 5 of the episode's 9 frames",
    )
    episodes = root / "meta" / "episodes.jsonl"
    episodes.write_text('{"episode_index": 7}\nnot json\n[]\n' + episodes.read_text())
    entries = list(open_dataset(root, camera="top"))
    assert "cannot be used: it has not what is expected there (KeyError('length'))" in reason(entries[3])
    assert "episodes.jsonl, line 2: not valid JSON" in reason(entries[4])
    assert "line 3: no episode_index" in reason(entries[5])
    assert len({entry.id for entry in entries}) == 6


def test_a_shared_video_of_another_rate_or_cut_short(sets: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets["v3.0"], root)
    video = next((root / "videos" / CAMERAS[0]).rglob("*.mp4"))
    encode(video, moving(36, 48, 64), rate=25)
    between = "lie between the frames of the video .up to 0.50 of a frame away at 25 fps, and .* says 10"
    with pytest.raises(BadInput, match=between):
        usable(next(open_dataset(root, camera="top"))).frames.count()
    encode(video, moving(14, 48, 64), rate=10)
    first, second, third = (usable(entry) for entry in open_dataset(root, camera="top"))
    assert first.frames.count() == 12
    for episode in (second, third):
        with pytest.raises(BadInput, match="the video ends with frame 13: it was cut short, or meta/ places"):
            episode.frames.count()


def test_metadata_that_is_damaged(sets: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets["v3.0"], root)
    table = next((root / "meta" / "episodes").rglob("*.parquet"))
    second = table.with_name("file-001.parquet")
    second.write_bytes(b"PAR1 no")
    third = table.with_name("file-002.parquet")
    pq.write_table(pa.table({"episode_index": [7], "length": [3]}), third)
    entries = list(open_dataset(root, camera="top"))
    assert [type(entry) for entry in entries] == [Episode] * 3 + [Skipped] * 2
    assert "lacks the columns tasks, data/chunk_index" in reason(entries[4])
    for path in (table, second, third):
        path.unlink()
    with pytest.raises(BadInput, match="no parquet file below meta/episodes"):
        open_dataset(root, camera="top")
    for changes, message in (
        ({"codebase_version": "v1.6"}, "version v1.6 is not read .*convert it with lerobot"),
        ({"fps": 0}, "not LeRobot's info.json: .*fps 0"),
        ({"features": {"action": {"dtype": "float32"}}}, "has no camera"),
        ({"splits": {"train": "all"}}, "the split 'all' is no range like 0:50"),
    ):
        write_info(root, "v3.0", "video", **changes)
        with pytest.raises(BadInput, match=message):
            open_dataset(root, camera=None if "features" in changes else "top", split="train")
    (root / "meta" / "info.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BadInput, match=r"not a LeRobot dataset: .*git-lfs pointer"):
        open_dataset(root, "lerobot")


def test_pictures_that_are_damaged_or_elsewhere(sets: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets["v2.1 images"], root)
    path = root / "data" / "chunk-000" / "episode_000000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1][CAMERAS[0]] = {"bytes": b"no picture", "path": None}
    rows[2][CAMERAS[0]] = {"bytes": None, "path": "frame_2.png"}
    pq.write_table(pa.Table.from_pylist(rows), path)
    episode = usable(next(open_dataset(root, camera="top")))
    assert episode.frames.read(3, 2).frames.shape[0] == 2
    with pytest.raises(BadInput, match="frame 1: a damaged or unknown image"):
        episode.frames.read(0, 2)
    with pytest.raises(BadInput, match="neither in the data file nor beside it"):
        episode.frames.read(2, 1)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(BadInput, match="cannot be read"):
        episode.frames.count()


def test_tasks_by_number(sets: dict[str, Path], tmp_path: Path, shared: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets["v2.1"], root)
    episodes = root / "meta" / "episodes.jsonl"
    rows = [json.loads(line) for line in episodes.read_text().splitlines()]
    episodes.write_text("\n".join(json.dumps(row | {"tasks": [2 - row["episode_index"]]}) for row in rows))
    tasks = [{"task_index": i, "task": task} for i, task in enumerate(TASKS)]
    (root / "meta" / "tasks.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    found = [usable(entry) for entry in open_dataset(root, camera="top")]
    assert [episode.metadata["text"] for episode in found] == list(TASKS[::-1])
    written = read_tasks(shared / "data" / "lerobot_v3_bridge_tiny")
    assert written[3] == "pick up bowl and put in small4fbox"
    assert len(written) == 4
