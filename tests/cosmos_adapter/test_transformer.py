"""The network against the official one, and against itself with positions cut into windows in all ways."""

import random
from typing import Any

import pytest
import torch
from tiny_cosmos import REFERENCE, TINY, TINY_SPECS, TINY_TEXT, golden_case, tiny_network
from torch import Tensor

from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer, initialise
from cosmos_adapter.transformer.spec import PRESETS
from cosmos_adapter.transformer.weights import load_model
from vidjacobi.errors import InvalidArgument

GOLDENS = ("ar_base", "ar_yarn", "ar_video2world")


def causal(positions: Tensor, length: int) -> Tensor:
    return torch.arange(length)[None, None] <= positions[:, :, None]


def window(model: CosmosModel, tokens: Tensor, starts: list[int], cache: Any, length: int) -> Tensor:
    """One pass over tokens [b n] that follow the positions before ``starts`` of each clip; slots are positions."""
    positions = torch.tensor(starts)[:, None] + torch.arange(tokens.shape[1])
    return model.forward(tokens, positions, positions, causal(positions, length), cache)


def prefill(model: CosmosModel, tokens: Tensor, cache: Any) -> Tensor:
    return torch.cat(list(model.prefill(tokens, cache, tokens.shape[1])), dim=1)


def close(found: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


@pytest.fixture(params=GOLDENS)
def golden(request: Any) -> tuple[dict[str, Any], CosmosModel]:
    case = golden_case(request.param)
    model = load_model(case["path"])
    if "context" in case["io"]:
        model = model.with_context(case["io"]["context"])
    return case, model


def test_golden_prefill_steps_windows_and_rewind(golden: tuple[dict[str, Any], CosmosModel]) -> None:
    case, model = golden
    io, meta = case["io"], case["meta"]
    tokens, prompt, size = io["tokens"], meta["prompt_len"], meta["window"]
    length = model.spec.table_rows
    close(prefill(model, tokens, model.make_cache(2, length)), io["logits_full"])
    cache = model.make_cache(2, length)
    close(prefill(model, tokens[:, :prompt], cache), io["logits_prompt"])
    steps = range(prompt, prompt + meta["num_single_steps"])
    found = [window(model, tokens[:, i : i + 1], [i, i], cache, i + 1) for i in steps]
    close(torch.cat(found, 1), io["logits_steps"])
    start, draft, rewind = meta["window_start"], meta["draft_window_start"], meta["rewind_start"]
    found_window = window(model, tokens[:, start : start + size], [start] * 2, cache, length)
    close(found_window, io["logits_window"])
    found_draft = window(model, io["draft_tokens"], [draft] * 2, cache, draft + size)
    close(found_draft, io["logits_draft_window"])
    again = window(model, tokens[:, rewind : rewind + size], [rewind] * 2, cache, length)
    close(again, io["logits_after_rewind"])
    close(again, io["logits_full"][:, rewind : rewind + size])


def test_golden_cache_and_layers() -> None:
    case = golden_case("ar_base")
    model, io = load_model(case["path"]), case["io"]
    hidden: list[Tensor] = []
    for layer in model.network.layers:
        layer.register_forward_hook(lambda _module, _inputs, output: hidden.append(output))
    cache = model.make_cache(2, io["tokens"].shape[1])
    prefill(model, io["tokens"], cache)
    for index, entry in enumerate(cache):
        length = io["tokens"].shape[1]  # the cache has whole blocks of slots, a pass whole groups of rows
        close(entry.keys[:, :, :length], io[f"debug.cache_k.{index}"])
        close(entry.values[:, :, :length], io[f"debug.cache_v.{index}"])
        close(hidden[index][:, :length], io[f"debug.hidden_after_layer.{index}"])


def test_golden_greedy_tokens(golden: tuple[dict[str, Any], CosmosModel]) -> None:
    case, model = golden
    tokens, prompt = case["io"]["tokens"], case["meta"]["prompt_len"]
    cache = model.make_cache(2, model.max_positions)
    last = list(model.prefill(tokens[:, :prompt], cache, 1))[-1].argmax(-1)
    made = [last]
    for position in range(prompt, prompt + case["meta"]["greedy_len"] - 1):
        made.append(window(model, made[-1], [position] * 2, cache, position + 1).argmax(-1))
    assert torch.equal(torch.cat(made, 1), case["io"]["greedy_tokens"])


def test_golden_partial_context_mask() -> None:
    case = golden_case("ar_video2world")
    io, network = case["io"], load_model(case["path"]).network
    with torch.no_grad():
        found = network(io["tokens"], io["context"], io["context_mask_partial"])
    close(found, io["logits_full_partial_mask"])


def test_golden_bfloat16(golden: tuple[dict[str, Any], CosmosModel]) -> None:
    case, _ = golden
    model = load_model(case["path"], dtype=torch.bfloat16)
    if "context" in case["io"]:
        model = model.with_context(case["io"]["context"])
    found = prefill(model, case["io"]["tokens"], model.make_cache(2, model.max_positions))
    assert found.dtype == torch.bfloat16
    gap = (found.float() - case["io"]["logits_full_bf16"].float()).abs()
    assert gap.max() < 0.3
    assert gap.mean() < 0.03


def make(name: str, dtype: torch.dtype = torch.float64) -> CosmosModel:
    model = CosmosModel(tiny_network(TINY_SPECS[name], dtype))
    if not model.spec.insert_cross_attn:
        return model
    context = torch.randn(1, 5, model.spec.context_dim, generator=torch.Generator().manual_seed(9))
    return model.with_context(context)


def clips(model: CosmosModel, batch: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randint(0, model.vocab_size, (batch, model.spec.grid.tokens), generator=generator)
    front = torch.tensor(model.prefix_tokens, dtype=torch.long).expand(batch, -1)
    return torch.cat([front, grid], dim=1)


@pytest.mark.parametrize("name", TINY_SPECS)
@pytest.mark.parametrize("seed", range(3))
def test_any_split_into_windows_equals_the_prefill(name: str, seed: int) -> None:
    """Random windows over a random prompt. Before each one, drafts are fed that are then overwritten."""
    model, rng = make(name), random.Random(seed)
    tokens = clips(model, 2, seed)
    n = tokens.shape[1]
    full = prefill(model, tokens, model.make_cache(2, n))
    cache = model.make_cache(2, n)
    at = rng.randrange(1, n // 2)
    close(prefill(model, tokens[:, :at], cache), full[:, :at], 1e-11)
    while at < n:
        size = min(n - at, rng.choice([1, 1, 2, 3, 7]))
        drafts = torch.randint(0, model.vocab_size, (2, min(n - at, size + 4)))
        drafts[:, 0] = tokens[:, at]
        close(window(model, drafts, [at, at], cache, n)[:, :1], full[:, at : at + 1], 1e-11)
        found = window(model, tokens[:, at : at + size], [at, at], cache, at + size)
        close(found, full[:, at : at + size], 1e-11)
        at += size


@pytest.mark.parametrize("name", TINY_SPECS)
def test_clips_with_their_own_frontiers_equal_each_clip_alone(name: str) -> None:
    model = make(name)
    tokens = clips(model, 3)
    n, starts, size = tokens.shape[1], [4, 11, 20], 6
    full = prefill(model, tokens, model.make_cache(3, n))
    cache = model.make_cache(3, n)
    # every slot is filled, and those at the frontiers and after them are hidden
    prefill(model, tokens, cache)
    for entry in cache:
        for clip, start in enumerate(starts):
            entry.keys[clip, :, start:] = 1e3
            entry.values[clip, :, start:] = 1e3
    feed = torch.stack([tokens[clip, s : s + size] for clip, s in enumerate(starts)])
    found = window(model, feed, starts, cache, max(starts) + size)
    for clip, start in enumerate(starts):
        close(found[clip], full[clip, start : start + size], 1e-11)
        alone = model.make_cache(1, n)
        prefill(model, tokens[clip : clip + 1, :start], alone)
        close(window(model, feed[clip : clip + 1], [start], alone, start + size)[0], found[clip], 1e-11)


def test_slots_may_differ_from_positions_and_the_cache_be_longer() -> None:
    model = make("base")
    tokens = clips(model, 1)
    full = prefill(model, tokens, model.make_cache(1, 36))
    cache = model.make_cache(1, 50)
    prefill(model, tokens[:, :10], cache)
    positions, slots = torch.tensor([[10, 11]]), torch.tensor([[40, 30]])
    visible = torch.zeros(1, 2, 45, dtype=torch.bool)
    visible[:, :, :10] = True
    visible[:, :, 40] = True
    visible[:, 1, 30] = True
    close(model.forward(tokens[:, 10:12], positions, slots, visible, cache), full[:, 10:12], 1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_padding_inputs_are_finite_and_change_nothing(dtype: torch.dtype) -> None:
    model = make("base", dtype)
    tokens = clips(model, 1)
    cache = model.make_cache(1, 37)
    prefill(model, tokens[:, :8], cache)
    positions = torch.tensor([[8, 9, 35, 35]])
    slots = torch.tensor([[8, 9, 36, 36]])
    visible = causal(positions, 37)
    visible[:, 2:] = False  # these inputs see nothing at all, not even themselves
    visible[:, :, 36] = False
    found = model.forward(tokens[:, [8, 9, 0, 0]], positions, slots, visible, cache)
    assert found.isfinite().all()
    expected = window(model, tokens[:, 8:10], [8], cache, 10)
    close(found[:, :2], expected, 0.1 if dtype == torch.bfloat16 else 1e-4)


def test_prefill_yields_only_the_kept_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("base")
    tokens = clips(model, 2)
    full = prefill(model, tokens, model.make_cache(2, 36))
    monkeypatch.setattr("cosmos_adapter.transformer.model.HEAD_CHUNK", 5 * 2 * model.vocab_size)
    chunks = list(model.prefill(tokens[:, :20], model.make_cache(2, 20), 12))
    assert [chunk.shape[1] for chunk in chunks] == [5, 5, 2]
    close(torch.cat(chunks, 1), full[:, 8:20], 1e-11)
    cache = model.make_cache(2, 36)
    model.prefill(tokens[:, :20], cache, 1)  # the cache is filled even if the logits are never read
    close(window(model, tokens[:, 20:22], [20, 20], cache, 22), full[:, 20:22], 1e-11)


def test_wrong_calls_say_what_is_wrong() -> None:
    model, text = make("base"), CosmosModel(tiny_network(TINY_TEXT))
    tokens = clips(model, 1)
    with pytest.raises(InvalidArgument, match="keep=0"):
        model.prefill(tokens, model.make_cache(1, 36), 0)
    with pytest.raises(InvalidArgument, match="37 tokens are more than the 36"):
        model.prefill(torch.zeros(1, 37, dtype=torch.long), model.make_cache(1, 40), 1)
    with pytest.raises(InvalidArgument, match="context"):
        text.prefill(clips(text, 1), text.make_cache(1, 37), 1)
    with pytest.raises(InvalidArgument, match="no cross-attention"):
        model.with_context(torch.zeros(1, 4, 20))
    with pytest.raises(InvalidArgument, match="4 channels, expected 20"):
        text.with_context(torch.zeros(1, 3, 4))
    with pytest.raises(InvalidArgument, match="2 contexts for a batch of 3"):
        text.with_context(torch.zeros(2, 3, 20)).prefill(clips(text, 3), text.make_cache(3, 37), 1)


def test_protocol_members() -> None:
    model, text = make("base"), make("text")
    assert (model.vocab_size, model.max_positions, model.prefix_tokens) == (96, 36, ())
    assert (text.max_positions, text.prefix_tokens) == (37, (96,))
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float64)
    assert [model.grid_for(n).t for n in (1, 2, 9, 10, 17)] == [1, 2, 2, 3, 3]
    with pytest.raises(InvalidArgument, match="18 frames are more than the 17"):
        model.grid_for(18)
    with pytest.raises(InvalidArgument):
        model.grid_for(0)


@pytest.mark.parametrize("name", ["base", "yarn"])
def test_attention_with_gradients_has_the_same_numbers(name: str) -> None:
    """It is computed another way then; two query heads share a key head, and an input sees nothing later."""
    network = tiny_network(TINY_SPECS[name]).double().requires_grad_(True)
    tokens = torch.arange(7)[None] % network.spec.vocab_size
    positions = torch.arange(7)[None]
    entries = network.tok_embeddings(tokens)
    found = network.whole(entries, positions)
    with torch.no_grad():
        torch.testing.assert_close(found, network.whole(entries, positions), rtol=0, atol=1e-12)
        torch.testing.assert_close(
            found[:, :4], network.whole(entries[:, :4], positions[:, :4]), rtol=0, atol=1e-12
        )


def test_gradients_reach_every_parameter_under_autocast() -> None:
    network = CosmosTransformer(TINY)
    initialise(network, seed=3)
    tokens = torch.randint(0, 96, (2, 36))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(tokens)
    torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


COUNTS = {"4B": 4_014_088_192, "5B": 4_584_845_312, "12B": 11_560_975_360, "13B": 13_323_125_760}
TENSORS = {"4B": 179, "5B": 291, "12B": 443, "13B": 723}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_released_tensors(name: str) -> None:
    with torch.device("meta"):
        network = CosmosTransformer(PRESETS[name].spec)
    assert sum(p.numel() for p in network.parameters()) == COUNTS[name]
    state = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert len(state) == TENSORS[name]
    spec = PRESETS[name].spec
    assert spec.table_rows == (12864 if spec.begin_of_video else 12800)
    assert state["tok_embeddings.weight"][0] == (64064 if spec.begin_of_video else 64000)
    assert state["output.weight"] == [64000, spec.dim]
    assert state["layers.0.attention.wq.weight"] == [4096, spec.dim]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_equal_the_reference_list(name: str) -> None:
    import json

    listing = REFERENCE / "ar_state_dict_shapes.json"
    if not listing.is_file():
        pytest.skip("the reference list of tensors is not here")
    with torch.device("meta"):
        network = CosmosTransformer(PRESETS[name].spec)
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert shapes == json.loads(listing.read_text())[name.lower()]["tensors"]
