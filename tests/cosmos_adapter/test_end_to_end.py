"""From frames to frames, greedily: every decoder that is not lossy gives the tokens of the official pipeline."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cosmos_adapter.tokenizer.model import CosmosTokenizer, NetCodec
from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.weights import load_network
from vidjacobi import rollout
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.models.protocol import flatten
from vidjacobi.sampling.probs import SamplingParams


@pytest.fixture(scope="module")
def golden(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = shared / "golden" / "e2e"
    copy = tmp_path_factory.mktemp("e2e")
    (copy / "model.safetensors").symlink_to((folder / "ar_model.safetensors").resolve())
    (copy / "config.json").symlink_to((folder / "ar_config.json").resolve())
    model = CosmosModel(load_network(copy))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    sizes = {"video_height": 32, "video_width": 48, "num_video_frames": 33}
    spec = TokenizerSpec.from_config({**config, **sizes})
    net = TokenizerNet(spec)
    net.load_state_dict(load_file(folder / "tokenizer_model.safetensors"))
    tokenizer = CosmosTokenizer(spec, NetCodec(net))
    return {"model": model, "tokenizer": tokenizer, "io": load_file(folder / "io.safetensors")}


@pytest.mark.parametrize(
    "decoder", [name for name in config_names("decoder") if load_decoder(name).guarantee != "lossy"]
)
@pytest.mark.parametrize(("case", "context"), [("n9", 9), ("n1", 1)])
def test_rollout_is_the_official_one(golden: dict, case: str, context: int, decoder: str) -> None:
    io = golden["io"]
    frames = io["frames_uint8"][-context:]  # the official pipeline takes the last frames as context
    rolled = rollout(
        frames,
        golden["model"],
        golden["tokenizer"],
        33 - context,
        decoder=decoder,
        sampling=SamplingParams(temperature=0.0),
    )
    given = flatten(golden["model"], rolled.tokens[:, : 1 + (context - 1) // 8])
    assert (given[0] == io[f"{case}.prompt_tokens"]).all()
    assert (rolled.tokens[0] == io[f"{case}.indices"]).all()
    expected = io[f"{case}.video_uint8_THWC"][context:].int()
    assert (rolled.predicted[0].int() - expected).abs().max() <= 1
    assert torch.equal(rolled.context, frames)
