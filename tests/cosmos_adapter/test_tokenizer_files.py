"""The files of a tokenizer: all forms give the same tokenizer, and damaged, hostile or missing ones are refused."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_tokenizer import SPEC, export_scripts, make_net, make_video
from torch import nn

from cosmos_adapter.tokenizer.torchscript import read_torchscript
from cosmos_adapter.tokenizer.weights import CONSTANTS, load_tokenizer, read_spec, save_tokenizer
from vidjacobi.errors import BadCheckpoint

FP32 = torch.float32
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")


@pytest.fixture(scope="module")
def script_folder(tmp_path_factory):
    """A folder with encoder.jit, decoder.jit and config.json."""
    path = tmp_path_factory.mktemp("scripts")
    export_scripts(make_net(), path)
    (path / "config.json").write_text(json.dumps(SPEC.to_config()))
    return path


@pytest.fixture
def copy(tokenizer_folder, tmp_path):
    """A copy of the weights folder that a test may spoil."""
    return Path(shutil.copytree(tokenizer_folder, tmp_path / "copy"))


def test_official_defaults_without_config(tmp_path):
    spec = read_spec(tmp_path)
    assert (spec.video_height, spec.video_width, spec.num_video_frames, spec.vocab_size) == (
        640,
        1024,
        33,
        64_000,
    )


def test_save_and_load_round_trip(tokenizer_folder, tmp_path):
    net = load_tokenizer(tokenizer_folder, "cpu", FP32).codec.net
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), make_net().parameters(), strict=True))
    save_tokenizer(net, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tokenizer_folder / "model.safetensors"
    ).read_bytes()
    assert read_spec(tmp_path / "again") == SPEC


def test_pt_checkpoint(tokenizer_folder, copy):
    state = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save({"model": state}, copy / "model.pt")
    video = make_video(9)
    tokens = load_tokenizer(copy, "cpu", FP32).encode(video)
    assert torch.equal(tokens, load_tokenizer(tokenizer_folder, "cpu", FP32).encode(video))


@pytest.mark.parametrize("run_torchscript", [False, True])
def test_torchscript_pair_gives_the_same_results(tokenizer_folder, script_folder, run_torchscript):
    ours = load_tokenizer(tokenizer_folder, "cpu", FP32)
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
