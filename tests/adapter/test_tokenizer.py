"""``CosmosTokenizer``: loading in all its forms, the protocol, end-to-end goldens, and what is refused."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import jaxtyping
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cosmos_adapter.spec_tokenizer import TokenizerSpec
from cosmos_adapter.tokenizer_files import CONSTANTS, load_tokenizer, read_spec, save_tokenizer
from cosmos_adapter.tokenizer_net import TokenizerNet
from cosmos_adapter.torchscript import read_torchscript
from vidjacobi.errors import BadCheckpoint, BadModelOutput, InvalidArgument
from vidjacobi.frames import fit, to_uint8

E2E = Path(__file__).parents[2] / ".." / "shared" / "golden" / "e2e"
SPEC = TokenizerSpec(
    channels=8, channels_mult=(1, 2, 2), num_res_blocks=1, z_channels=4, embedding_dim=3, levels=(8, 5, 5),
    spatial_compression=8, video_height=32, video_width=48,
)  # fmt: skip
FP32 = torch.float32
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")


def make_net():
    torch.manual_seed(0)
    net = TokenizerNet(SPEC).eval()
    with torch.no_grad():  # spread the latents over many codes
        latent = net.to_latent(make_video())
        mean, std = (f(dim=(0, 2, 3, 4)) for f in (latent.mean, latent.std))
        last = net.quant_conv.conv3d
        last.weight.div_(std.view(-1, 1, 1, 1, 1))
        last.bias.sub_(mean).div_(std)
    return net


def make_video(frames=33, batch=1):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(batch, 3, 5, 4, 6, generator=generator) * 2 - 1
    smooth = nn.functional.interpolate(coarse, (33, 32, 48), mode="trilinear", align_corners=True)
    return smooth[:, :, :frames]


class Constants(nn.Module):
    """A module whose only contents are buffers, as the released files have them."""

    def __init__(self, **buffers):
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)


def haar_constants():
    return Constants(
        wavelets=torch.full((2,), 0.5**0.5), _arange=torch.arange(2), patch_size_buffer=torch.tensor([4])
    )


class ScriptEncoder(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.encoder, self.quant_conv, self.quantizer = net.encoder, net.quant_conv, net.quantizer

    def forward(self, video):
        codes, indices = self.quantizer(self.quant_conv(self.encoder(video)))
        return indices, codes, torch.zeros(1)


class ScriptInverse(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.quantizer = net.quantizer

    def forward(self, indices):
        return self.quantizer.codes_of(indices)


class ScriptDecoder(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.inv_quant = ScriptInverse(net)
        self.post_quant_conv, self.decoder = net.post_quant_conv, net.decoder

    def forward(self, indices):
        codes = self.inv_quant(indices)
        return self.decoder(self.post_quant_conv(codes.to(self.post_quant_conv.conv3d.weight.dtype)))


def export_scripts(net, folder):
    """Our small network as the released pair of files, with their extra buffers."""
    net.encoder.patcher3d = haar_constants()
    net.decoder.unpatcher3d = haar_constants()
    del net.decoder.unpatcher3d.patch_size_buffer
    for name, value in (
        ("_levels", torch.tensor(SPEC.levels)),
        ("_basis", torch.tensor([1, 8, 40])),
        ("implicit_codebook", torch.zeros(200, 3)),
    ):
        net.quantizer.register_buffer(name, value)
    jaxtyping.config.update("jaxtyping_disable", True)  # sizes are tensors while a trace is made
    try:
        encoder = torch.jit.trace(ScriptEncoder(net), make_video(9), check_trace=False)
        tokens = torch.zeros(1, 2, 4, 6, dtype=torch.int32)
        decoder = torch.jit.trace(ScriptDecoder(net), tokens, check_trace=False)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    encoder.save(folder / "encoder.jit")
    decoder.save(folder / "decoder.jit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """model.safetensors + config.json."""
    path = tmp_path_factory.mktemp("weights")
    save_tokenizer(make_net(), path)
    return path


@pytest.fixture(scope="module")
def script_folder(tmp_path_factory):
    """encoder.jit + decoder.jit + config.json."""
    path = tmp_path_factory.mktemp("scripts")
    export_scripts(make_net(), path)
    (path / "config.json").write_text(json.dumps(SPEC.to_config()))
    return path


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the weights folder that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_protocol(folder):
    tokenizer = load_tokenizer(folder, "cpu", FP32)
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


def test_official_defaults_without_config(tmp_path):
    spec = read_spec(tmp_path)
    assert (spec.video_height, spec.video_width, spec.num_video_frames, spec.vocab_size) == (
        640,
        1024,
        33,
        64_000,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_context_alone_has_the_tokens_it_has_inside_the_clip(folder, dtype):
    tokenizer = load_tokenizer(folder, "cpu", dtype)
    video = make_video(batch=3)
    whole = tokenizer.encode(video)
    assert torch.equal(tokenizer.encode(video[:, :, :9]), whole[:, :2])
    assert torch.equal(tokenizer.encode(video[:, :, :1]), whole[:, :1])


def test_a_clip_does_not_depend_on_its_batch(folder):
    tokenizer = load_tokenizer(folder, "cpu", torch.bfloat16)
    video = make_video(9, batch=3)
    tokens = tokenizer.encode(video)
    frames = tokenizer.to_frames(tokens)
    for i in range(3):
        assert torch.equal(tokenizer.encode(video[i : i + 1]), tokens[i : i + 1])
        assert torch.equal(tokenizer.to_frames(tokens[i : i + 1]), frames[i : i + 1])


def test_save_and_load_round_trip(folder, tmp_path):
    net = load_tokenizer(folder, "cpu", FP32).codec.net
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), make_net().parameters(), strict=True))
    save_tokenizer(net, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()
    assert read_spec(tmp_path / "again") == SPEC


def test_pt_checkpoint(folder, copy):
    state = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save({"model": state}, copy / "model.pt")
    video = make_video(9)
    tokens = load_tokenizer(copy, "cpu", FP32).encode(video)
    assert torch.equal(tokens, load_tokenizer(folder, "cpu", FP32).encode(video))


@pytest.mark.parametrize("run_torchscript", [False, True])
def test_torchscript_pair_gives_the_same_results(folder, script_folder, run_torchscript):
    ours = load_tokenizer(folder, "cpu", FP32)
    theirs = load_tokenizer(script_folder, "cpu", FP32, run_torchscript=run_torchscript)
    for frames in (9, 33):
        video = make_video(frames, batch=2)
        tokens = ours.encode(video)
        assert torch.equal(theirs.encode(video), tokens)
        torch.testing.assert_close(theirs.to_frames(tokens), ours.to_frames(tokens), atol=1e-5, rtol=0)


def test_torchscript_reader_equals_torchs(script_folder):
    for name in ("encoder.jit", "decoder.jit"):
        mine = read_torchscript(script_folder / name)
        official = torch.jit.load(script_folder / name).state_dict()
        assert mine.keys() == official.keys()
        assert all(torch.equal(mine[k], official[k]) and mine[k].dtype == official[k].dtype for k in mine)
        assert set(CONSTANTS) & mine.keys()


def test_torchscript_reader_on_a_scripted_bf16_module(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=(2, 1)), nn.BatchNorm2d(4)).bfloat16()
    script = torch.jit.script(module)
    script.save(tmp_path / "m.jit")
    mine = read_torchscript(tmp_path / "m.jit")
    assert mine.keys() == module.state_dict().keys()
    assert all(torch.equal(mine[k], v) for k, v in module.state_dict().items())


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["model.pt", "encoder.jit"])
def test_malicious_files_do_not_run(copy, script_folder, name):
    bait = copy / "ran"
    (copy / "model.safetensors").unlink()
    if name == "model.pt":
        torch.save({"weight": Malicious(bait)}, copy / name)
    else:
        shutil.copy(script_folder / "decoder.jit", copy)
        with zipfile.ZipFile(copy / name, "w") as archive:
            archive.writestr("encoder/data.pkl", pickle.dumps(Malicious(bait)))
    with pytest.raises(BadCheckpoint, match=name):
        load_tokenizer(copy, "cpu", FP32)
    assert not bait.exists()


@pytest.mark.parametrize("run_torchscript", [False, True])
@pytest.mark.parametrize("damage", ["empty", "pointer", "text", "truncated"])
def test_damaged_torchscript(script_folder, tmp_path, damage, run_torchscript):
    spoilt = Path(shutil.copytree(script_folder, tmp_path / "spoilt"))
    whole = (spoilt / "encoder.jit").read_bytes()
    content = {
        "empty": b"",
        "pointer": b"version https://git-lfs.github.com/spec/v1",
        "text": b"hello",
        "truncated": whole[: len(whole) // 2],
    }[damage]
    (spoilt / "encoder.jit").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"encoder\.jit"):
        load_tokenizer(spoilt, "cpu", FP32, run_torchscript=run_torchscript)


def test_truncated_safetensors(copy):
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match="truncated"):
        load_tokenizer(copy, "cpu", FP32)


def test_missing_unexpected_and_misshapen_tensors_are_listed(copy):
    state = load_file(copy / "model.safetensors")
    state["stranger.weight"] = state.pop("quant_conv.conv3d.bias")
    state["decoder.norm_out.norm.weight"] = torch.zeros(7)
    save_file(state, copy / "model.safetensors")
    with pytest.raises(BadCheckpoint) as caught:
        load_tokenizer(copy, "cpu", FP32)
    for words in (
        "quant_conv.conv3d.bias",
        "stranger.weight",
        "decoder.norm_out.norm.weight [7], expected [8]",
    ):
        assert words in str(caught.value)


def test_missing_files_are_named(tmp_path, script_folder):
    with pytest.raises(BadCheckpoint, match="no tokenizer folder"):
        load_tokenizer(tmp_path / "nowhere", "cpu", FP32)
    with pytest.raises(BadCheckpoint, match=r"put model\.safetensors.*not found: encoder\.jit, decoder\.jit"):
        load_tokenizer(tmp_path, "cpu", FP32)
    shutil.copy(script_folder / "encoder.jit", tmp_path)
    for run_torchscript in (False, True):
        with pytest.raises(BadCheckpoint, match=r"not found: decoder\.jit"):
            load_tokenizer(tmp_path, "cpu", FP32, run_torchscript=run_torchscript)


def test_weights_without_config_are_measured_against_the_official_ones(copy):
    (copy / "config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"no config\.json there"):
        load_tokenizer(copy, "cpu", FP32)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"levels": [8]}', '{"channels_mult": 3}', '{"channels": "a"}']
)
def test_bad_config(copy, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        load_tokenizer(copy, "cpu", FP32)


def test_constants_in_the_file_are_checked(copy):
    state = load_file(copy / "model.safetensors")
    haar = torch.full((2,), 0.5**0.5)
    good = {"quantizer._levels": torch.tensor(SPEC.levels), "encoder.patcher3d.wavelets": haar}
    bad = {"quantizer._levels": torch.tensor([5, 8, 5]), "encoder.patcher3d.wavelets": haar[:1]}
    save_file(state | good, copy / "model.safetensors")
    load_tokenizer(copy, "cpu", FP32)
    for name, value in bad.items():
        save_file(state | {name: value}, copy / "model.safetensors")
        with pytest.raises(BadCheckpoint, match=name):
            load_tokenizer(copy, "cpu", FP32)


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
def test_pixels_that_do_not_fit(folder, shape, words):
    tokenizer = load_tokenizer(folder, "cpu", FP32)
    with pytest.raises(InvalidArgument, match=words):
        tokenizer.encode(torch.zeros(shape))


def test_tokens_that_do_not_fit(folder):
    tokenizer = load_tokenizer(folder, "cpu", FP32)
    with pytest.raises(InvalidArgument, match=r"0\.\.199"):
        tokenizer.to_frames(torch.full((1, 2, 4, 6), 200))
    with pytest.raises(InvalidArgument, match="at most 33"):
        tokenizer.to_frames(torch.zeros(1, 6, 4, 6, dtype=torch.long))


def test_nan_is_reported(folder):
    tokenizer = load_tokenizer(folder, "cpu", FP32)
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
