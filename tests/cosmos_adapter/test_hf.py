"""The transformers wrapper: same logits, same names, same tokens."""

import json
from pathlib import Path

import pytest
import torch
from tiny_cosmos import TINY, TINY_SPECS, TINY_TEXT, golden_case, tiny_network
from transformers import Cache, DynamicCache, StaticCache

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


CACHES = {
    "none": {"use_cache": False},
    "default": {},
    "dynamic": {"cache_implementation": "dynamic"},
    "static": {"cache_implementation": "static"},
}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("name", ["base", "yarn"])
def test_generate_equals_cached_greedy(name: str, cache: str) -> None:
    network = tiny_network(TINY_SPECS[name], torch.float64)
    context = torch.randint(0, 96, (2, 12), generator=torch.Generator().manual_seed(4))
    made = CosmosARForCausalLM.from_network(network).generate(
        context, do_sample=False, max_new_tokens=10, **CACHES[cache]
    )
    assert torch.equal(made[:, :12], context)
    assert torch.equal(made[:, 12:], greedy(CosmosModel(network), context, 10))


def fresh_cache(kind: str, model: CosmosARForCausalLM) -> Cache:
    config = model.config
    return StaticCache(config, max_cache_len=24) if kind == "static" else DynamicCache(config=config)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_pieces_in_a_cache_are_the_whole_sequence(kind: str) -> None:
    """Positions go on where the cache ends, in pieces of any length, and no input sees a later one."""
    model = CosmosARForCausalLM.from_network(tiny_network(dtype=torch.float64))
    tokens = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(6))
    cache = fresh_cache(kind, model)
    with torch.no_grad():
        outs = [model(piece, past_key_values=cache) for piece in tokens.split([7, 1, 1, 5, 1, 9], 1)]
        torch.testing.assert_close(torch.cat([out.logits for out in outs], 1), model(tokens).logits)
    assert outs[-1].past_key_values is cache
    assert int(cache.get_seq_length()) == 24


def test_a_cached_pass_computes_its_own_inputs_only() -> None:
    """``generate`` with a cache, its default, feeds one token a pass, and asks the head for one row."""
    model = CosmosARForCausalLM.from_network(tiny_network())
    fed, asked = [], []
    model.model.tok_embeddings.register_forward_pre_hook(lambda _, args: fed.append(args[0].shape[1]))
    model.model.output.register_forward_pre_hook(lambda _, args: asked.append(args[0].shape[1]))
    model.generate(torch.arange(12)[None], do_sample=False, max_new_tokens=4)
    assert (fed, asked) == ([12, 1, 1, 1], [1, 1, 1, 1])


def test_beams_reorder_the_cache() -> None:
    model = CosmosARForCausalLM.from_network(tiny_network(dtype=torch.float64))
    context = torch.randint(0, 96, (2, 12), generator=torch.Generator().manual_seed(7))
    made = [
        model.generate(context, do_sample=False, num_beams=3, max_new_tokens=8, use_cache=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*made)


@pytest.mark.parametrize("cached", [True, False])
def test_generate_with_a_text_context(cached: bool) -> None:
    network = tiny_network(TINY_TEXT, torch.float64)
    text = torch.randn(1, 5, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    tokens = torch.cat([torch.tensor([[96]]), torch.randint(0, 96, (1, 12))], dim=1)
    made = CosmosARForCausalLM.from_network(network).generate(
        tokens, context=text, do_sample=False, use_cache=cached, max_new_tokens=10
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
    with pytest.raises(InvalidArgument, match="same length"):
        model.generate(
            tokens, attention_mask=torch.tensor([[0] + [1] * 7]), do_sample=False, max_new_tokens=2
        )
    with pytest.raises(InvalidArgument, match="position_ids must be 0 to 7"):
        model(tokens, position_ids=torch.arange(1, 9)[None])
    with pytest.raises(InvalidArgument, match="37 tokens are more than the 36 positions"):
        model(torch.zeros(1, 37, dtype=torch.long))
    with pytest.raises(InvalidArgument, match="Cache of transformers"):
        model(tokens, past_key_values=((tokens, tokens),))


@pytest.mark.parametrize(("kind", "room"), [("dynamic", 36), ("static", 24)])
def test_more_than_a_cache_holds_is_refused(kind: str, room: int) -> None:
    model = CosmosARForCausalLM.from_network(tiny_network())
    cache = fresh_cache(kind, model)
    model(torch.zeros(1, room, dtype=torch.long), past_key_values=cache)
    with pytest.raises(InvalidArgument, match=f"{room + 1} tokens are more than the {room} positions"):
        model(torch.zeros(1, 1, dtype=torch.long), past_key_values=cache)
