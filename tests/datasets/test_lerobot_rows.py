"""LeRobot's rows say which frames of a video are an episode's; what does not fit together is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_files import encode, moving, psnr
from lerobot_sets import (
    CAMERAS,
    FPS,
    LENGTHS,
    frames_of,
    png,
    write_info,
    write_pictures,
    write_rows,
    write_v2,
    write_v3,
)

from vidjacobi.datasets import Entry, Episode, Skipped, counted, open_dataset
from vidjacobi.errors import BadInput, InvalidArgument


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders v2, v3 and "v3 images"."""
    top = tmp_path_factory.mktemp("lerobot")
    write_v2(top / "v2")
    write_v3(top / "v3")
    write_v3(top / "v3 images", "image")
    return top


@pytest.fixture
def v2(written: Path, tmp_path: Path) -> Path:
    """A set that may be changed."""
    return shutil.copytree(written / "v2", tmp_path / "v2")


@pytest.fixture
def v3(written: Path, tmp_path: Path) -> Path:
    """A set that may be changed."""
    return shutil.copytree(written / "v3", tmp_path / "v3")


def top(root: Path) -> list[Entry]:
    return list(open_dataset(root, camera="top"))


def usable(entry: Entry) -> Episode:
    assert isinstance(entry, Episode), entry
    return entry


def reason(entry: Entry) -> str:
    found = counted(entry)
    assert isinstance(found, Skipped), entry
    return found.reason


def data_of(root: Path, episode: int) -> Path:
    return sorted((root / "data").rglob("*.parquet"))[episode]


def set_length(root: Path, episode: int, length: int) -> None:
    listed = root / "meta" / "episodes.jsonl"
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    lines[episode]["length"] = length
    listed.write_text("\n".join(map(json.dumps, lines)))


def test_a_trimmed_episode_begins_where_its_rows_do(v2: Path) -> None:
    write_rows(data_of(v2, 0), {0: [(4 + i) / FPS for i in range(8)]})
    set_length(v2, 0, 8)
    episode = usable(top(v2)[0])
    assert episode.frames.count() == 8
    assert psnr(episode.frames.read(0, 8).frames.numpy(), frames_of(0, 0)[4:]) > 38


def test_a_trimmed_episode_of_a_shared_video(v3: Path) -> None:
    stamps = {e: [i / FPS for i in range(n)] for e, n in enumerate(LENGTHS)}
    stamps[1] = [(3 + i) / FPS for i in range(6)]
    write_rows(data_of(v3, 0), stamps)
    table = next((v3 / "meta" / "episodes").rglob("*.parquet"))
    rows = pq.read_table(table).to_pylist()
    rows[1]["length"] = 6
    pq.write_table(pa.Table.from_pylist(rows), table)
    episode = usable(top(v3)[1])
    assert psnr(episode.frames.read(0, 6).frames.numpy(), frames_of(1, 0)[3:]) > 38


def test_rows_at_a_third_of_the_video_s_rate(v2: Path) -> None:
    video = next(path for path in (v2 / "videos").rglob("episode_000000.mp4") if CAMERAS[0] in str(path))
    whole = moving(36, 48, 64)
    encode(video, whole, rate=3 * FPS, crf="8")
    episode = usable(top(v2)[0])
    clip = episode.frames.read(1, 5, stride=2)
    assert (episode.frames.count(), clip.fps, clip.start) == (12, FPS / 2, 1)
    assert psnr(clip.frames.numpy(), whole[3:30:6]) > 38


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        ([i / 5 for i in range(12)], "its rows are not 0.1 s apart, as 10 fps in meta/info.json say"),
        ([i / FPS for i in range(13) if i != 5], "its rows are not 0.1 s apart"),
        ([i / FPS + 0.05 for i in range(12)], "its rows lie between the frames of the video"),
        ([i / FPS for i in range(11)], "11 rows, but meta/ says 12"),
        ([float("nan")] * 12, "its time stamps are no seconds from 0 on"),
        ([1.7e9 + i / FPS for i in range(12)], "its time stamps are no seconds from 0 on"),
    ],
)
def test_rows_that_do_not_fit_the_video_are_refused(v2: Path, stamps: list[float], message: str) -> None:
    write_rows(data_of(v2, 0), {0: stamps})
    assert message in reason(top(v2)[0])
    assert usable(top(v2)[1]).frames.count() == LENGTHS[1]


def test_rows_that_are_a_little_off_are_noted(v2: Path) -> None:
    write_rows(data_of(v2, 0), {0: [i / FPS + 0.03 for i in range(12)]})
    clip = usable(top(v2)[0]).frames.read(0, 12)
    assert psnr(clip.frames.numpy(), frames_of(0, 0)) > 38
    assert clip.notes == ("its rows are up to 0.30 of a frame away from the frames of the video",)


def test_rows_never_go_on_into_the_next_episode(v3: Path) -> None:
    table = next((v3 / "meta" / "episodes").rglob("*.parquet"))
    rows = pq.read_table(table).to_pylist()
    rows[0][f"videos/{CAMERAS[0]}/to_timestamp"] = 11 / FPS
    pq.write_table(pa.Table.from_pylist(rows), table)
    assert "its rows go on to second 1.100, but meta/episodes ends it at second 1.100" in reason(top(v3)[0])


def test_an_episode_that_is_listed_twice_is_there_once(v2: Path) -> None:
    listed = v2 / "meta" / "episodes.jsonl"
    lines = listed.read_text().splitlines()
    first = json.dumps({"episode_index": 1, "tasks": ["abandoned"], "length": 3})
    listed.write_text("\n".join([lines[2], lines[0], first, lines[1]]))
    found = [usable(entry) for entry in top(v2)]
    assert [entry.id for entry in found] == [f"episode_00000{i}" for i in range(3)]
    assert found[1].metadata["text"] == "place the cup"
    assert found[1].frames.count() == LENGTHS[1]


def test_pictures_beside_the_data_file(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_info(root, "v2.1", "image")
    path = root / "data" / "chunk-000" / "episode_000000.parquet"
    write_pictures(path, [0])
    rows = pq.read_table(path).to_pylist()
    for i, row in enumerate(rows):
        picture = root / "images" / f"frame_{i}.png"
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(row[CAMERAS[0]]["bytes"])
        named = (
            str(picture) if i == 1 else f"images/frame_{i}.png"
        )  # LeRobot writes whole paths while it records
        row[CAMERAS[0]] = {"bytes": None, "path": named}
    (tmp_path / "secret.png").write_bytes(png(np.zeros((48, 64, 3), np.uint8)))
    rows[3][CAMERAS[0]]["path"] = "../secret.png"
    rows[4][CAMERAS[0]]["path"] = str(tmp_path / "secret.png")
    pq.write_table(pa.Table.from_pylist(rows), path)
    (root / "meta" / "episodes.jsonl").write_text('{"episode_index": 0, "tasks": [], "length": 12}')
    frames = usable(top(root)[0]).frames
    np.testing.assert_array_equal(frames.read(0, 3).frames.numpy(), frames_of(0, 0)[:3])
    np.testing.assert_array_equal(frames.read(5, 7).frames.numpy(), frames_of(0, 0)[5:])
    for number in (3, 4):
        with pytest.raises(BadInput, match=f"frame {number}: the path .*secret.* leads out of the dataset"):
            frames.read(number, 1)
    (root / "images" / "frame_0.png").unlink()
    with pytest.raises(BadInput, match="neither in the data file nor beside it"):
        frames.read(0, 1)


def test_pictures_of_a_data_file_that_holds_other_episodes(written: Path, tmp_path: Path) -> None:
    root = shutil.copytree(written / "v3 images", tmp_path / "set")
    write_pictures(root / "data" / "chunk-000" / "file-000.parquet", [0, 2])
    assert "file-000.parquet, episode 1: 0 rows, but meta/ says 9" in reason(top(root)[1])
    assert usable(top(root)[2]).frames.count() == LENGTHS[2]


def test_a_depth_map_is_no_camera(v2: Path) -> None:
    path = v2 / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"][CAMERAS[1]]["info"] = {"video.is_depth_map": True}
    path.write_text(json.dumps(info))
    assert usable(next(open_dataset(v2))).metadata["camera"] == CAMERAS[0]
    with pytest.raises(InvalidArgument, match=r"no camera 'wrist' \(it is a depth map\)"):
        open_dataset(v2, camera="wrist")


def test_a_conversion_that_broke_off(v2: Path) -> None:
    write_info(v2, "v3.0", "video")
    with pytest.raises(BadInput, match=r"its files are those of v2.1, so its conversion to v3.0 broke off"):
        open_dataset(v2, camera="top")
