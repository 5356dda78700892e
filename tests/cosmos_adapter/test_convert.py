"""Conversion: bit for bit, all or nothing."""

import json
from pathlib import Path

import pytest
import torch
from tiny_cosmos import TINY_SPECS, tiny_network

from cosmos_adapter.transformer.convert import convert
from cosmos_adapter.transformer.hf import CosmosARForCausalLM
from cosmos_adapter.transformer.spec import ModelSpec
from cosmos_adapter.transformer.weights import load_model
from vidjacobi.errors import BadCheckpoint, InvalidArgument


def official(folder: Path, spec: ModelSpec, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A folder as released: prefixed names, FP8 leftovers, a config; returns the tensors."""
    folder.mkdir()
    state = tiny_network(spec, dtype).state_dict()
    extra = {"model.layers.0.attention._extra_state": torch.zeros(1)}
    torch.save({f"model.{k}": v for k, v in state.items()} | extra, folder / "model.pt")
    (folder / "config.json").write_text(json.dumps(spec.to_config()))
    return state


@pytest.mark.parametrize("name", TINY_SPECS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_round_trip_is_bit_equal(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    state = official(tmp_path / "in", TINY_SPECS[name], dtype)
    out = convert(tmp_path / "in", tmp_path / "deep" / "out")
    found = CosmosARForCausalLM.from_pretrained(out, dtype="auto").model.state_dict()
    assert found.keys() == state.keys()
    for key, tensor in state.items():
        assert found[key].dtype == dtype
        assert torch.equal(found[key], tensor)
    assert load_model(out).spec == TINY_SPECS[name]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_shards_an_empty_folder_and_a_second_conversion(tmp_path: Path) -> None:
    state = official(tmp_path / "in", TINY_SPECS["base"], torch.bfloat16)
    (tmp_path / "out").mkdir()
    convert(tmp_path / "in" / "model.pt", tmp_path / "out", max_shard_size="20KB")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    again = convert(tmp_path / "out", tmp_path / "again")
    found = load_model(again).network.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items())
    assert (again.stat().st_mode & 0o500) == 0o500


def test_nothing_is_overwritten_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official(tmp_path / "in", TINY_SPECS["base"], torch.bfloat16)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("keep me")
    for target in (full, full / "mine"):
        with pytest.raises(InvalidArgument, match="exists and is not an empty folder"):
            convert(tmp_path / "in", target)
    assert (full / "mine").read_text() == "keep me"

    def fail(*_arguments: object, **_keywords: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(CosmosARForCausalLM, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        convert(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "model.pt").write_bytes(b"PK")
    with pytest.raises(BadCheckpoint, match="truncated"):
        convert(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "in"]
