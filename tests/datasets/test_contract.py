"""Ids, skipped entries and opening, whatever the layout is."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
from clip_files import encode, moving

from vidjacobi.datasets import DATASETS, Episode, Skipped, counted, detect, folder_name, open_dataset
from vidjacobi.datasets.boxed import boxed
from vidjacobi.datasets.contract import distinct, episode_id
from vidjacobi.datasets.frame_sources import EveryNth, File, Stretch, thinned
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.video.clips import read_frames
from vidjacobi.video.records import ReadClip


def test_ids_are_safe_and_stay_distinct() -> None:
    assert episode_id("test", "0bf152ef84195293") == "test/0bf152ef84195293"
    assert episode_id("Küche", "café 1") == "Küche/café 1"
    raw = [
        "..",
        "../..",
        "/etc/passwd",
        "a\\b",
        "a:b",
        "a?b",
        "",
        ".",
        "con",
        "x" * 300,
        "x" * 299 + "y",
        "\udcff",
        "\ud800",
    ]
    made = [episode_id("train", part) for part in raw]
    assert len(set(made)) == len(raw)
    for name in made:
        parts = Path(name).parts
        assert parts[0] == "train"
        assert len(parts) == 2
        assert not set(parts) & {"..", "."}
        assert len(name.encode()) <= 120
        assert Path("out", folder_name(name)).parent == Path("out")


def test_ids_of_one_folder_name_are_told_apart() -> None:
    names = ["a/b", "a_b", "A/B", "a/b", "c"]
    entries = [Skipped(name, "no") for name in names] + [Episode("C", File(Path("x")), None, "\ud800")]
    made = [entry.id for entry in distinct(entries)]
    assert made[0] == "a/b"
    assert made[4] == "c"
    assert len({folder_name(name).casefold() for name in made}) == len(made)
    assert made == [entry.id for entry in distinct(entries)]


def test_counted_says_why_not(tmp_path: Path) -> None:
    from clip_files import encode, moving

    clip = encode(tmp_path / "a.mp4", moving(6))
    good = Episode("a", File(clip), None, str(clip))
    assert counted(good, 6) is good
    assert counted(good, 7) == Skipped("a", f"{clip}: 6 frames, but 7 are needed")
    clip.with_name("b.mp4").write_bytes(clip.read_bytes()[:200])
    bad = counted(Episode("b", File(tmp_path / "b.mp4"), None, "b.mp4"))
    assert isinstance(bad, Skipped)
    assert "holds no video stream" in bad.reason
    assert counted(bad) is bad


def test_parts_of_a_clip_read_the_right_frames(tmp_path: Path) -> None:
    from clip_files import encode, moving

    path = encode(tmp_path / "a.mp4", moving(20), g="4")
    whole = read_frames(path, 0, 20).frames
    part = pickle.loads(pickle.dumps(Stretch(thinned(File(path), 3, 2), 1, 6)))
    assert part.count() == 6
    clip = part.read(1, 3, stride=2)
    assert (clip.start, clip.fps) == (1, 6.0)
    assert clip.frames.equal(whole[3 + 2 * 2 :: 4][:3])
    assert (File(path).count(), Stretch(File(path), 15).count(), EveryNth(File(path), 3).count()) == (
        20,
        5,
        7,
    )
    with pytest.raises(
        BadInput, match="3 frames needed from frame 4 on with stride 1, but the episode has 6"
    ):
        part.read(4, 3)
    with pytest.raises(BadInput, match="but the clip has 20"):
        EveryNth(File(path), 3).read(4, 4)
    path.unlink()
    with pytest.raises(BadInput, match="no such file"):
        File(path).count()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("nowhere",), {}, BadInput, "nowhere: no such file or folder"),
        (("",), {}, BadInput, "no known dataset. Looked for:\n.*realestate10k: .*pose_files"),
        (("", "realestate10k"), {}, BadInput, "not RealEstate10k: no .*in it"),
        (("", "realestate"), {}, InvalidArgument, "did you mean 'realestate10k'"),
        (
            ("", "realestate10k"),
            {"spilt": "test"},
            InvalidArgument,
            r"no option 'spilt' \(did you mean 'split'",
        ),
    ],
)
def test_opening_says_what_is_wrong(tmp_path: Path, arguments, options, error, message) -> None:
    (tmp_path / "README.txt").write_text("Hello,\nthis is no pose file.\n")
    with pytest.raises(error, match=message):
        open_dataset(tmp_path / arguments[0], *arguments[1:], **options)


def test_every_opener_refuses_an_empty_folder(tmp_path: Path) -> None:
    for name in DATASETS:
        with pytest.raises(BadInput):
            open_dataset(tmp_path, name)
    with pytest.raises(BadInput, match="Looked for"):
        detect(tmp_path)


@dataclass(frozen=True)
class Dying:
    """A source that ends the process which reads it."""

    def count(self) -> int:
        os._exit(3)

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        os._exit(3)


def test_boxed_entries_are_read_in_another_process(tmp_path: Path) -> None:
    """What ends that process costs one entry."""
    video = encode(tmp_path / "a.mp4", moving(3))
    entries = [
        Episode("dying", Dying(), None, "dying.mp4"),
        Skipped("gone", "it is gone"),
        Episode("well", File(video), None, str(video)),
    ]
    dying, gone, well = (counted(entry) for entry in boxed(entries))
    assert isinstance(dying, Skipped)
    assert dying.reason == "dying.mp4: its reader crashed (exit status 3); the file is damaged"
    assert gone == entries[1]
    assert isinstance(well, Episode)
    assert well.frames.count() == 3
    assert well.frames.read(0, 2).frames.equal(read_frames(video, 0, 2).frames)


def test_an_empty_path_is_not_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an environment variable that is not set."""
    encode(tmp_path / "a.mp4", moving(3))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match="an empty path"):
        open_dataset("")
    (entry,) = open_dataset(".")
    assert isinstance(entry, Episode)
