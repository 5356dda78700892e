"""``CosmosTokenizer``: the protocol, end-to-end goldens, and pixels and tokens that are refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_tokenizer import make_video

from cosmos_adapter.tokenizer.weights import load_tokenizer
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.models.codec import fit, to_uint8

E2E = Path(__file__).parents[2] / ".." / "shared" / "golden" / "e2e"
FP32 = torch.float32


def test_protocol(tokenizer_folder):
    tokenizer = load_tokenizer(tokenizer_folder, "cpu", FP32)
    assert (tokenizer.frame_size, tokenizer.stride_t, tokenizer.max_frames) == ((32, 48), 8, 33)
    assert tokenizer.vocab_size == 200
    video = make_video()
    tokens = tokenizer.encode(video)
    assert tokens.shape == (1, 5, 4, 6)
    assert len(tokens.unique()) > 20
    frames = tokenizer.to_frames(tokens)
    assert frames.shape == video.shape
    assert frames.dtype == FP32
    assert frames.min() >= 0
    assert frames.max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_context_alone_has_the_tokens_it_has_inside_the_clip(tokenizer_folder, dtype):
    tokenizer = load_tokenizer(tokenizer_folder, "cpu", dtype)
    video = make_video(batch=3)
    whole = tokenizer.encode(video)
    assert torch.equal(tokenizer.encode(video[:, :, :9]), whole[:, :2])
    assert torch.equal(tokenizer.encode(video[:, :, :1]), whole[:, :1])


def test_a_clip_does_not_depend_on_its_batch(tokenizer_folder):
    tokenizer = load_tokenizer(tokenizer_folder, "cpu", torch.bfloat16)
    video = make_video(9, batch=3)
    tokens = tokenizer.encode(video)
    frames = tokenizer.to_frames(tokens)
    for i in range(3):
        assert torch.equal(tokenizer.encode(video[i : i + 1]), tokens[i : i + 1])
        assert torch.equal(tokenizer.to_frames(tokens[i : i + 1]), frames[i : i + 1])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 8, 32, 48), "8 frames"),
        ((1, 3, 0, 32, 48), "0 frames"),
        ((1, 3, 41, 32, 48), "at most 33"),
        ((1, 3, 9, 30, 48), "30x48.*multiples of 8"),
        ((1, 3, 9, 32, 0), "multiples of 8"),
        ((1, 4, 9, 32, 48), "3 colour channels"),
    ],
)
def test_pixels_that_do_not_fit(tokenizer_folder, shape, words):
    tokenizer = load_tokenizer(tokenizer_folder, "cpu", FP32)
    with pytest.raises(InvalidArgument, match=words):
        tokenizer.encode(torch.zeros(shape))


def test_tokens_that_do_not_fit(tokenizer_folder):
    tokenizer = load_tokenizer(tokenizer_folder, "cpu", FP32)
    with pytest.raises(InvalidArgument, match=r"0\.\.199"):
        tokenizer.to_frames(torch.full((1, 2, 4, 6), 200))
    with pytest.raises(InvalidArgument, match="at most 33"):
        tokenizer.to_frames(torch.zeros(1, 6, 4, 6, dtype=torch.long))


def test_nan_is_reported(tokenizer_folder):
    tokenizer = load_tokenizer(tokenizer_folder, "cpu", FP32)
    with pytest.raises(BadModelOutput, match="encoder"):
        tokenizer.encode(torch.full((1, 3, 9, 32, 48), float("nan")))
    tokenizer.codec.net.post_quant_conv.conv3d.bias.fill_(float("nan"))
    with pytest.raises(BadModelOutput, match="decoder"):
        tokenizer.to_frames(torch.zeros(1, 2, 4, 6, dtype=torch.long))


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    if not E2E.exists():
        pytest.skip(f"golden tensors of the pipeline not found at {E2E}")
    path = tmp_path_factory.mktemp("official")
    shutil.copy(E2E / "tokenizer_model.safetensors", path / "model.safetensors")
    height, width = json.loads((E2E / "meta.json").read_text())["target_hw"]
    config = json.loads((E2E / "tokenizer_config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"video_height": height, "video_width": width}))
    return load_tokenizer(path, "cpu", FP32), load_file(E2E / "io.safetensors")


@pytest.mark.parametrize(("case", "context"), [("n9", 9), ("n1", 1)])
def test_golden_pipeline(official, case, context):
    tokenizer, io = official
    pixels = fit(io["frames_uint8"][-context:], tokenizer.frame_size)
    tokens = tokenizer.encode(pixels[None])
    assert torch.equal(tokens.flatten(), io[f"{case}.prompt_tokens"].flatten())
    frames = tokenizer.to_frames(io[f"{case}.indices"][None])[0]
    if f"{case}.video" in io:
        torch.testing.assert_close(frames, io[f"{case}.video"], atol=1e-4, rtol=0)
    difference = to_uint8(frames).int() - io[f"{case}.video_uint8_THWC"].int()
    assert difference.abs().max() <= 1
