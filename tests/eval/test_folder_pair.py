"""Two folders of clips: pairs by name, one distance, and messages about folders that do not fit."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_features import clip

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval import fvd
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.folder_pair import Options, clips_in, compare, mean_scores, measure
from vidjacobi.video.clips import write_video

QUICK = Options(draws=5)


def write_frames(folder: Path, frames: torch.Tensor) -> Path:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame.numpy()).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Six clips as folders of frames; the generated ones differ from the real ones in the last frame."""
    generated, real = tmp_path / "generated", tmp_path / "real"
    for seed in range(6):
        frames = clip(seed)
        write_frames(real / f"clip{seed}", frames)
        frames[-1] = 0
        write_frames(generated / f"clip{seed}", frames)
    return generated, real


def test_the_record_is_that_of_the_frames(folders: tuple[Path, Path], tiny_extractor: Extractor) -> None:
    told = []
    found = measure(*folders, tiny_extractor, QUICK, lambda done, total: told.append((done, total)))
    real = tiny_extractor(torch.stack([clip(seed) for seed in range(6)]))
    generated = [clip(seed) for seed in range(6)]
    for frames in generated:
        frames[-1] = 0
    expected = fvd.distance(tiny_extractor(torch.stack(generated)), real).value
    assert found["metric"] == "FVD-tiny"
    assert found["value"] == pytest.approx(expected, rel=1e-9)
    assert (found["clips"], found["floor"]["clips_per_half"]) == (6, 3)
    assert found["protocol"]["frames"] == 9
    assert found["per_frame"]["identical_frames"] == 6 * 8
    assert 5 < found["per_frame"]["psnr"] < 12
    assert 0.8 < found["per_frame"]["ssim"] < 0.99
    assert found["notes"] == []
    assert told == [(i, 6) for i in range(1, 7)]
    json.dumps(found, allow_nan=False)


def test_a_folder_against_itself_is_at_no_distance(
    folders: tuple[Path, Path], tiny_extractor: Extractor
) -> None:
    found = measure(folders[1], folders[1], tiny_extractor, QUICK)
    assert found["value"] == pytest.approx(0.0, abs=1e-8)
    means = found["per_frame"]
    assert (means["psnr"], means["ssim"], means["identical_frames"], means["frames"]) == (None, 1.0, 54, 54)
    assert "whole map" in means["conventions"]["ssim"]


def test_pairs_count_by_their_frames_that_differ() -> None:
    """A pair with one frame that differs does not weigh as much as one with nine."""
    most, one = clip(1), clip(1).clone()
    one[0] += 1  # of 9 frames
    scores = [compare(most + 2, most), compare(one, most)]
    plain = [20 * math.log10(255 / 2)] * 9 + [20 * math.log10(255)]
    assert mean_scores(scores)["psnr"] == pytest.approx(sum(plain) / 10)
    assert mean_scores(scores)["identical_frames"] == 8


def test_the_borders_of_ssim_are_said(folders: tuple[Path, Path], tiny_extractor: Extractor) -> None:
    plain, valid = (
        measure(*folders, tiny_extractor, Options(draws=5, ssim_borders=borders))["per_frame"]
        for borders in ("mirrored", "valid")
    )
    assert (plain["ssim_borders"], valid["ssim_borders"]) == ("mirrored", "valid")
    assert plain["ssim"] != valid["ssim"]
    assert "without 5 pixels" in valid["conventions"]["ssim"]


def test_features_are_kept(folders: tuple[Path, Path], tiny_extractor: Extractor, tmp_path: Path) -> None:
    options = Options(draws=5, cache=tmp_path / "cache", per_frame=False)
    first = measure(*folders, tiny_extractor, options)
    assert first["per_frame"] is None
    entries = sorted((tmp_path / "cache").iterdir())
    assert len(entries) == 12
    blind = Extractor(
        tiny_extractor.label, tiny_extractor.protocol, torch.nn.Identity(), lambda frames: 1 // 0
    )
    assert measure(*folders, blind, options) == first
    entries[0].write_bytes(b"")
    again = measure(*folders, tiny_extractor, options)
    assert again["value"] == first["value"]
    assert "unusable" in again["notes"][0]


def test_videos_of_either_kind_are_paired_by_name(tiny_extractor: Extractor, tmp_path: Path) -> None:
    for side, offset in (("a", 0), ("b", 10)):
        (tmp_path / side).mkdir()
        for name in ("x.mp4", "y.mp4", f"{side}_alone.mp4"):
            write_video(tmp_path / side / name, clip(offset + len(name), 12), 10)
        (tmp_path / side / "report.json").write_text("{}")
        (tmp_path / side / ".hidden.mp4").touch()
        (tmp_path / side / "notes").mkdir()
    found = measure(tmp_path / "a", tmp_path / "b", tiny_extractor, Options(start=2, count=9, draws=5))
    assert found["clips"] == 2
    assert found["floor"] is None
    assert found["protocol"]["frames_shown"] == "9 frames of each file from frame 2 on"
    others = "2 other files or folders (notes, report.json)"
    assert [note.split(": ")[1] for note in found["notes"]] == [others, others, "a_alone", "b_alone"]
    (tmp_path / "a" / "x.mp4").unlink()
    write_frames(tmp_path / "a" / "x", clip(1, 12))
    mixed = measure(tmp_path / "a", tmp_path / "b", tiny_extractor, QUICK)
    with pytest.raises(BadInput, match="decord"):  # which fails at pictures so small, where it is installed
        measure(tmp_path / "a", tmp_path / "b", tiny_extractor, Options(reader="decord"))
    with pytest.raises(InvalidArgument, match="unknown reader 'opencv'"):
        measure(tmp_path / "a", tmp_path / "b", tiny_extractor, Options(reader="opencv"))
    assert "(h264, png against h264)" in mixed["notes"][-1]


def test_folders_that_do_not_fit(
    folders: tuple[Path, Path], tiny_extractor: Extractor, tmp_path: Path
) -> None:
    generated, real = folders

    def refused(message: str, *sides: Path, options: Options = QUICK) -> None:
        with pytest.raises(BadInput, match=message):
            measure(*sides, tiny_extractor, options)

    refused("no such folder", tmp_path / "none", real)
    refused("a file; name a folder", real / "clip1" / "0.png", real)
    refused("one clip; name the folder above", real / "clip1", real)
    (tmp_path / "empty").mkdir()
    refused("none is there", tmp_path / "empty", real)
    write_frames(tmp_path / "other" / "elsewhere", clip(1))
    refused(
        "no clip name in common: elsewhere there, clip0, clip1, .* and 1 more here", tmp_path / "other", real
    )
    write_frames(tmp_path / "other" / "clip1", clip(1))
    refused("share a single clip, clip1", tmp_path / "other", real)
    write_frames(tmp_path / "other" / "clip2", clip(1, height=24))
    refused(r"clip2: .* is 24x24 and .* is 24x16", tmp_path / "other", real)
    refused("has 9 frames, but 10 are needed", *folders, options=Options(start=1, count=9))
    refused("has 9 frames, but 10 are needed", *folders, options=Options(start=9))
    refused("8 frames are compared, and the network needs at least 9", *folders, options=Options(count=8))
    for i in (9, 10):
        Image.fromarray(clip(1)[0].numpy()).save(generated / "clip3" / f"{i}.png")
    refused("clip0 has 9 where .*clip3 has 11: ask for 9 frames of each", generated, real)
    assert measure(generated, real, tiny_extractor, Options(count=9, draws=5))["clips"] == 6


def test_damaged_clips_are_named(folders: tuple[Path, Path], tiny_extractor: Extractor) -> None:
    (folders[0] / "clip4" / "3.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"clip4.3\.png"):
        measure(*folders, tiny_extractor, QUICK)

    class Broken(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 7), torch.nan)

    broken = Extractor("FVD-tiny", tiny_extractor.protocol, Broken(), tiny_extractor.prepare)
    with pytest.raises(BadInput, match=r"generated.clip0: .* not finite"):
        measure(*folders, broken, QUICK)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "a", clip(1))
    write_video(tmp_path / "a.mp4", clip(1), 10)
    with pytest.raises(BadInput, match=r"both a and a\.mp4 would be clip 'a'"):
        clips_in(tmp_path)


def test_videos_of_other_rates_are_compared_by_number_and_said(
    tiny_extractor: Extractor, tmp_path: Path
) -> None:
    for folder, fps in (("generated", 10.0), ("real", 25.0)):
        (tmp_path / folder).mkdir()
        for seed in range(2):
            write_video(tmp_path / folder / f"{seed}.mp4", clip(seed), fps)
    found = measure(tmp_path / "generated", tmp_path / "real", tiny_extractor, QUICK)
    assert found["per_frame"]["psnr"] is None or found["per_frame"]["psnr"] > 30
    (note,) = found["notes"]
    assert "10 against 25 frames a second" in note
    assert "by their numbers" in note
