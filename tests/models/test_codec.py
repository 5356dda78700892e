"""Preprocessing against the official pipeline's outputs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vidjacobi.models.codec import as_seen, covering_size, fit, to_uint8

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "preprocess"


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"golden tensors of the preprocessing not found at {GOLDEN}")
    return json.loads((GOLDEN / "meta.json").read_text()), load_file(GOLDEN / "io.safetensors")


@pytest.mark.parametrize("case", ["down", "up", "one"])
def test_golden_clips(golden, case):
    meta, io = golden
    size, n = tuple(meta[case]["target_hw"]), meta[case]["num_input_frames"]
    frames = io[f"{case}.frames_uint8"]
    torch.testing.assert_close(fit(frames[-n:], size), io[f"{case}.official"][0, :, :n], atol=1e-6, rtol=0)
    first = fit(frames[:n], size)
    torch.testing.assert_close(first, io[f"{case}.scd_first_frames"][0, :, :n], atol=1e-6, rtol=0)


def test_golden_image(golden):
    meta, io = golden
    pixels = fit(io["image.uint8"][None], tuple(meta["image"]["target_hw"]))
    torch.testing.assert_close(pixels, io["image.official"][0], atol=1e-6, rtol=0)


def test_golden_to_uint8(golden):
    io = golden[1]
    assert torch.equal(to_uint8(io["to_uint8.in"]), io["to_uint8.out_THWC"])


@pytest.mark.parametrize("source", [(32, 48), (33, 47), (48, 32), (1, 1), (500, 7), (640, 1024), (31, 49)])
def test_any_source_size_is_covered(source):
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (2, *source, 3), dtype=torch.uint8)
    pixels = fit(frames, (32, 48))
    assert pixels.shape == (3, 2, 32, 48)
    assert pixels.abs().max() <= 1
    height, width = covering_size(source, (32, 48))
    assert height >= 32
    assert width >= 48


def test_frames_of_the_right_size_come_back_exactly():
    frames = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(2, -1, -1, 3)
    pixels = fit(frames, (16, 16))
    assert torch.equal(pixels[:, 0, :, 0], frames[0, :, 0].T / 255.0 * 2 - 1)
    assert torch.equal(as_seen(pixels), frames)


def test_to_uint8_truncates_and_does_not_wrap():
    values = torch.tensor([-0.1, 0.0, 0.999, 1.0, 1.1]).view(1, 1, 1, 5).expand(3, -1, -1, -1)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 254, 255, 255]


@pytest.mark.parametrize("shape", [(2, 8, 8, 4), (2, 8, 8, 1), (0, 8, 8, 3), (2, 8, 0, 3)])
def test_wrong_frames_are_refused(shape):
    with pytest.raises(ValueError, match="uint8"):
        fit(torch.zeros(shape, dtype=torch.uint8), (8, 8))
    with pytest.raises(ValueError, match="positive"):
        fit(torch.zeros((1, 8, 8, 3), dtype=torch.uint8), (0, 8))
