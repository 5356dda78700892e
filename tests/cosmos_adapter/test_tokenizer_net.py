"""The tokenizer network against outputs of the official code, and its causality and gradients."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cosmos_adapter.tokenizer.haar_fsq import patch, unpatch
from cosmos_adapter.tokenizer.model import CosmosTokenizer, NetCodec
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec

SHARED = Path(__file__).parents[2] / ".." / "shared"
GOLDEN = SHARED / "golden" / "tokenizer_dv"
SHAPES = SHARED / "reference" / "tokenizer_state_dict_shapes.json"
CLIPS = ["T1_32x32", "T9_32x48", "T33_16x32"]
SMALL = TokenizerSpec(
    channels=8, channels_mult=(1, 2, 2), num_res_blocks=1, z_channels=4, embedding_dim=3, levels=(8, 5, 5),
    spatial_compression=8, video_height=32, video_width=48, num_video_frames=33,
)  # fmt: skip


def small_net(spec=SMALL):
    torch.manual_seed(0)
    return TokenizerNet(spec).eval()


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"golden tensors of the tokenizer not found at {GOLDEN}")
    net = TokenizerNet(TokenizerSpec.from_config(json.loads((GOLDEN / "config.json").read_text()))).eval()
    net.load_state_dict(load_file(GOLDEN / "model.safetensors"), strict=True)
    return net, load_file(GOLDEN / "io.safetensors")


@pytest.mark.parametrize("clip", CLIPS)
def test_golden_encode(golden, clip):
    net, io = golden
    with torch.no_grad():
        latent = net.to_latent(io[f"{clip}.video"])
        codes, indices = net.quantise(latent)
    torch.testing.assert_close(latent, io[f"{clip}.pre_quant"], atol=1e-4, rtol=0)
    assert torch.equal(indices, io[f"{clip}.indices"])
    torch.testing.assert_close(codes, io[f"{clip}.codes"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("clip", CLIPS)
def test_golden_to_video(golden, clip):
    net, io = golden
    with torch.no_grad():
        recon = net.to_video(io[f"{clip}.codes"])
    torch.testing.assert_close(recon, io[f"{clip}.recon"], atol=1e-4, rtol=0)


def test_golden_random_tokens(golden):
    net, io = golden
    with torch.no_grad():
        video = net.to_video(net.quantizer.codes_of(io["random.indices"]))
    torch.testing.assert_close(video, io["random.video"], atol=1e-4, rtol=0)


def test_golden_patches(golden):
    io = golden[1]
    bands = io["debug.patched"]
    clip = next(v for k, v in io.items() if k.endswith(".video") and (v.shape[2] + 3) // 4 == bands.shape[2])
    torch.testing.assert_close(patch(clip, 4), bands, atol=1e-5, rtol=0)


def test_official_keys_and_shapes():
    if not SHAPES.exists():
        pytest.skip(f"official shapes not found at {SHAPES}")
    with torch.device("meta"):
        state = TokenizerNet(TokenizerSpec()).state_dict()
    assert {k: list(v.shape) for k, v in state.items()} == json.loads(SHAPES.read_text())
    assert sum(v.numel() for v in state.values()) == 110_898_294


@pytest.mark.parametrize("size", [1, 2, 4])
def test_patches_round_trip(size):
    video = torch.randn(2, 3, 9, 8, 16)
    assert patch(video, size).shape == (2, 3 * size**3, (9 + size - 1) // size, 8 // size, 16 // size)
    torch.testing.assert_close(unpatch(patch(video, size), size), video, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 9, 17, 33])
@pytest.mark.parametrize("stride", [8, 16])
def test_sizes(frames, stride):
    net = small_net(TokenizerSpec.from_config({**SMALL.to_config(), "spatial_compression": stride}))
    with torch.no_grad():
        latent = net.to_latent(torch.randn(1, 3, frames, 32, 48))
        assert latent.shape == (1, 3, 1 + frames // 8, 32 // stride, 48 // stride)
        assert net.to_video(latent).shape == (1, 3, frames, 32, 48)


def test_encoder_and_decoder_are_causal():
    net = small_net()
    video = torch.randn(2, 3, 33, 32, 48)
    with torch.no_grad():
        full = net.to_latent(video)
        torch.testing.assert_close(net.to_latent(video[:, :, :9]), full[:, :, :2], atol=1e-5, rtol=0)
        recon = net.to_video(full)
        torch.testing.assert_close(net.to_video(full[:, :, :2]), recon[:, :, :9], atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames", [1, 4, 5])
def test_a_tokenizer_without_compression_in_time(frames):
    """One latent frame for each frame, of any number: it was refused for every one."""
    spec = replace(
        SMALL, channels_mult=(1, 2, 2, 2), patch_size=1, spatial_compression=4, temporal_compression=1,
        num_video_frames=frames, attn_resolutions=(),
    )  # fmt: skip
    tokenizer = CosmosTokenizer(spec, NetCodec(small_net(spec)))
    pixels = torch.rand(1, 3, frames, 32, 48) * 2 - 1
    tokens = tokenizer.encode(pixels)
    assert tokens.shape == (1, frames, 8, 12)
    assert torch.equal(tokenizer.encode(pixels[:, :, :1]), tokens[:, :1])
    stream = tokenizer.frame_stream()
    whole = tokenizer.to_frames(tokens)
    assert torch.equal(torch.cat([stream.add(latent) for latent in tokens.split(1, 1)], 2), whole)
    assert whole.shape == pixels.shape


@pytest.mark.parametrize("autocast", [False, True])
def test_gradient_reaches_every_parameter(autocast):
    net = small_net().train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        recon, _ = net(torch.randn(1, 3, 17, 16, 24))
    recon.float().square().mean().backward()
    grads = {k: p.grad for k, p in net.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in grads.values())
    # a bias of the keys moves all scores alike; bf16 rounds the gradients of an untrained attention to 0
    expected = {k for k in grads if not (".attn_1." in k if autocast else k.endswith(".k.conv3d.bias"))}
    assert not {k for k in expected if not grads[k].abs().sum() > 0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": [8, 5]}, "levels"),
        ({"channels_mult": [1, 2]}, "channels_mult needs at least 3"),
        ({"spatial_compression": 12}, "powers of two"),
        ({"patch_method": "rearrange"}, "haar"),
        ({"attn_resolutions": [64]}, "attention"),
        ({"num_video_frames": 32}, "num_video_frames"),
        ({"video_width": 50}, "video_width"),
    ],
)
def test_bad_specs_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        TokenizerSpec.from_config({**SMALL.to_config(), **change})


def test_spec_round_trip():
    assert TokenizerSpec.from_config(SMALL.to_config() | {"not ours": 1}) == SMALL
