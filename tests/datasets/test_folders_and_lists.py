"""Bridge, Cosmos batch lists, folders and patterns."""

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from clip_files import decode_all, encode, moving
from PIL import Image

from vidjacobi.datasets import Entry, Episode, Skipped, counted, detect, open_dataset
from vidjacobi.errors import BadInput, InvalidArgument


def reason(entry: Entry) -> str:
    assert isinstance(entry, Skipped), entry
    return entry.reason


def frames_folder(path: Path, count: int) -> Path:
    path.mkdir(parents=True)
    for number, picture in enumerate(moving(count, 16, 24)):
        Image.fromarray(picture).save(path / f"frame{number}.png")
    return path


def bridge_set(root: Path) -> Path:
    for split, name, length in (("train", "9", 6), ("train", "10", 7), ("val", "9", 8)):
        folder = root / "videos" / split / name
        folder.mkdir(parents=True)
        encode(folder / "rgb.mp4", moving(length, 16, 32))
        (root / "annotation" / split).mkdir(parents=True, exist_ok=True)
        note = {"texts": [f"do {name}"], "videos": [{"video_path": f"videos/{split}/{name}/rgb.mp4"}]}
        (root / "annotation" / split / f"{name}.json").write_text(json.dumps(note))
    return root


def test_the_real_bridge_clips(shared: Path) -> None:
    root = shared / "data" / "bridge"
    assert detect(root) == "bridge"
    found = list(open_dataset(root))
    assert [entry.id for entry in found][:3] == ["train/83", "train/346", "train/1432"]
    assert all(isinstance(entry, Episode) for entry in found)
    lengths = {e.id: e.frames.count() for e in found if isinstance(e, Episode)}
    assert (lengths["train/83"], lengths["train/5873"], len(lengths)) == (30, 16, 10)
    first = found[0]
    assert isinstance(first, Episode)
    assert first.metadata["text"] == "Put the metal pot on the blue cloth."
    whole = decode_all(root / "videos" / "train" / "83" / "rgb.mp4")
    assert (first.frames.read(9, 7).frames.numpy() == whole[9:16]).all()


def test_bridge(tmp_path: Path) -> None:
    root = bridge_set(tmp_path / "ブリッジ")
    assert [entry.id for entry in open_dataset(root)] == ["train/9", "train/10", "val/9"]
    assert [entry.id for entry in open_dataset(root, split="val")] == ["val/9"]
    with pytest.raises(InvalidArgument, match="no split 'test'"):
        open_dataset(root, split="test")
    note = root / "annotation" / "train" / "10.json"
    two = [{"video_path": "videos/train/9/rgb.mp4"}, {"video_path": "videos/val/9/rgb.mp4"}]
    note.write_text(json.dumps({"videos": two}))
    entries = list(open_dataset(root))
    assert "2 cameras" in reason(entries[1])
    assert "choose one with camera=0" in reason(entries[1])
    with pytest.raises(InvalidArgument, match="camera must be a whole number"):
        open_dataset(root, camera=-1)
    with pytest.raises(InvalidArgument, match="camera"):
        open_dataset(root, camera="top")
    assert list(open_dataset(root, camera="1")) == list(open_dataset(root, camera=1))
    entries = list(open_dataset(root, camera=1))
    assert reason(entries[0]).endswith("no camera 1: it has 1 video")
    assert isinstance(entries[1], Episode)
    assert entries[1].frames.count() == 8
    assert "text" not in entries[1].metadata
    note.write_text("{")
    (root / "videos" / "val" / "9" / "rgb.mp4").unlink()
    entries = list(open_dataset(root))
    assert "not an annotation of Bridge: not valid JSON" in reason(entries[1])
    assert reason(entries[2]).endswith("val/9/rgb.mp4: no such file")


def test_cosmos_batch_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = bridge_set(tmp_path / "bridge")
    elsewhere = tmp_path / "work"
    shutil.copytree(root / "videos" / "val", elsewhere / "clips")
    lines = [
        {"visual_input": "videos/train/9/rgb.mp4", "prompt": "go"},
        {"visual_input": "videos/train/10/rgb.mp4"},
        {"visual_input": str(root / "videos" / "val" / "9" / "rgb.mp4")},
        {"visual_input": "videos/train/9/rgb.mp4"},
        {"visual_input": "clips/9/rgb.mp4", "id": "mine/../one"},
        {"visual_input": "videos/gone.mp4"},
        {"input": "x"},
    ]
    listing = root / "batch.jsonl"
    listing.write_text("\n".join(map(json.dumps, lines)) + "\n\nno json\n")
    assert detect(listing) == "jsonl"
    monkeypatch.chdir(elsewhere)
    entries = list(open_dataset(listing))
    ids = [entry.id for entry in entries]
    assert ids[:3] == ["videos/train/9/rgb", "videos/train/10/rgb", "videos/val/9/rgb"]
    assert ids[3].startswith("videos/train/9/rgb-")
    assert ids[4].startswith("mine_.._one-")
    assert len(set(ids)) == 8
    assert [e.frames.count() for e in entries if isinstance(e, Episode)] == [6, 7, 8, 6, 8]
    assert isinstance(entries[0], Episode)
    assert entries[0].metadata["text"] == "go"
    assert "gone.mp4: no such file (nor " in reason(entries[5])
    assert 'line 7: no "visual_input" with a path' in reason(entries[6])
    assert "line 9: not valid JSON" in reason(entries[7])
    assert "no such file" in reason(next(iter(open_dataset(listing, base=tmp_path))))
    with pytest.raises(BadInput, match="not a file of lines like"):
        open_dataset(root / "annotation" / "train" / "9.json", "jsonl")


def test_a_folder_of_everything(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    root.mkdir()
    clip = encode(root / "a.mp4", moving(5, 16, 32))
    for name in ("a.webm", "b/a.mp4", "日本語 1.MP4", ".hidden.mp4", "b/.git/c.mp4"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(clip, root / name)
    frames_folder(root / "b" / "frames", 4)
    (root / "empty.mp4").touch()
    os.mkfifo(root / "pipe.mp4")
    (root / "notes.txt").write_text("hello")
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert detect(root) == "folder"
    entries = list(open_dataset(root))
    ids = [entry.id for entry in entries]
    assert ids[0] == "a"
    assert ids[1].startswith("a-")
    assert ids[2:] == ["empty", "pipe", "日本語 1", "b/a", "b/frames"]
    assert reason(entries[2]).endswith("an empty file (0 bytes)")
    assert reason(entries[3]).endswith("pipe.mp4: not a file")
    assert [e.frames.count() for e in entries if isinstance(e, Episode)] == [5, 5, 5, 5, 4]
    assert ids == [entry.id for entry in open_dataset(root)]
    last = entries[-1]
    assert isinstance(last, Episode)
    assert (last.frames.read(1, 2, 2).frames.numpy() == moving(4, 16, 24)[1::2]).all()
    assert isinstance(counted(last, 4), Episode)


def test_patterns_and_single_files(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mp4", moving(5, 16, 32))
    for name in ("x/1/rgb.mp4", "x/2/rgb.mp4", "y/1/rgb.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(clip, tmp_path / name)
    frames_folder(tmp_path / "x" / "3", 2)
    assert [e.id for e in open_dataset(tmp_path / "x" / "*" / "rgb.mp4")] == ["1/rgb", "2/rgb"]
    assert [e.id for e in open_dataset(tmp_path / "**" / "1" / "*.mp4")] == ["x/1/rgb", "y/1/rgb"]
    assert [e.id for e in open_dataset(tmp_path / "x" / "?")] == ["3"]
    assert [e.id for e in open_dataset(clip)] == ["clip"]
    assert [e.id for e in open_dataset(tmp_path / "x" / "3")] == ["3"]
    with pytest.raises(BadInput, match="no known dataset"):
        open_dataset(tmp_path / "z*")
    bracket = tmp_path / "a[1]"
    bracket.mkdir()
    shutil.copy(clip, bracket / "b.mp4")
    assert [e.id for e in open_dataset(bracket)] == ["b"]
    with pytest.raises(
        InvalidArgument, match=r"folder has no option 'split'. There are: clips, start, stride"
    ):
        open_dataset(bracket, split="test")


def test_webdataset_shards(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for number in range(4):
        encode(work / f"clip{number}.mp4", moving(4 + number, 16, 32))
        (work / f"clip{number}.txt").write_text(f"do {number}\n")
    (work / "clip0.json").write_text('{"fps": 7, "text": "from json"}')
    (work / "clip1.json").write_text("{")
    (work / "clip3.mp4").write_bytes(b"\x00" * 3000)
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard, numbers in (("a", (0, 1)), ("b", (2, 3))):
        with tarfile.open(shards / f"{shard}.tar", "w") as tar:
            for file in sorted(work.iterdir()):
                if int(file.stem[-1]) in numbers:
                    tar.add(file, f"./x/../{file.name}")
    assert detect(shards) == detect(shards / "*.tar") == detect(shards / "a.tar") == "webdataset"
    entries = [entry for entry in open_dataset(shards) if isinstance(entry, Episode)]
    assert len({entry.id for entry in entries}) == len(entries) == 4
    assert all(".." not in Path(entry.id).parts for entry in entries)
    assert [entry.metadata["text"] for entry in entries] == [f"do {number}" for number in range(4)]
    assert entries[0].metadata["fps"] == 7
    assert [entry.frames.count() for entry in entries[:3]] == [4, 5, 6]
    clip = entries[2].frames.read(1, 2, 3)
    assert (clip.frames.numpy() == decode_all(work / "clip2.mp4")[1:5:3]).all()
    assert clip.source.endswith("b.tar:./x/../clip2.mp4")
    assert reason(counted(entries[3])).startswith(f"{shards / 'b.tar'}:./x/../clip3.mp4: ")
    cut = (shards / "b.tar").read_bytes()[:1600]
    (shards / "b.tar").write_bytes(cut)
    (shards / "c.tar").write_bytes(b"no tar file, but long enough" * 40)
    (shards / "d.tar").write_text("version https://git-lfs.github.com/spec/v1")
    found = list(open_dataset(shards))
    assert [type(entry) for entry in found[:2]] == [Episode, Episode]
    reasons = [reason(entry) for entry in found[2:]]
    assert len(reasons) == 3
    assert "b.tar: damaged or cut short: unexpected end of data" in reasons[0]
    assert "c.tar: damaged or cut short" in reasons[1]
    assert "git-lfs pointer" in reasons[2]
