"""How long a comparison of two folders will take, told before it begins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_features import Statistics, clip

from vidjacobi.cli import main
from vidjacobi.eval import features, folder_pair, pair_duration
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.folder_pair import ClipPair, Options, measure
from vidjacobi.eval.pair_duration import FRAMES, forecast
from vidjacobi.video.clips import write_video

CLIPS, LENGTH = 5, 40
EACH = {"features": 0.3, "reading": 0.02, "means": 0.1}  # seconds of a frame


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / side for side in "ab"]
    for side, folder in enumerate(made):
        folder.mkdir()
        for number in range(CLIPS):
            write_video(folder / f"{number}.mp4", clip(10 * side + number, LENGTH), 10)
    return made


class Clock:
    """Time passes only where something is said to take some."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_parts_are_scaled_to_all_frames_of_all_pairs(
    folders: list[Path], tiny_extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, pairs = Clock(), []

    class Slow(Statistics):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            clock.now += EACH["features"] * pixels.shape[2]
            return super().forward(pixels)

    def slow(name: str, function: Callable[..., object], frames: Callable[..., int]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            clock.now += EACH[name] * frames(*given)
            return function(*given, **named)

        return call

    reader = slow("reading", folder_pair.read_frames, lambda source, start, count: count)
    monkeypatch.setattr(folder_pair, "read_frames", reader)
    compared = slow("means", pair_duration.compare, lambda frames, truth, borders: len(frames))
    monkeypatch.setattr(pair_duration, "compare", compared)
    measure(*folders, tiny_extractor, Options(draws=5), before=pairs.extend)
    assert {type(pair) for pair in pairs} == {ClipPair}
    found = forecast(pairs, replace(tiny_extractor, network=Slow()), Options(draws=1000), clock)
    assert found.frames == FRAMES < LENGTH
    assert found.features == pytest.approx(2 * CLIPS * LENGTH * EACH["features"])
    assert found.reading == pytest.approx(2 * CLIPS * LENGTH * EACH["reading"])
    assert found.frame_means == pytest.approx(CLIPS * LENGTH * EACH["means"])
    assert found.bootstrap == 0  # which was not said to take any
    assert "about 2 min: features about 2 min, reading about 8 s, PSNR and SSIM about 20 s" in str(found)
    assert "16 frames of noise and of the first pair were timed" in str(found)
    bare = forecast(pairs, tiny_extractor, Options(per_frame=False, cache=Path("somewhere")), clock)
    assert bare.frame_means == 0
    assert "at most (stored features are not computed again)" in str(bare)


def test_the_command_tells_it_before_the_first_pair(
    folders: list[Path],
    tiny_extractor: Extractor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = replace(tiny_extractor, protocol={**tiny_extractor.protocol, "resize": "none: as it is"})
    monkeypatch.setattr(features, "load_extractor", lambda *given: whole)
    assert main.main(["eval", "fvd", *map(str, folders), "--frames", "9", "--draws", "5"]) == 0
    told = capsys.readouterr().err
    assert told.index("this comparison will take ") < told.index(f"1 of {CLIPS} pairs of clips, ")
