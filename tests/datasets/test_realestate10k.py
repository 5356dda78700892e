"""RealEstate10k in every layout: samples of the real dataset, and rendered rooms whose cameras are known."""

import json
import pickle
import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from clip_files import encode, moving, psnr
from PIL import Image

from vidjacobi.datasets import Entry, Episode, Skipped, counted, detect, open_dataset
from vidjacobi.datasets.realestate10k import cameras
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.video.clips import read_frames

LAYOUTS = {"images": 99.0, "mp4": 38.0, "chunks": 38.0}  # least PSNR in dB against the rendered frames


def episodes(root: Path, **options: object) -> list[Episode]:
    found = list(open_dataset(root, **options))
    assert all(isinstance(entry, Episode) for entry in found), found
    return [entry for entry in found if isinstance(entry, Episode)]


def skipped(entry: Entry) -> str:
    assert isinstance(entry, Skipped)
    return entry.reason


def test_the_real_samples(shared: Path) -> None:
    root = shared / "data" / "realestate10k"
    assert detect(root) == "realestate10k"
    found = episodes(root)
    assert len(found) == 10
    assert found[0].id == "0bf152ef84195293"
    for episode in found:
        assert counted(episode, 16) is episode
        assert len(cameras(episode)) == 16
        rotation = cameras(episode).world_to_camera[:, :, :3]
        torch.testing.assert_close(
            rotation @ rotation.mT, torch.eye(3).double().expand(16, 3, 3), atol=1e-6, rtol=0
        )
    clip = found[0].frames.read(9, 7)
    video = root / "reference_videos" / "0bf152ef84195293.mp4"
    assert clip.frames.equal(read_frames(video, 9, 7).frames)
    assert 3 < clip.fps < 4  # the rate of the timestamps; the video file says 8
    assert skipped(counted(found[0], 17)).endswith("16 frames, but 17 are needed")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_and_cameras_are_the_rendered_ones(
    rooms_sets: Path, rooms_script: ModuleType, layout: str
) -> None:
    found = {episode.id: episode for episode in episodes(rooms_sets / layout)}
    assert len(found) == 2
    truth = rooms_script.render_clip(rooms_script.SEEDS.start, 13, kind="house")
    name = rooms_script.sha256(f"room {rooms_script.SEEDS.start}".encode()).hexdigest()[:16]
    episode = pickle.loads(pickle.dumps(found[f"test/{name}"]))
    assert episode.frames.count() == 13
    clip = episode.frames.read(3, 4, stride=3)
    assert (clip.start, clip.fps) == (3, pytest.approx(25 / 3))
    assert psnr(clip.frames.numpy(), truth.frames[3::3].numpy()) > LAYOUTS[layout]
    read = cameras(episode)
    to_world = torch.linalg.inv(torch.cat([read.world_to_camera, torch.tensor([[[0, 0, 0, 1.0]]] * 13)], 1))
    torch.testing.assert_close(to_world, truth.poses.double(), atol=2e-6, rtol=0)
    height, width = truth.frames.shape[1:3]
    focal = float(truth.intrinsics[0, 0])
    expected = torch.tensor([focal / width, focal / height, 0.5, 0.5]).double()
    torch.testing.assert_close(read.intrinsics, expected.expand(13, 4), atol=1e-6, rtol=0)
    assert read.timestamps.tolist() == list(range(0, 13 * 40_000, 40_000))


def test_a_turn_by_the_pose_file_maps_one_frame_to_the_other(rooms_script: ModuleType) -> None:
    """Between two cameras at one place, pixels map by the homography K R K^-1, whatever the scene is."""
    clips = (rooms_script.render_clip(seed, 9, kind="plain_room") for seed in rooms_script.SEEDS)
    clip = next(clip for clip in clips if clip.motion == "pan")
    read = rooms_script.cameras_of(clip)
    height, width = clip.frames.shape[1:3]
    fx, fy, cx, cy = (read.intrinsics[0] * torch.tensor([width, height] * 2)).tolist()
    lens = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    turn = read.world_to_camera[0, :, :3] @ read.world_to_camera[8, :, :3].T
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).double().flatten(1)
    seen = lens @ turn @ torch.linalg.inv(lens) @ pixels
    at = (seen[:2] / seen[2]).T.reshape(1, height, width, 2) / torch.tensor([width, height]) * 2 - 1
    first, last = (clip.frames[i].double().permute(2, 0, 1)[None] for i in (0, 8))
    warped = torch.nn.functional.grid_sample(first, at, align_corners=False)
    inside = (at.abs() < 0.95).all(-1)[:, None]
    before, after = (((p - last).abs() * inside).sum() / inside.sum() for p in (first, warped))
    assert inside.double().mean() > 0.5
    assert after < 0.3 * before


def test_start_stride_and_clip_list(rooms_sets: Path, tmp_path: Path) -> None:
    root = rooms_sets / "images"
    names = [episode.id for episode in episodes(root)]
    whole = episodes(root)[1].frames.read(0, 13).frames
    thin = episodes(root, start=2, stride=4)[1]
    assert (thin.id, thin.frames.count()) == (names[1], 3)
    assert thin.frames.read(1, 2).frames.equal(whole[[6, 10]])
    assert thin.frames.read(1, 2).fps == pytest.approx(25 / 4)
    assert cameras(thin).timestamps.tolist() == [80_000, 240_000, 400_000]
    short = names[1].removeprefix("test/")
    listing = tmp_path / "clips.txt"
    listing.write_text(
        f"id,start,stride\n# comment\n{short}, 5, 2\n{names[0]}\n{short} 7\nffffffffffffffff\n"
    )
    found = list(open_dataset(root, clips=listing, stride=3))
    assert [entry.id for entry in found] == [f"{names[1]}@5x2", names[0], f"{names[1]}@7", "ffffffffffffffff"]
    assert found[0].frames.read(0, 4).frames.equal(whole[5::2])
    assert found[2].frames.read(0, 2).frames.equal(whole[[7, 10]])
    assert skipped(found[3]) == "in the clip list, but not in this dataset"
    index = tmp_path / "index.json"
    index.write_text(json.dumps({short: {"context": [0, 3]}, "gone": None}))
    assert [entry.id for entry in open_dataset(root, clips=index)] == [names[1]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "no clip is listed"),
        ("a.txt", "abc -1\n", "line 1: write `id .start .stride..`, not 'abc -1'"),
        ("a.txt", "abc 1 0\n", "the stride counts from 1"),
        ("a.txt", "abc 1\nabd\nabc 1\n", "line 3: repeats line 1"),
        ("a.json", "[1]", "a list of clip ids"),
        ("a.json", "{", "not valid JSON"),
    ],
)
def test_bad_clip_lists(rooms_sets: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidArgument, match=message):
        open_dataset(rooms_sets / "images", clips=tmp_path / name)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "train"}, InvalidArgument, r"no split 'train' \(it has test\)"),
        ({"stride": 0}, InvalidArgument, "stride must be a whole number of at least 1"),
        ({"start": -1}, InvalidArgument, "start must be a whole number of at least 0"),
        ({"videos": "nowhere"}, BadInput, "nowhere: no such folder"),
    ],
)
def test_impossible_options(rooms_sets: Path, options, error, message) -> None:
    with pytest.raises(error, match=message):
        open_dataset(rooms_sets / "images", **options)


def test_cameractrl_layout_with_splits_and_captions(rooms_sets: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (rooms_sets / "mp4" / "test").glob("*.txt"))
    shutil.copytree(rooms_sets / "mp4" / "test", tmp_path / "pose_files")
    for name, place in zip(names, ("QShWPZxTDoE", "日本語"), strict=True):
        (tmp_path / "video_clips" / place).mkdir(parents=True)
        shutil.copy(rooms_sets / "mp4" / "videos" / "test" / f"{name}.mp4", tmp_path / "video_clips" / place)
    assert [episode.id for episode in episodes(tmp_path)] == names
    with pytest.raises(InvalidArgument, match="nothing in it says which split"):
        open_dataset(tmp_path, split="test")
    (tmp_path / "annotations").mkdir()
    for split, name, caption in (("train", names[0], ["a room"]), ("test", names[1], "a hall")):
        notes = [{"clip_name": name, "caption": caption}]
        (tmp_path / "annotations" / f"{split}.json").write_text(json.dumps(notes))
    test = episodes(tmp_path, split="test")
    assert [(e.id, e.metadata["split"], e.metadata["text"]) for e in test] == [
        (f"test/{names[1]}", "test", "a hall")
    ]
    assert [e.metadata["text"] for e in episodes(tmp_path)] == ["a hall", "a room"]
    assert test[0].frames.count() == 13
    (tmp_path / "annotations" / "test.json").write_text('{"clip_name": 1}')
    with pytest.raises(BadInput, match=r"test.json: a list of \{clip_name, caption\} is needed"):
        open_dataset(tmp_path)


def test_clips_that_cannot_be_used_are_listed_with_the_reason(rooms_sets: Path, tmp_path: Path) -> None:
    one, two = sorted(path.stem for path in (rooms_sets / "images" / "test").glob("*.txt"))
    shutil.copytree(rooms_sets / "images", tmp_path / "set")
    root = tmp_path / "set"
    (root / "frames" / "test" / one / "80000.png").unlink()
    shutil.rmtree(root / "frames" / "test" / two)
    first, second = open_dataset(root)
    assert "1 of the 13 timestamps" in skipped(counted(first))
    assert "the first one: 80000" in skipped(counted(first))
    assert skipped(second).startswith(f"no video {two}.mp4 and no folder {two} of pictures below {root}")
    pose = root / "test" / f"{two}.txt"
    encode(root / f"{two}.mp4", moving(12))
    assert f"12 frames, but {two}.txt has 13 cameras" in skipped(counted(list(open_dataset(root))[1]))
    with pytest.raises(BadInput, match="12 frames, but"):
        list(open_dataset(root))[1].frames.read(0, 1)
    encode(root / "frames" / f"{two}.mp4", moving(13))
    assert f"found twice below {root}: {two}.mp4 and frames/{two}.mp4" in skipped(list(open_dataset(root))[1])
    assert list(open_dataset(root, videos=root / "frames"))[1].frames.count() == 13
    for text, reason in (
        ("", "no camera in this pose file"),
        ("version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
        (
            pose.read_text().replace(" ", "  ", 2).replace("40000 ", "40000 0 ", 1),
            "line 3: 20 fields",
        ),
        (
            re.sub(r"^40000 \S+", "40000 nan", pose.read_text(), flags=re.MULTILINE),
            "not a pose file|not finite",
        ),
        (pose.read_text().replace("\n40000 ", "\n0 ", 1), "do not rise"),
    ):
        pose.write_text(text)
        with pytest.raises(BadInput, match=reason):
            list(open_dataset(root, videos=root / "frames"))[1].frames.count()
        shutil.copy(rooms_sets / "images" / "test" / f"{two}.txt", pose)


def test_pictures_that_are_numbered_instead(rooms_sets: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(rooms_sets / "images", root)
    folder = sorted((root / "frames" / "test").iterdir())[0]
    times = sorted(int(file.stem) for file in folder.iterdir())
    for number, time in enumerate(times):
        (folder / f"{time}.png").rename(folder / f"frame{number}.png")
    old, new = episodes(rooms_sets / "images")[0], episodes(root)[0]
    assert new.frames.read(1, 12).frames.equal(old.frames.read(1, 12).frames)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "extra.png")
    assert "13 like frame0.png, 1 like extra.png" in skipped(counted(new))


@pytest.mark.parametrize("some", [1, 5])
def test_pictures_whose_names_are_a_little_off(rooms_sets: Path, tmp_path: Path, some: int) -> None:
    """Named by the video's own times: all of them 0.3 ms late, or one of five."""
    root = tmp_path / "set"
    shutil.copytree(rooms_sets / "images", root)
    folder = sorted((root / "frames" / "test").iterdir())[0]
    for number, time in enumerate(sorted(int(file.stem) for file in folder.iterdir())):
        if number % some == 0:
            (folder / f"{time}.png").rename(folder / f"{time + 300}.png")
    old, new = episodes(rooms_sets / "images")[0], episodes(root)[0]
    read = new.frames.read(1, 12)
    assert read.frames.equal(old.frames.read(1, 12).frames)
    assert read.notes == ("the pictures' names are up to 0.3 ms off the timestamps of the pose file",)
    # so far that it may as well be the next camera's
    (folder / f"{80_000 if some == 5 else 80_300}.png").rename(folder / "95000.png")
    assert "1 of the 13 timestamps" in skipped(counted(episodes(root)[0]))


def test_damaged_chunks(rooms_sets: Path, tmp_path: Path) -> None:
    root = tmp_path / "test"
    shutil.copytree(rooms_sets / "chunks" / "test", root)
    ids = [episode.id for episode in episodes(tmp_path)]
    assert [episode.id for episode in episodes(root, split="test")] == ids  # the folder of the split itself
    (root / "index.json").unlink()
    assert [episode.id for episode in episodes(tmp_path)] == ids  # asked of the chunk, not of the index
    records = torch.load(root / "000000.torch", weights_only=True)
    records[0]["images"] = records[0]["images"][:5]
    records[1]["images"][3] = torch.zeros(9, dtype=torch.uint8)
    torch.save(records, root / "000001.torch", _use_new_zipfile_serialization=False)
    (root / "000000.torch").unlink()
    by_key = {e.metadata["key"]: e for e in episodes(tmp_path)}
    assert "5 pictures, but 13 cameras" in skipped(counted(by_key[records[0]["key"]]))
    with pytest.raises(BadInput, match="frame 3: a damaged or unknown image"):
        by_key[records[1]["key"]].frames.read(0, 5)
    (root / "index.json").write_text(json.dumps({"a": "000001.torch", "b": "000007.torch"}))
    absent, missing = open_dataset(tmp_path)
    assert "has no clip a, although index.json says so" in skipped(counted(absent))
    assert "000007.torch: no such file; index.json names this chunk" in skipped(missing)
    (root / "index.json").unlink()
    (root / "000001.torch").write_bytes(b"no chunk")
    assert "not a chunk of tensors, or damaged" in skipped(next(iter(open_dataset(tmp_path))))


@pytest.mark.slow
def test_ten_thousand_clips_are_listed_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidjacobi.datasets.frame_sources.open_clip", None)
    monkeypatch.setattr("vidjacobi.datasets.posed.read_cameras", None)
    line = " ".join(["0"] * 19)
    for folder in ("test", "videos"):
        (tmp_path / folder).mkdir()
    for number in range(10_000):
        (tmp_path / "test" / f"{number:016x}.txt").write_text(f"url\n{line}\n")
        if number % 10:
            (tmp_path / "videos" / f"{number:016x}.mp4").touch()
    found = list(open_dataset(tmp_path))
    assert len(found) == 10_000
    assert sum(isinstance(entry, Episode) for entry in found) == 9_000
    assert [entry.id for entry in found] == sorted(entry.id for entry in found)


def test_the_script_refuses_the_training_seeds(rooms_script: ModuleType, monkeypatch, tmp_path: Path) -> None:
    for arguments in (
        ["--first-seed", "0"],
        ["--first-seed", "1000000"],
        ["--clips", "0"],
        ["--clips", "500001"],
    ):
        monkeypatch.setattr("sys.argv", ["", "--out", str(tmp_path), *arguments])
        with pytest.raises(SystemExit):
            rooms_script.main()
    assert not list(tmp_path.iterdir())
