"""ImageGPT's files: its colours, and what old files have besides weights."""

import json
from pathlib import Path

import pytest
import tiny_nets as nets
import torch

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.gpt_blocks import GptBlocks
from vidjacobi.families.opening import open_family


def test_a_folder_with_colours(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    network = nets.imagegpt()
    network.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    state["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    colours = [[-1.0, 1.0, code / (nets.CODES - 1)] for code in range(nets.CODES)]
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({"clusters": colours}))
    family = open_family("imagegpt", tmp_path, "cpu", "float64")
    pixels = family.pixels(torch.arange(16)[None])
    assert pixels.shape == (1, 3, 4, 4)
    assert torch.equal(pixels[0, :2, 1, 2], torch.tensor([0.0, 1.0]))
    assert pixels[0, 2, 1, 2] == round(127.5 * (6 / 39 + 1)) / 255  # code 6 is the third of the second row
    for wrong in ({"clusters": colours[:-1]}, {"clusters": [[2.0, 0, 0]] * nets.CODES}, {}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(BadCheckpoint, match="colours"):
            open_family("imagegpt", tmp_path, "cpu", "float64")


def test_other_networks_have_no_blocks() -> None:
    with pytest.raises(InvalidArgument, match="Qwen2Model is not built as GPT-2: it has no wpe, h, ln_f"):
        GptBlocks(nets.qwen2().model)
    network = nets.gpt2().transformer
    network.config.add_cross_attention = True
    with pytest.raises(InvalidArgument, match="GPT2Model attends to an encoder"):
        GptBlocks(network)
