"""``vidjacobi rollout --stream`` on a tiny random model: a video that grows, with the frames of the whole rollout."""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from tiny_pair import write_pair

import vidjacobi
from vidjacobi.cli import rollout_clips
from vidjacobi.cli.main import main
from vidjacobi.decoding.recipe import Progress
from vidjacobi.errors import BadOutput
from vidjacobi.rollouts import live_files
from vidjacobi.video.clips import read_frames, write_video
from vidjacobi.video.writer import GrowingVideo


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 frames of 40x70 pixels at 12.5 fps."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    generator = torch.Generator().manual_seed(1)
    picture = torch.randint(0, 256, (1, 40, 70, 3), generator=generator, dtype=torch.uint8)
    write_video(path, torch.cat([picture.roll(i, 2) for i in range(9)]), 12.5)
    return path


class Watched(GrowingVideo):
    """Remembers what was added, and looks at the file after each group as somebody who plays it does."""

    made: list["Watched"] = []  # noqa: RUF012

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.added: list[torch.Tensor] = []
        Watched.made.append(self)

    def add(self, frames: torch.Tensor) -> None:
        super().add(frames)
        self.added.append(frames.clone())
        assert count_frames(self.path) == sum(map(len, self.added))


def count_frames(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    monkeypatch.setattr(live_files, "GrowingVideo", Watched)
    Watched.made = []
    return Watched.made


def words(tiny_pair: Path, out: Path, clip: Path, *more: object) -> list[str]:
    return [
        *map(str, ("rollout", "--model", tiny_pair, "--out", out, "--device", "cpu", "--stream", clip, *more))
    ]


def test_grows_and_ends_as_the_whole_does(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path, watched: list[Watched]
) -> None:
    assert main(words(tiny_pair, tmp_path, clip, "--frames", 27, "--samples", 2, "--tokens", "--trace")) == 0
    said = capsys.readouterr()
    rolled = vidjacobi.rollout(
        read_frames(clip, 0, 9).frames, *vidjacobi.load(tiny_pair, "cpu"), new_frames=27, samples=2
    )
    for sample, (video, output) in enumerate(
        zip(watched[1::2], json.loads(said.out.splitlines()[-1])["outputs"], strict=True)
    ):
        expected = torch.cat([rolled.context, rolled.predicted[sample]])
        assert torch.equal(torch.cat(video.added), expected)
        assert [len(part) for part in video.added] == [9, 8, 8, 8, 3]
        folder = tmp_path / "clip" / f"sample-{sample}"
        assert output["folder"] == str(folder)
        assert output["tokens_sha256"] == rolled.token_hash(sample)
        assert sorted(path.name for path in folder.iterdir()) == [
            *("plain.mp4", "rollout.json", "rollout.mp4", "sheet.png", "tokens.npy", "trace.npz")
        ]
        assert count_frames(folder / "rollout.mp4") == 36
        record = json.loads((folder / "rollout.json").read_text())
        assert record["finished"] is True
        assert [part["first"] for part in record["landed"]] == [0, 8, 16, 24]
        assert (
            record["seconds_to_first_frames"]
            == record["landed"][0]["seconds"]
            == output["seconds_to_first_frames"]
        )
        assert record["seconds_to_first_frames"] < sum(record["seconds"].values())
        assert record["predicted_frames"] == 27
        assert (np.load(folder / "tokens.npy") == rolled.tokens[sample].numpy()).all()
        assert f"{folder}: predicted frames 24..26 of 27 after" in said.err


def test_an_interruption_leaves_a_video_that_plays(
    capsys: pytest.CaptureFixture,
    tiny_pair: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(self: object, progress: Progress) -> None:
        if progress.passes == 40:
            raise KeyboardInterrupt

    monkeypatch.setattr("vidjacobi.cli.rollout_clips.ProgressBar.__call__", stop)
    ask = words(tiny_pair, tmp_path, clip, "--decoder", "ar")
    assert main(ask) == 130
    said, folder = capsys.readouterr().err, tmp_path / "clip"
    assert "rollout.mp4 plays and holds the context and 8 of 24 predicted frames" in said
    assert "interrupted" in said
    assert count_frames(folder / "rollout.mp4") == 17
    record = json.loads((folder / "rollout.json").read_text())
    assert (record["finished"], record["predicted_frames"], len(record["landed"])) == (False, 8, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["plain.mp4", "rollout.json", "rollout.mp4"]
    monkeypatch.undo()
    assert main(ask) == 2  # it is there
    assert main([*ask, "--overwrite"]) == 0
    assert json.loads((folder / "rollout.json").read_text())["finished"]


@pytest.mark.parametrize("stream", [True, False])
def test_the_folder_of_another_run_is_left_alone(
    capsys: pytest.CaptureFixture,
    tiny_pair: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    """Of a run that began at the same time: one that streams finds its own folder gone, the other the name taken."""
    folder = tmp_path / "clip"

    def other(self: object, progress: Progress) -> None:
        if progress.passes == 40:
            if stream:
                shutil.rmtree(folder)
            folder.mkdir()
            (folder / "rollout.json").write_text("theirs")

    monkeypatch.setattr("vidjacobi.cli.rollout_clips.ProgressBar.__call__", other)
    ask = words(tiny_pair, tmp_path, clip, "--decoder", "ar")
    assert main([word for word in ask if stream or word != "--stream"]) == 2
    said = capsys.readouterr().err
    assert "plays and holds" not in said
    assert ("was removed or replaced" if stream else "another run has made it") in said.splitlines()[-1]
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("rollout.json", "theirs")]
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_a_disk_that_is_full_from_the_start_leaves_nothing(
    capsys: pytest.CaptureFixture,
    tiny_pair: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*about: Any) -> None:
        raise BadOutput("rollout.mp4: cannot be written: No space left on device")

    monkeypatch.setattr(GrowingVideo, "_append", full)
    assert main(words(tiny_pair, tmp_path / "out", clip)) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_streamed_folder_that_was_made_meanwhile_is_kept(
    capsys: pytest.CaptureFixture,
    tiny_pair: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prepared(*about: Any) -> Any:
        (tmp_path / "clip").mkdir()
        (tmp_path / "clip" / "rollout.json").write_text("theirs")
        return prepare(*about)

    prepare = rollout_clips.prepare
    monkeypatch.setattr(rollout_clips, "prepare", prepared)
    assert main(words(tiny_pair, tmp_path, clip)) == 2
    assert "another run has made it meanwhile; what it wrote is kept" in capsys.readouterr().err
    assert (tmp_path / "clip" / "rollout.json").read_text() == "theirs"


def test_a_model_that_breaks_is_reported(capsys: pytest.CaptureFixture, clip: Path, tmp_path: Path) -> None:
    broken = write_pair(tmp_path / "broken", spoil=float("nan"))
    assert main(words(broken, tmp_path / "o", clip)) == 2
    said = capsys.readouterr().err
    assert "holds the context and 0 of 24 predicted frames" in said
    assert "not finite" in said.splitlines()[-1]
    assert count_frames(tmp_path / "o" / "clip" / "rollout.mp4") == 9


def test_torchscript_is_refused_before_anything_is_loaded(
    capsys: pytest.CaptureFixture, clip: Path, tmp_path: Path
) -> None:
    assert main(words(tmp_path / "no model", tmp_path / "o", clip, "--run-torchscript")) == 2
    assert "a TorchScript tokenizer makes frames of whole clips only" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_output_that_cannot_be_written(
    capsys: pytest.CaptureFixture, tiny_pair: Path, clip: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "clip"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    assert main(words(tiny_pair, tmp_path, clip, "--overwrite")) == 2
    assert "left alone" in capsys.readouterr().err
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]
