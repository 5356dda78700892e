"""The video tokenizer in pieces: the same tokens and pixels as in one, in memory that does not grow with the clip."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cosmos_adapter.tokenizer.model import CosmosTokenizer, NetCodec, ScriptCodec
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.tokenizer.stream_state import StreamState
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.estimate.counting import FusedAttention, WorkCounter
from vidjacobi.models.tokenizer import StreamingTokenizer, VideoTokenizer

SPEC = TokenizerSpec(
    channels=8, channels_mult=(1, 2, 2), num_res_blocks=1, z_channels=4, embedding_dim=3, levels=(8, 5, 5),
    spatial_compression=8, video_height=16, video_width=24, num_video_frames=33,
)  # fmt: skip


def make_net(**changes):
    torch.manual_seed(0)
    return TokenizerNet(TokenizerSpec.from_config({**SPEC.to_config(), **changes})).eval().double()


@pytest.fixture(scope="module")
def tokenizer():
    return CosmosTokenizer(SPEC, NetCodec(make_net().float()))


def random_tokens(latents, seed=0, clips=1):
    return torch.randint(0, 200, (clips, latents, 2, 3), generator=torch.Generator().manual_seed(seed))


# frames for each latent frame -> channels_mult: the network halves time never, once and twice after the wavelets
STRIDES = {4: (1, 2, 2), 8: (1, 2, 2), 16: (1, 2, 2, 2)}


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("latents", [[1, 1, 1, 1], [1, 2, 1], [3, 1]])
@torch.no_grad()
def test_any_pieces_make_the_whole(stride, latents):
    net = make_net(
        temporal_compression=stride,
        spatial_compression=16,
        channels_mult=STRIDES[stride],
        num_video_frames=1 + 4 * stride,
        video_width=32,
        resolution=4096,  # no attention inside the levels
    )
    video = torch.randn(2, 3, 1 + 3 * stride, 16, 32, dtype=torch.float64)
    sizes = [1 + (latents[0] - 1) * stride] + [count * stride for count in latents[1:]]
    state, whole = StreamState(), net.to_latent(video)
    parts = [net.to_latent(piece, state) for piece in video.split(sizes, 2)]
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-10, rtol=0)
    state, codes = StreamState(), torch.rand_like(whole) * 2 - 1
    parts = [net.to_video(piece, state) for piece in codes.split(latents, 2)]
    torch.testing.assert_close(torch.cat(parts, 2), net.to_video(codes), atol=1e-10, rtol=0)


@pytest.mark.parametrize("clip", ["T1_32x32", "T9_32x48", "T33_16x32"])
@torch.no_grad()
def test_golden_in_pieces(shared, clip):
    folder: Path = shared / "golden" / "tokenizer_dv"
    net = TokenizerNet(TokenizerSpec.from_config(json.loads((folder / "config.json").read_text())))
    net.load_state_dict(load_file(folder / "model.safetensors"))
    io, codec = load_file(folder / "io.safetensors"), NetCodec(net)
    indices = codec.to_tokens(io[f"{clip}.video"])
    assert torch.equal(indices, io[f"{clip}.indices"])
    torch.testing.assert_close(codec.to_pixels(indices), io[f"{clip}.recon"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_follows_changes_no_bit(dtype):
    tokenizer = CosmosTokenizer(SPEC, NetCodec(make_net().to(dtype)))
    video = torch.rand(1, 3, 33, 16, 24) * 2 - 1
    tokens = tokenizer.encode(video)
    frames = tokenizer.to_frames(tokens)
    for latents in range(1, 5):
        assert torch.equal(tokenizer.encode(video[:, :, : 8 * latents - 7]), tokens[:, :latents])
        assert torch.equal(tokenizer.to_frames(tokens[:, :latents]), frames[:, :, : 8 * latents - 7])


def test_stream_makes_the_frames_of_the_whole(tokenizer):
    assert isinstance(tokenizer, StreamingTokenizer)
    tokens = random_tokens(5)
    for sizes in ([1, 1, 1, 1, 1], [2, 3], [5]):
        stream = tokenizer.frame_stream()
        parts = [stream.add(piece) for piece in tokens.split(sizes, 1)]
        assert [part.shape[2] for part in parts] == [8 * n - 7 * (i == 0) for i, n in enumerate(sizes)]
        assert torch.equal(torch.cat(parts, 2), tokenizer.to_frames(tokens))


def test_forks_do_not_disturb_each_other(tokenizer):
    context, futures = random_tokens(2), [random_tokens(2, seed) for seed in (1, 2)]
    stream = tokenizer.frame_stream()
    stream.add(context)
    streams = [stream.fork() for _ in futures]
    parts = [[], []]
    for step in range(2):  # the futures take turns, as samples of a rollout do
        for fork, future, made in zip(streams, futures, parts, strict=True):
            made.append(fork.add(future[:, step : step + 1]))
    for future, made in zip(futures, parts, strict=True):
        whole = tokenizer.to_frames(torch.cat([context, future], 1))
        assert torch.equal(torch.cat(made, 2), whole[:, :, 9:])


def test_stream_keeps_no_more_with_time(tokenizer):
    stream, sizes = tokenizer.frame_stream(), []
    for latent in random_tokens(5).split(1, 1):
        stream.add(latent)
        sizes.append(stream.nbytes)
    keys_and_values = 2 * 4 * 16 * 2 * 3  # of one latent frame: 16 channels at 2x3 places
    assert {after - before for before, after in pairwise(sizes)} == {keys_and_values}


@pytest.mark.unchecked  # the shape checks keep tensors alive, which would be counted
def test_memory_does_not_grow_with_the_clip():
    """The bytes of all tensors are counted on the meta device, where tensors have shapes and no numbers."""
    with torch.device("meta"):
        net = TokenizerNet(SPEC)
    codec = NetCodec(net)

    def peak(work, shape, dtype):
        with torch.no_grad(), FusedAttention(), WorkCounter() as counter:
            clip = torch.empty(shape, dtype=dtype, device="meta")
            return counter.of(lambda: work(clip))[1].peak

    def encoding(work, frames):
        return peak(work, (1, 3, frames, 320, 512), torch.float32)

    def rendering(work, latents):
        return peak(work, (1, latents, 40, 64), torch.long)

    # bytes of the keys and values of a latent frame, and of the pixels of a frame
    attended, frame = 2 * 4 * 16 * 40 * 64, 4 * 3 * 320 * 512
    short, long = (encoding(codec.to_tokens, frames) for frames in (17, 33))
    assert long - short < 3 * 2 * attended
    assert long < 0.6 * encoding(lambda clip: net.quantise(net.to_latent(clip)), 33)
    short, long = (rendering(codec.to_pixels, latents) for latents in (7, 9))
    # two more latent frames are 16 frames, which exist twice: as pieces, and in the clip that is made of them
    assert 2 * 16 * frame <= long - short < 2 * 16 * frame + attended
    long = rendering(codec.to_pixels, 5)
    assert long < 0.8 * rendering(lambda clip: net.to_video(net.quantizer.codes_of(clip)), 5)


def test_what_a_stream_refuses(tokenizer):
    stream = tokenizer.frame_stream()
    with pytest.raises(InvalidArgument, match="one clip"):
        stream.add(random_tokens(1, clips=2))
    with pytest.raises(InvalidArgument, match="one clip"):
        stream.add(random_tokens(1)[:, :0])
    with pytest.raises(InvalidArgument, match=r"0\.\.199"):
        stream.add(random_tokens(1) + 200)
    stream.add(random_tokens(5))
    with pytest.raises(InvalidArgument, match="at most 33"):
        stream.add(random_tokens(1))


def test_nan_in_a_stream_is_reported():
    net = make_net().float()
    net.post_quant_conv.conv3d.bias.data.fill_(float("nan"))
    with pytest.raises(BadModelOutput, match="decoder"):
        CosmosTokenizer(SPEC, NetCodec(net)).frame_stream().add(random_tokens(1))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_does_not_stream():
    script = torch.jit.script(torch.nn.Identity())
    codec = ScriptCodec(script, script, torch.device("cpu"), torch.float32)
    tokenizer = CosmosTokenizer(SPEC, codec)
    assert isinstance(tokenizer, VideoTokenizer)
    with pytest.raises(InvalidArgument, match=r"whole clips only.*without --run-torchscript"):
        tokenizer.frame_stream()
