"""The bench command on a tiny random model."""

import csv
import json
from pathlib import Path

import pytest
import torch

from vidjacobi.cli import main
from vidjacobi.video_io import write_video


def test_compares_decoders_with_ar(capsys: pytest.CaptureFixture, tiny_pair: Path, tmp_path: Path) -> None:
    clips = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        frames = torch.randint(0, 256, (9, 32, 48, 3), generator=generator, dtype=torch.uint8)
        clips.append(tmp_path / f"{seed}.mp4")
        write_video(clips[-1], frames, 10)
    words = [
        "bench",
        *clips,
        "--config",
        "quick",
        "--model",
        tiny_pair,
        "--out",
        tmp_path / "b",
        "--device",
        "cpu",
    ]
    assert main([*map(str, words), "--windows", "4", "9", "--decoders", "sjd", "pathwise"]) == 0
    printed = capsys.readouterr().out
    lines = json.loads(printed.splitlines()[-1])["summary"]
    assert [(line["decoder"], line["window"]) for line in lines] == [
        ("ar", 1),
        ("sjd", 4),
        ("pathwise", 4),
        ("sjd", 9),
        ("pathwise", 9),
    ]
    for line in lines:
        assert line["clips"] == 2
        assert line["passes"] <= 24
        if line["decoder"] in {"ar", "pathwise"}:
            assert line["ar_agreement"] == 1
    assert "| pathwise | 9 |" in (tmp_path / "b" / "bench.md").read_text()
    rows = list(csv.DictReader((tmp_path / "b" / "bench.csv").open()))
    assert len(rows) == 10
    assert json.loads((tmp_path / "b" / "bench.json").read_text())["config"]["decoders"] == [
        "sjd",
        "pathwise",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "nanoo"], "did you mean 'nano'"),
        (["--decoders", "sdj"], "did you mean 'sjd'"),
        (["--windows", "0"], "at least 1"),
        (["--clips", "0"], "at least one clip"),
    ],
)
def test_refuses_bad_requests(capsys: pytest.CaptureFixture, words: list[str], message: str) -> None:
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err
