"""Lists, poses and LeRobot metadata that nobody meant: refused, or entries with reasons; no listing raises."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clip_files import encode, moving
from fuzzing import changed, dumped, each, edited, odd_texts, odd_values, refused
from hypothesis import strategies as st
from lerobot_sets import write_v2, write_v3

from vidjacobi.datasets import Episode, Skipped, open_dataset
from vidjacobi.datasets.cameras import read_cameras
from vidjacobi.datasets.clip_list import read_clip_list
from vidjacobi.errors import VidjacobiError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.unchecked,
]  # where a type checker would refuse what a user may pass
POSES = "https://a.video/watch?v=x\n" + "\n".join(
    f"{40_000 * frame} .9 1.6 .5 .5 0 0 1 0 0 0 0 1 0 0 0 0 1 {frame}" for frame in range(3)
)


def listed(path: Path, **options: Any) -> None:
    """Refused at once, or listed to the end; every entry says what it is, and its frames can be counted or not."""
    try:
        entries = open_dataset(path, **options)
    except VidjacobiError:
        return
    ids = set()
    for entry in entries:
        assert isinstance(entry, Episode | Skipped)
        assert entry.id not in ids
        ids.add(entry.id)
        if isinstance(entry, Skipped):
            assert entry.reason.strip()
        else:
            refused(entry.frames.count)


def test_batch_lists(tmp_path: Path) -> None:
    encode(tmp_path / "clip.mp4", moving(4, 32, 32))
    path = tmp_path / "list.jsonl"
    good = {"visual_input": "clip.mp4", "prompt": "a room", "id": "one"}
    line = changed(good).map(dumped) | edited(dumped(good)) | odd_texts

    def check(lines: list[str]) -> None:
        path.write_text("\n".join([dumped(good), *lines]), encoding="utf-8", errors="surrogatepass")
        listed(path, layout="jsonl")

    each(st.lists(line, min_size=1, max_size=4), 250, check)


@pytest.mark.parametrize("name", ["ids.txt", "ids.json"])
def test_clip_lists(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    good = "id start stride\na 0 2\nb 5\n# none\nc" if name.endswith("txt") else '["a", "b"]'

    def check(text: str) -> None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        refused(lambda: read_clip_list(path))

    each(edited(good) | changed({"a": 1, "b": None}).map(dumped), 120, check)


def test_pose_files(tmp_path: Path) -> None:
    path = tmp_path / "poses.txt"

    def check(text: str) -> None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        refused(lambda: read_cameras(path))

    read_cameras_works(path)
    each(edited(POSES), 150, check)


def read_cameras_works(path: Path) -> None:
    path.write_text(POSES)
    assert len(read_cameras(path)) == 3


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sound datasets; their metadata is replaced in every test."""
    folder = tmp_path_factory.mktemp("sets")
    return {"v2": write_v2(folder / "v2"), "v3": write_v3(folder / "v3")}


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_lerobot_info(sets: dict[str, Path], version: str) -> None:
    path = sets[version] / "meta" / "info.json"
    text = path.read_text()

    def check(changed_text: str) -> None:
        path.write_text(changed_text, encoding="utf-8", errors="surrogatepass")
        for camera in ("top", None):
            listed(sets[version], layout="lerobot", camera=camera)

    try:
        each(
            changed(json.loads(text)).map(dumped) | edited(json.dumps(json.loads(text), indent=1)), 120, check
        )
    finally:
        path.write_text(text)


def test_lerobot_episodes(sets: dict[str, Path]) -> None:
    path = sets["v2"] / "meta" / "episodes.jsonl"
    text = path.read_text()
    good = json.loads(text.splitlines()[0])

    def check(lines: list[str]) -> None:
        path.write_text("\n".join([*lines, text]), encoding="utf-8", errors="surrogatepass")
        listed(sets["v2"], layout="lerobot", camera="top")

    try:
        each(st.lists(changed(good).map(dumped) | odd_texts, min_size=1, max_size=2), 120, check)
    finally:
        path.write_text(text)


def test_lerobot_tables(sets: dict[str, Path]) -> None:
    """The columns of v3.0 with other types, with nulls and without some of them."""
    path = sets["v3"] / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    good: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    rows = len(good["length"])
    kinds: list[list[Any]] = [
        *(
            [value] * rows
            for value in (None, True, 0, -1, 2**62, 1.5, float("nan"), float("inf"), "", "x", "\x00")
        ),
        *([value] * rows for value in (b"\xff", [], [1], ["a"], {"a": 1}, "../../..", "/etc")),
    ]
    columns = st.dictionaries(
        st.sampled_from(sorted(good)), st.none() | st.sampled_from(kinds), min_size=1, max_size=3
    )

    def check(odd: dict[str, list[Any] | None]) -> None:
        table = {key: values for key, values in {**good, **odd}.items() if values is not None}
        pq.write_table(pa.table(table), path)
        listed(sets["v3"], layout="lerobot", camera="top")

    each(columns, 120, check)


def test_options(sets: dict[str, Path]) -> None:
    """What a user may pass to ``open_dataset``."""
    names = st.sampled_from(["path", "layout", "clips", "start", "stride", "camera", "split", "base", "none"])

    def check(options: dict[str, Any]) -> None:
        refused(
            lambda: list(
                open_dataset(**{"path": sets["v2"], "layout": "lerobot", "camera": "top", **options})
            )
        )

    each(st.dictionaries(names, odd_values, min_size=1, max_size=2), 300, check)
