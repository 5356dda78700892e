"""Chameleon's image tokenizer under Meta's names: codes of ``transformers``, pixels of plain layers."""

from pathlib import Path
from typing import Any

import pytest
import tiny_pictures as tiny
import torch
import torch.nn.functional as F
from torch import Tensor

from vidjacobi.cli.main import main
from vidjacobi.errors import BadCheckpoint
from vidjacobi.families import chameleon_pixels
from vidjacobi.runtime import choose
from vidjacobi.video.images import read_image

LEVELS, WIDE = 5, 32


class Plain:
    """The decoder as its authors write it, over tensors by name."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, self.state[f"{name}.weight"], self.state[f"{name}.bias"], 1e-6)

    def block(self, name: str, x: Tensor) -> Tensor:
        hidden = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)))
        hidden = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", hidden)))
        shortcut = f"{name}.nin_shortcut"
        return hidden + (self.conv(shortcut, x) if f"{shortcut}.weight" in self.state else x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        normed = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{part}", normed).flatten(2) for part in "qkv")
        weights = (torch.einsum("bci,bcj->bij", q, k) / q.shape[1] ** 0.5).softmax(-1)
        return x + self.conv(f"{name}.proj_out", torch.einsum("bij,bcj->bci", weights, v).view_as(x))

    def pixels(self, codes: Tensor) -> Tensor:
        x = self.state["quantize.embedding.weight"][codes].permute(0, 3, 1, 2)
        x = self.conv("decoder.conv_in", self.conv("post_quant_conv", x))
        x = self.attention("decoder.mid.attn_1", self.block("decoder.mid.block_1", x))
        x = self.block("decoder.mid.block_2", x)
        for level in reversed(range(LEVELS)):
            for number in range(2):
                x = self.block(f"decoder.up.{level}.block.{number}", x)
            if level:
                x = self.conv(
                    f"decoder.up.{level}.upsample.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                )
        return self.conv("decoder.conv_out", F.silu(self.norm("decoder.norm_out", x)))


@pytest.fixture(scope="module")
def vqgan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return tiny.write_vqgan(tmp_path_factory.mktemp("vqgan"))


def test_pixels_are_those_of_plain_layers(vqgan: tuple[Path, Any]) -> None:
    path, encoder = vqgan
    found = chameleon_pixels.load(path, choose("cpu", "float32"))
    assert (found.network.stride, found.network.codes) == (16, 40)
    state = torch.load(path, weights_only=True)["state_dict"]
    codes = torch.arange(24).view(2, 3, 4)
    wanted = (Plain(state).pixels(codes).clamp(-1, 1) + 1) / 2
    assert wanted.std() > 0.05
    assert (found.pixels(codes) - wanted).abs().max() < 1e-5
    pictures = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    wanted = encoder.encode(pictures).image_tokens.view(2, 2, 3)
    assert torch.equal(found.network.codes_of(pictures), wanted)
    assert len(wanted.unique()) > 3


def test_other_files_are_refused(vqgan: tuple[Path, Any], tmp_path: Path) -> None:
    saved = torch.load(vqgan[0], weights_only=True)
    runtime, state = choose("cpu", "float32"), saved["state_dict"]
    lost = state.pop("decoder.up.3.block.1.conv2.weight")
    torch.save(saved, tmp_path / "vqgan.ckpt")
    with pytest.raises(BadCheckpoint, match=r"up_blocks\.1\.resnets\.1\.conv2\.weight"):
        chameleon_pixels.load(tmp_path, runtime)
    state["decoder.up.3.block.1.conv2.weight"] = lost
    state["decoder.up.3.attn.0.norm.weight"] = torch.ones(WIDE)
    torch.save(saved, tmp_path / "vqgan.ckpt")
    with pytest.raises(BadCheckpoint, match=r"attn\.0\.norm"):
        chameleon_pixels.load(tmp_path, runtime)
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "vqgan.ckpt")
    with pytest.raises(BadCheckpoint, match=r"no image tokenizer of Chameleon.*Meta's vqgan\.ckpt"):
        chameleon_pixels.load(tmp_path, runtime)


@pytest.mark.slow
def test_the_command_makes_pictures(vqgan: tuple[Path, Any], tmp_path: Path, capsys: Any) -> None:
    model = tiny.write_lumina(tmp_path / "lumina")
    words = [
        "image",
        "a red barn",
        "--model",
        model,
        "--size",
        "64x64",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--tokenizer", str(vqgan[0])]) == 0, capsys.readouterr().err
    (picture,) = (tmp_path / "out" / "pictures").glob("*.png")
    assert read_image(picture).shape[-3:] == (64, 64, 3)
