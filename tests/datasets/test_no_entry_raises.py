"""Every ``next()`` of a dataset yields an episode or a skipped entry with its reason, whatever the entry is."""

import json
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_files import encode, moving
from lerobot_sets import write_info, write_rows, write_v2

from vidjacobi.datasets import Entry, Episode, Skipped, counted, open_dataset
from vidjacobi.datasets.contract import to_the_end
from vidjacobi.errors import BadInput

DEEP = "[" * 100_000
LONG = "x" * 5000
PATHS = [
    "a\0b",
    "\ud800x",
    LONG,
    f"{LONG}/{LONG}",
    "../" * 40 + "etc/passwd",
    "/etc/passwd",
    "",
    None,
    7,
    [1],
    {"a": 1},
]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", moving(3, 16, 16), rate=10)


def is_usable(entry: Entry) -> bool:
    return isinstance(counted(entry), Episode)


def all_but_one_skipped(entries: Iterator[Entry], usable: int = 1) -> list[str]:
    """The reasons of all entries but the one that is usable; the iterator comes to its end."""
    found = [counted(entry) for entry in entries]
    reasons = [entry.reason for entry in found if isinstance(entry, Skipped)]
    assert len(found) - len(reasons) == usable, found
    assert all(reasons)
    return reasons


def lerobot(root: Path, clip: Path, **changes: object) -> Path:
    """A v2.1 set with one good episode, 5, of three frames."""
    write_info(root, "v2.1", "video", chunks_size=1000, **changes)
    for camera in ("observation.images.top", "observation.images.wrist"):
        video = root / "videos" / "chunk-000" / camera / "episode_000005.mp4"
        video.parent.mkdir(parents=True)
        video.write_bytes(clip.read_bytes())
    write_rows(root / "data" / "chunk-000" / "episode_000005.parquet", {5: [0, 0.1, 0.2]})
    (root / "meta" / "episodes.jsonl").write_text(LINE + "\n")
    return root


LINE = json.dumps({"episode_index": 5, "tasks": ["go"], "length": 3})
NUMBERS = ["null", '"1"', '"../../x"', "true", "-1", "1.5", "1e400", "[0]", "{}", "9" * 5000, "9" * 30]


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
def test_lerobot_episode_numbers(tmp_path: Path, clip: Path, number: str) -> None:
    root = lerobot(tmp_path, clip)
    line = f'{{"episode_index": {number}, "tasks": [], "length": 3}}'
    (root / "meta" / "episodes.jsonl").write_text(f"{line}\n{LINE}\n")
    assert len(all_but_one_skipped(open_dataset(root, camera="top"))) == 1


LINES = [
    DEEP,
    '{"episode_index": 6, "x": ' + DEEP,
    "null",
    "7",
    '"text"',
    "{}",
    '{"episode_index": 6, "length": null}',
    '{"episode_index": 6, "length": "3"}',
    '{"episode_index": 6, "length": 3, "tasks": 7}',
    '{"episode_index": 6, "length": 3, "tasks": [null]}',
    '{"episode_index": 6, "length": 3, "tasks": [[[]]]}',
    '{"episode_index": 6, "length": 1e300}',
]


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_lerobot_lines(tmp_path: Path, clip: Path, line: str) -> None:
    root = lerobot(tmp_path, clip)
    (root / "meta" / "episodes.jsonl").write_text(f"{line}\n{LINE}\n")
    assert len(all_but_one_skipped(open_dataset(root, camera="top"))) == 1


@pytest.mark.parametrize("tasks", [DEEP, "[1]", "{}", '{"task_index": "a", "task": "b"}', "\0", "parquet"])
def test_lerobot_tasks_files(tmp_path: Path, clip: Path, tasks: str) -> None:
    root = lerobot(tmp_path, clip)
    name = "tasks.parquet" if tasks == "parquet" else "tasks.jsonl"
    (root / "meta" / name).write_text("PAR1 no" if tasks == "parquet" else tasks)
    numbered = json.dumps({"episode_index": 6, "tasks": [0], "length": 3})
    for kind in (
        "videos/chunk-000/observation.images.top/episode_00000{}.mp4",
        "data/chunk-000/episode_00000{}.parquet",
    ):
        (root / kind.format(6)).write_bytes((root / kind.format(5)).read_bytes())
    (root / "meta" / "episodes.jsonl").write_text(f"{numbered}\n{LINE}\n")
    (reason,) = all_but_one_skipped(open_dataset(root, camera="top"))
    assert "the texts of the tasks cannot be read" in reason


TEMPLATES = [
    "videos/{episode_index:9999999999d}.mp4",
    "videos/{video_key:>9999999999}.mp4",
    "videos/{video_key.__class__}/{episode_index}.mp4",
    "videos/{video_key[0]}/{episode_index}.mp4",
    "videos/{0}.mp4",
    "videos/{other}.mp4",
    "videos/{episode_index!r:>99999999}.mp4",
    "videos/{episode_index",
]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("key", ["video_path", "data_path"])
def test_lerobot_templates_are_refused_at_once(tmp_path: Path, clip: Path, template: str, key: str) -> None:
    with pytest.raises(BadInput, match=r"not LeRobot's info\.json"):
        open_dataset(lerobot(tmp_path, clip, **{key: template}), camera="top")


@pytest.mark.parametrize(
    "path", ["/etc/{episode_index}", "../observation.images.top", "a/../../b", "\0", LONG, "x" * 300]
)
@pytest.mark.parametrize("key", ["video_path", "data_path"])
def test_lerobot_paths_stay_in_the_dataset(tmp_path: Path, clip: Path, path: str, key: str) -> None:
    (tmp_path / "observation.images.top").write_bytes(clip.read_bytes())
    root = lerobot(tmp_path / "set", clip, **{key: path})
    (reason,) = all_but_one_skipped(open_dataset(root, camera="top"), usable=0)
    assert "too long" in reason or "leads out of the dataset" in reason or "is no path" in reason


def test_a_camera_s_key_does_not_lead_out_of_the_dataset(tmp_path: Path, clip: Path) -> None:
    outside = tmp_path / "secret" / "episode_000005.mp4"
    outside.parent.mkdir()
    outside.write_bytes(clip.read_bytes())
    root = lerobot(tmp_path / "set", clip, features={"../../../secret": {"dtype": "video"}})
    assert (root / "videos" / "chunk-000" / "../../../secret/episode_000005.mp4").is_file()
    (reason,) = all_but_one_skipped(open_dataset(root), usable=0)
    assert "leads out of the dataset" in reason


@pytest.mark.parametrize("value", ["../../x", None, -1, 2**62, 1.5])
@pytest.mark.parametrize(
    "column", ["data/chunk_index", "videos/observation.images.top/file_index", "episode_index"]
)
def test_lerobot_v3_indices(tmp_path: Path, value: object, column: str) -> None:
    write_info(tmp_path, "v3.0", "video")
    place = {f"videos/observation.images.top/{key}": 0 for key in ("chunk_index", "file_index")}
    row = {
        "episode_index": 0,
        "tasks": ["go"],
        "length": 3,
        "data/chunk_index": 0,
        "data/file_index": 0,
        **place,
    }
    row |= {"videos/observation.images.top/from_timestamp": 0.0, column: value}
    (tmp_path / "meta" / "episodes").mkdir()
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "meta" / "episodes" / "a.parquet")
    (reason,) = all_but_one_skipped(open_dataset(tmp_path, camera="top"), usable=0)
    assert "must be a whole number from 0 on" in reason


def test_a_cache_of_links_is_read(tmp_path: Path) -> None:
    """As hubs keep datasets: every file of a snapshot is a link to a blob outside it."""
    root = write_v2(tmp_path / "snapshots" / "abc")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in root.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    assert all(is_usable(entry) for entry in open_dataset(root, camera="top"))


def bridge(root: Path, clip: Path, note: object) -> Path:
    video = root / "videos" / "train" / "1" / "rgb.mp4"
    for path in (video, root / "annotation" / "train" / "1.json"):
        path.parent.mkdir(parents=True)
    video.write_bytes(clip.read_bytes())
    good = {"videos": [{"video_path": "videos/train/1/rgb.mp4"}]}
    (root / "annotation" / "train" / "1.json").write_text(json.dumps(good))
    text = note if isinstance(note, str) else json.dumps(note)
    (root / "annotation" / "train" / "2.json").write_text(text)
    return root


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_bridge_paths(tmp_path: Path, clip: Path, path: object) -> None:
    root = bridge(tmp_path, clip, {"videos": [{"video_path": path}]})
    assert len(all_but_one_skipped(open_dataset(root))) == 1


def test_bridge_paths_stay_in_the_dataset(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(clip.read_bytes())
    for number, path in enumerate(("../secret.mp4", str(tmp_path / "secret.mp4"), "videos/../../secret.mp4")):
        root = bridge(tmp_path / str(number) / "set", clip, {"videos": [{"video_path": path}]})
        (tmp_path / str(number) / "secret.mp4").write_bytes(clip.read_bytes())
        (reason,) = all_but_one_skipped(open_dataset(root))
        assert "leads out of the dataset" in reason


@pytest.mark.parametrize(
    "note", [DEEP, "null", "[]", "7", '{"videos": null}', '{"videos": [7]}', '{"videos": []}', "\xff"]
)
def test_bridge_annotations(tmp_path: Path, clip: Path, note: str) -> None:
    assert len(all_but_one_skipped(open_dataset(bridge(tmp_path, clip, note)))) == 1


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_lines_of_a_batch_list(tmp_path: Path, clip: Path, path: object) -> None:
    line = json.dumps({"visual_input": path, "id": path})
    (tmp_path / "list.jsonl").write_text(f"{line}\n{json.dumps({'visual_input': str(clip)})}\n{DEEP}\n")
    assert len(all_but_one_skipped(open_dataset(tmp_path / "list.jsonl"))) == 2


@pytest.mark.parametrize("name", PATHS[:6], ids=range(6))
def test_pixelsplat_index(tmp_path: Path, name: str) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "0.torch").write_bytes(b"no")
    (tmp_path / "test" / "index.json").write_text(json.dumps({"key": name, "a": "0.torch"}))
    assert len(all_but_one_skipped(open_dataset(tmp_path), usable=0)) == 2
    (tmp_path / "test" / "index.json").write_text(DEEP)
    with pytest.raises(BadInput, match="nested too deep"):
        open_dataset(tmp_path)


def test_damaged_shards(tmp_path: Path, clip: Path) -> None:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"x": "y" * 600}) as tar:
        tar.add(clip, "a.mp4")
        tar.add(clip, "b.mp4")
    whole = file.getvalue()
    (tmp_path / "a.tar").write_bytes(whole)
    for place in range(0, 2600, 37):
        damaged = bytearray(whole)
        damaged[place : place + 12] = b"\xff\x80\0 9z\xfe\xff\xff\x01\x80\x80"
        (tmp_path / "b.tar").write_bytes(damaged)
        entries = list(open_dataset(tmp_path, "webdataset"))
        assert [entry.id for entry in entries[:2]] == ["a/a", "a/b"]


def test_a_listing_that_breaks_off_says_so() -> None:
    def entries(error: Exception) -> Iterator[Entry]:
        yield Skipped("a", "no")
        raise error

    made: list[Callable[[], Exception]] = [
        lambda: OSError(5, "I/O error"),
        RecursionError,
        lambda: KeyError("x"),
    ]
    for make in made:
        first, rest = to_the_end(entries(make()), Path("/set"))
        assert first.id == "a"
        assert isinstance(rest, Skipped)
        assert "/set: its listing broke off here" in rest.reason


@pytest.mark.parametrize(
    "info", [DEEP, "null", "[]", '{"codebase_version": "v2.1", "features": []}', '{"codebase_version": []}']
)
def test_info_json_that_is_none(tmp_path: Path, clip: Path, info: str) -> None:
    (lerobot(tmp_path, clip) / "meta" / "info.json").write_text(info)
    with pytest.raises(BadInput, match=r"not LeRobot's info\.json|version .* is not read"):
        open_dataset(tmp_path, "lerobot")


def test_names_that_are_too_long(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too long"):
        open_dataset(tmp_path / LONG)
