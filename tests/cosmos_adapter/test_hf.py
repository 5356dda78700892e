"""The transformers wrapper: same logits, same names, same tokens."""

import json
from pathlib import Path

import pytest
import torch
from tiny_cosmos import TINY, TINY_SPECS, TINY_TEXT, golden_case, tiny_network

from cosmos_adapter.transformer.hf import CosmosARConfig, CosmosARForCausalLM
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.weights import load_model
from vidjacobi.errors import BadCheckpoint, InvalidArgument


@pytest.mark.parametrize("name", TINY_SPECS)
def test_config_round_trip(tmp_path: Path, name: str) -> None:
    config = CosmosARConfig(**TINY_SPECS[name].to_config())
    assert config.spec == TINY_SPECS[name]
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (48, 2, 96)
    config.save_pretrained(tmp_path)
    assert CosmosARConfig.from_pretrained(tmp_path).spec == TINY_SPECS[name]
    written = json.loads((tmp_path / "config.json").read_text())
    assert TINY_SPECS[name].to_config().items() <= written.items()
    assert written["model_type"] == "cosmos_ar"


def test_config_refuses_impossible_sizes() -> None:
    with pytest.raises(BadCheckpoint, match="n_kv_heads=3"):
        CosmosARConfig(n_kv_heads=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shard", ["20KB", "5GB"])
def test_save_and_load(tmp_path: Path, dtype: torch.dtype, shard: str) -> None:
    network = tiny_network(TINY_TEXT, dtype)
    model = CosmosARForCausalLM.from_network(network)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    again = CosmosARForCausalLM.from_pretrained(tmp_path, dtype="auto")
    state, found = network.state_dict(), again.model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert all(p.dtype == dtype for p in again.parameters())
    ours = load_model(tmp_path)
    assert ours.spec == TINY_TEXT
    assert all(torch.equal(ours.network.state_dict()[name], tensor) for name, tensor in state.items())


def test_dtype_and_device_map(tmp_path: Path) -> None:
    CosmosARForCausalLM.from_network(tiny_network()).save_pretrained(tmp_path)
    model = CosmosARForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, device_map="cpu")
    assert all(p.dtype == torch.bfloat16 and p.device.type == "cpu" for p in model.parameters())
    tokens = torch.arange(12)[None]
    assert model(tokens).logits.shape == (1, 12, 96)


def test_layers_on_their_own_devices(tmp_path: Path) -> None:
    """accelerate's hooks move what the layers share. On one machine the disk serves as the second device."""
    network = tiny_network()
    CosmosARForCausalLM.from_network(network).save_pretrained(tmp_path / "model")
    places = {
        "model.layers.1": "disk",
        **dict.fromkeys(("model.layers.0", "model.norm", "model.output"), "cpu"),
    }
    model = CosmosARForCausalLM.from_pretrained(
        tmp_path / "model",
        device_map={"model.tok_embeddings": "cpu", **places},
        offload_folder=tmp_path / "offload",
        dtype=torch.float32,
    )
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, network(tokens))


def test_from_scratch_and_loss() -> None:
    torch.manual_seed(0)
    model = CosmosARForCausalLM(CosmosARConfig(**TINY.to_config()))
    tokens = torch.randint(0, 96, (2, 36))
    out = model(tokens, labels=tokens)
    assert out.loss.item() == pytest.approx(torch.tensor(96.0).log().item(), abs=0.3)
    out.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def greedy(model: CosmosModel, context: torch.Tensor, new: int) -> torch.Tensor:
    """Plain cached greedy decoding, one token per pass."""
    cache = model.make_cache(context.shape[0], model.max_positions)
    made = [list(model.prefill(context, cache, 1))[-1].argmax(-1)]
    for position in range(context.shape[1], context.shape[1] + new - 1):
        at = torch.full_like(made[-1], position)
        visible = (torch.arange(position + 1) <= position).expand(len(at), 1, -1)
        made.append(model.forward(made[-1], at, at, visible, cache).argmax(-1))
    return torch.cat(made, dim=1)


@pytest.mark.parametrize("name", ["base", "yarn"])
def test_generate_without_cache_equals_cached_greedy(name: str) -> None:
    network = tiny_network(TINY_SPECS[name], torch.float64)
    context = torch.randint(0, 96, (2, 12), generator=torch.Generator().manual_seed(4))
    model = CosmosARForCausalLM.from_network(network)
    for extra in ({}, {"use_cache": False}):
        made = model.generate(context, do_sample=False, max_new_tokens=10, **extra)
        assert torch.equal(made[:, :12], context)
        assert torch.equal(made[:, 12:], greedy(CosmosModel(network), context, 10))


def test_generate_with_a_text_context() -> None:
    network = tiny_network(TINY_TEXT, torch.float64)
    text = torch.randn(1, 5, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    tokens = torch.cat([torch.tensor([[96]]), torch.randint(0, 96, (1, 12))], dim=1)
    made = CosmosARForCausalLM.from_network(network).generate(
        tokens, context=text, do_sample=False, use_cache=False, max_new_tokens=10
    )
    assert torch.equal(made[:, 13:], greedy(CosmosModel(network).with_context(text), tokens, 10))


@pytest.mark.parametrize("name", ["ar_base", "ar_yarn", "ar_video2world"])
def test_golden_greedy_tokens(name: str) -> None:
    case = golden_case(name)
    prompt, new = case["meta"]["prompt_len"], case["meta"]["greedy_len"]
    extra = {"context": case["io"]["context"]} if "context" in case["io"] else {}
    model = CosmosARForCausalLM.from_network(load_model(case["path"]).network)
    made = model.generate(
        case["io"]["tokens"][:, :prompt], do_sample=False, use_cache=False, max_new_tokens=new, **extra
    )
    assert torch.equal(made[:, prompt:], case["io"]["greedy_tokens"])


def test_what_the_wrapper_does_not_do() -> None:
    model = CosmosARForCausalLM.from_network(tiny_network())
    tokens = torch.arange(8)[None]
    with pytest.raises(InvalidArgument, match="same length"):
        model(tokens, attention_mask=torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1]]))
    with pytest.raises(InvalidArgument, match="use_cache=False"):
        model.generate(tokens, do_sample=False, use_cache=True, max_new_tokens=2)
