"""Every pass of every decoder on the meta device, where tensors have no numbers that could be read or moved."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_cosmos import TINY, TINY_TEXT
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import strategies_of
from vidjacobi.decoding.commit import Evaluated
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.recipe import Clips, Recipe
from vidjacobi.decoding.state import tensors_of
from vidjacobi.decoding.step import evaluate, step
from vidjacobi.decoding.window import PassSize, plan_window
from vidjacobi.sampling.probs import SamplingParams

# operations that wait for the device, have shapes that depend on numbers, or bring numbers from the host
WAITING = {
    "item",
    "_local_scalar_dense",
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "unique",
    "lift_fresh",
}
HOST_NUMBERS = (torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.tolist, Tensor.item)
# the other decoders are made of the same parts
EACH_KIND = ("pathwise", "fast", "sjd", "gsd", "pjd_temporal", "adaptive")
DECODERS = [
    pytest.param(name, marks=() if name in EACH_KIND else pytest.mark.slow)
    for name in config_names("decoder")
    if load_decoder(name).draft
]


class Strict(TorchDispatchMode):
    """Refuses these operations and tensors on other devices, and records all operations with their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        assert name not in WAITING, name
        indexed = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        assert all(index is None or index.dtype != torch.bool for index in indexed), "a mask as an index"
        results = func(*args, **(kwargs or {}))
        found = [x for x in tree_leaves((args, kwargs, results)) if isinstance(x, Tensor)]
        assert {x.device.type for x in found} <= {"meta"}, f"{name}: {[x.device for x in found]}"
        self.log.append((name, tuple(tuple(x.shape) for x in tree_leaves(results) if isinstance(x, Tensor))))
        return results


class NoHostNumbers(TorchFunctionMode):
    """Refuses tensors that are made of the host's numbers, some of which the dispatcher never sees."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in HOST_NUMBERS, func
        return func(*args, **(kwargs or {}))


class Seen:
    """What the device does in a pass, looked at: its operations, and the shapes of what comes out."""

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.shapes: list[Any] = []

    def __call__(self, *given: Any) -> Evaluated:
        with NoHostNumbers(), Strict() as strict:
            found = evaluate(*given)
        self.logs.append(strict.log)
        made = tensors_of(replace(found, inputs=None))
        self.shapes.append([(tensor.shape, tensor.dtype) for tensor in made])
        return found


def case(decoder: str, spec: Any = TINY) -> tuple[Recipe, Clips]:
    with torch.device("meta"):
        network = CosmosTransformer(spec)
        model = CosmosModel(network)
        if spec.insert_cross_attn:
            model = model.with_context(torch.empty(2, 7, spec.context_dim))
        clips = Clips.of([torch.zeros(13, dtype=torch.long)] * 2, [22] * 2, 0, [0, 0], model.device)
    strategies = strategies_of(load_decoder(decoder))
    return Recipe(model, SamplingParams(1.0, 0.8), 8, 35, strategies), clips


@pytest.mark.parametrize("decoder", DECODERS)
def test_nothing_is_read_and_no_shape_changes(decoder: str) -> None:
    """In two passes as they are compiled all operations are the same, one by one, and so are all shapes.

    Without a compiler nothing is read either, but for one look at whether a sibling matters.
    """
    looks = case(decoder)[0].strategies.draft_tree is not None
    for fused in (True,) if looks else (False, True):
        recipe, clips = case(decoder)
        recipe = replace(recipe, fused=fused)
        slots = recipe.spare_slot
        cache = recipe.model.make_cache(2, slots + 1)
        seen = Seen()
        with torch.inference_mode():
            state, size = start(recipe, clips, cache), PassSize(8, slots)
            plan = plan_window(recipe, state)
            for _ in range(3):
                output = step(recipe, state, plan, size, cache, evaluate=seen)
                state, plan = output.state, output.plan
        assert len(seen.logs[0]) > 100
        assert seen.logs[1] == seen.logs[2] or not fused
        assert seen.shapes[1] == seen.shapes[2]


def test_a_model_with_text_too() -> None:
    recipe, clips = case("fast", TINY_TEXT)
    slots = recipe.spare_slot
    cache = recipe.model.make_cache(2, slots + 1)
    state = start(recipe, clips, cache)
    seen = Seen()
    with torch.inference_mode():
        step(recipe, state, plan_window(recipe, state), PassSize(8, slots), cache, evaluate=seen)
    assert len(seen.logs[0]) > 100


def test_the_mode_refuses_what_it_should() -> None:
    """Each of these operations would end the capture of a CUDA graph."""
    some = torch.zeros(3, device="meta")
    for work in (
        some.nonzero,
        lambda: some[some > 0],
        lambda: some.sum().item(),
        some.tolist,
        lambda: torch.tensor([1, 2], device="meta"),
        some.cpu,
        lambda: torch.zeros(3) + 1,
    ):
        with pytest.raises((AssertionError, NotImplementedError)), NoHostNumbers(), Strict():
            work()
