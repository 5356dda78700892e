"""A batch's futures as a LeRobot dataset, which our own reader reads again."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from batches import words_of, write_clips

from vidjacobi.cli import main
from vidjacobi.datasets import Episode, open_dataset
from vidjacobi.video.clips import read_frames

Flags = dict[str, Any]


@pytest.fixture
def futures(flags: Flags, tmp_path: Path) -> Path:
    """A batch of two episodes, two futures each."""
    out = tmp_path / "futures"
    mine = {**flags, "output": "videos", "starts": "first", "devices": "cpu"}
    assert main.main(words_of(mine, out)) == 0
    return out


def test_our_reader_finds_every_future(
    futures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "deeper" / "set"
    assert main.main(["export", str(futures), str(made)]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told == {"dataset": str(made), "episodes": 4, "frames": 64, "tasks": 2}
    rows = pq.read_table(made / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    videos = pq.read_table(futures / "manifest.parquet").to_pylist()
    done = [row for row in videos if row["status"] == "done"]
    assert [(row["source_episode"], row["sample"]) for row in rows] == [
        (r["episode"], r["sample"]) for r in done
    ]
    episodes = [entry for entry in open_dataset(made) if isinstance(entry, Episode)]
    assert len(episodes) == 4
    for episode, row in zip(episodes, done, strict=True):
        wanted = read_frames(futures / row["video"], 0, 16).frames
        assert torch.equal(episode.frames.read(0, 16).frames, wanted)


def test_the_frames_say_which_are_predicted(futures: Path, tmp_path: Path) -> None:
    made = tmp_path / "set"
    assert main.main(["export", str(futures), str(made)]) == 0
    rows = pq.read_table(made / "data/chunk-000/file-000.parquet").to_pydict()
    assert rows["index"] == list(range(64))
    assert rows["predicted"] == ([0] * 9 + [1] * 7) * 4
    assert rows["timestamp"][:3] == pytest.approx([0, 0.1, 0.2])
    info = json.loads((made / "meta/info.json").read_text())
    assert info["splits"] == {"train": "0:4"}
    assert set(info["features"]) == {"observation.images.rollout", *rows}
    picture = json.loads((made / "meta/stats.json").read_text())["observation.images.rollout"]
    assert 0 <= picture["min"][0][0][0] <= picture["mean"][0][0][0] <= picture["max"][0][0][0] <= 1


def test_what_cannot_be_exported(
    futures: Path, flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert main.main(["export", *words]) == 2
        return capsys.readouterr().err

    assert "no batch lies here" in refused(str(tmp_path), str(tmp_path / "set"))
    assert "exists: give another folder" in refused(str(futures), str(futures))
    next(futures.glob("items/*/*.mp4")).unlink()
    assert "is missing: run the batch once more" in refused(str(futures), str(tmp_path / "set"))
    assert not (tmp_path / "set").exists()
    data = write_clips(tmp_path / "one", (20,))
    tokens = words_of({**flags, "data": str(data), "devices": "cpu"}, tmp_path / "tokens")
    assert main.main(tokens) == 0
    assert "kept tokens" in refused(str(tmp_path / "tokens"), str(tmp_path / "set"))
