"""What a folder or a shard holds beside its clips is counted and named; one list of endings holds for all."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from clip_files import encode, moving

from vidjacobi.datasets import Entry, Episode, Skipped, left_out, open_dataset
from vidjacobi.datasets.realestate10k import find_media
from vidjacobi.errors import BadInput
from vidjacobi.eval.folder_pair import clips_in, no_clips_in

ENDINGS = [
    ".MTS",
    ".m2ts",
    ".3gp",
    ".h264",
    ".264",
    ".f4v",
    ".qt",
    ".mxf",
    ".vob",
    ".MP4",
    ".ogv",
    ".hevc",
    ".gif",
]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", moving(3, 16, 16))


def texts(entries: list[Entry]) -> dict[str, object]:
    return {entry.id: entry.metadata.get("text") for entry in entries if isinstance(entry, Episode)}


def pack(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    source = path.with_name("member")
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            source.write_bytes(content)
            tar.add(source, name)
    source.unlink()
    return path


def test_every_reader_has_the_same_endings(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for ending in ENDINGS:
        shutil.copy(clip, folder / f"clip{ending[1:]}{ending}")
    names = {f"clip{ending[1:]}" for ending in ENDINGS}
    assert {entry.id for entry in open_dataset(folder)} == names
    assert {entry.id for entry in open_dataset(folder / "*")} == names
    assert set(clips_in(folder)) == names
    assert set(find_media(folder, names)) == names
    pack(tmp_path / "a.tar", {file.name: file.read_bytes() for file in folder.iterdir()})
    assert {entry.id for entry in open_dataset(tmp_path / "a.tar")} == {f"a/{name}" for name in names}
    assert left_out(folder) is None


def test_what_a_folder_leaves_out_is_counted_and_named(tmp_path: Path, clip: Path) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    for name in ("b.braw", "sub/c", "notes.txt", ".DS_Store", "sub/.git/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    said = f"left out of {tmp_path}: 3 other files or folders (b.braw, notes.txt, sub/c)"
    assert left_out(tmp_path) == said
    assert (
        left_out(tmp_path / "*") == f"left out of {tmp_path}/*: 2 other files or folders (b.braw, notes.txt)"
    )
    assert left_out(tmp_path / "a.mp4") is None
    assert no_clips_in(tmp_path) == ["b.braw", "notes.txt", "sub"]


def test_a_folder_that_cannot_be_listed_is_skipped(tmp_path: Path, clip: Path) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # paths end at 4096 bytes
        os.mkdir("x" * 250, dir_fd=here)
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    first, second = open_dataset(tmp_path)
    assert first.id == "a"
    assert isinstance(second, Skipped)
    assert second.reason.endswith("this folder cannot be listed: File name too long")


def test_texts_of_an_unsorted_shard_and_of_names_with_dots(tmp_path: Path, clip: Path) -> None:
    video = clip.read_bytes()
    videos = {f"take 0.{i}.mp4": video for i in range(3)} | {
        "7.mp4": video,
        "8.left.mp4": video,
        "8.right.mp4": video,
    }
    notes = {f"take 0.{i}.txt": f"text {i}".encode() for i in (2, 0, 1, 3)}
    notes |= {
        "8.txt": b"both",
        "8.left.json": b"\xef\xbb\xbf{}",
        "8.left.mp4.json": b'{"eye": 1}',
        "7.mp4.json": b'{"n": 7}',
        "7.txt": "seven".encode("utf-16"),
    }
    found = list(open_dataset(pack(tmp_path / "s.tar", videos | notes)))
    assert texts(found) == {
        **{f"s/take 0.{i}": f"text {i}" for i in range(3)},
        **{"s/7": "seven", "s/8.left": "both", "s/8.right": "both"},
    }
    facts = {entry.id: entry.metadata for entry in found if isinstance(entry, Episode)}
    assert facts["s/7"]["n"] == 7
    assert "eye" in facts["s/8.left"]
    assert "eye" not in facts["s/8.right"]


def test_hidden_files_of_a_shard_are_no_clips(tmp_path: Path, clip: Path) -> None:
    files = {
        "./._0.mp4": b"\0\5\x16\7" + bytes(200),
        "./0.mp4": clip.read_bytes(),
        "./._0.txt": b"\0",
        "./0.txt": b"go",
    }
    shard = pack(tmp_path / "mac.tar", files | {".cache/1.mp4": clip.read_bytes()})
    assert texts(list(open_dataset(shard))) == {"mac/0": "go"}
    assert left_out(shard) is None


def test_what_a_shard_leaves_out(tmp_path: Path, clip: Path) -> None:
    shard = pack(
        tmp_path / "s.tar", {"0.mp4": clip.read_bytes(), "0.npy": b"1", "1.json": b"{}", "0.json": b"{}"}
    )
    assert (
        left_out(shard)
        == f"left out of {shard}: 2 other files or folders (s.tar:0.npy, s.tar:1.json) of the first 3 shards"
    )


@pytest.mark.parametrize(
    ("name", "mode", "program"),
    [
        ("a.tar.gz", "w:gz", "gzip"),
        ("a.tgz", "w:gz", "gzip"),
        ("a.tar", "w:gz", "gzip"),
        ("a.tar.bz2", "w:bz2", "bzip2"),
    ],
)
def test_compressed_shards_are_told_to_be_so(
    tmp_path: Path, clip: Path, name: str, mode: str, program: str
) -> None:
    shard = pack(tmp_path / name, {"0.mp4": clip.read_bytes()}, mode)
    for path in (tmp_path, shard):
        with pytest.raises(
            BadInput, match=rf"{name} is compressed \({program}\).*unpack it with `{program} -d`"
        ):
            open_dataset(path)
    pack(tmp_path / "b.tar", {"0.mp4": clip.read_bytes()})
    entries = list(open_dataset(tmp_path))
    assert [entry.id for entry in entries if isinstance(entry, Episode)] == ["b/0"]
    (skipped,) = (entry for entry in entries if isinstance(entry, Skipped))
    assert f"is compressed ({program})" in skipped.reason


def test_a_backup_beside_videos_is_no_dataset(tmp_path: Path, clip: Path) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    pack(tmp_path / "backup.tar.gz", {"0.mp4": clip.read_bytes()}, "w:gz")
    assert [entry.id for entry in open_dataset(tmp_path)] == ["a"]
    assert left_out(tmp_path) == f"left out of {tmp_path}: 1 other file or folder (backup.tar.gz)"
