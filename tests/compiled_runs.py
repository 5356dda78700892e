"""A rollout with eager passes, two with compiled ones: ``compiled_runs.py DECODER BACKEND DTYPE CLIPS [WINDOW]``.

Prints facts as JSON. Run without pytest, whose shape checks cannot be compiled.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from noting_runner import NotedModel
from tiny_pair import MODEL
from torch import Tensor
from torch._dynamo.utils import counters

import vidjacobi
from cosmos_adapter.transformer.model import CosmosModel
from cosmos_adapter.transformer.network import CosmosTransformer
from vidjacobi.decoding.compiled import compiled
from vidjacobi.errors import InvalidArgument
from vidjacobi.sampling.probs import SamplingParams

SPEC = replace(MODEL, n_layers=1, video_latent_shape=(5, 6, 8))


class DataDependent(CosmosModel):
    """Asks for a number in the middle of its forward call."""

    def forward(self, *inputs: Any) -> Tensor:
        logits = super().forward(*inputs)
        return logits + 1 if float(logits.sum()) > 0 else logits


def network(dtype: torch.dtype) -> CosmosTransformer:
    generator = torch.Generator().manual_seed(0)
    made = CosmosTransformer(SPEC)
    for parameter in made.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = (1 + 0.2 * noise if parameter.ndim == 1 else 0.3 * noise).to(dtype)
    return made


def decode(
    model: Any, decoder: str, seed: int, clips: int = 2, window: int = 16
) -> tuple[Any, dict[tuple[int, int], Tensor]]:
    """The decode, and the logits that decided each position."""
    context = torch.randint(0, SPEC.vocab_size, (clips, 48), generator=torch.Generator().manual_seed(1))
    deciding: dict[tuple[int, int], Tensor] = {}

    def watch(positions: Tensor, new: Tensor, logits: Tensor) -> None:
        for clip, slot in new.nonzero().tolist():
            deciding[clip, int(positions[clip, slot])] = logits[clip, slot].clone()

    window = 1 if decoder == "ar" else window
    sampling = SamplingParams(seed=seed)
    return vidjacobi.decode(model, context, 170, decoder, window, sampling, watch=watch), deciding


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def facts(decoder: str, backend: str, dtype: torch.dtype, clips: int, window: int = 16) -> dict[str, Any]:
    eager, prefixes = CosmosModel(network(dtype)), set()
    model = NotedModel(eager, backend, None, note=lambda size, cache, output: prefixes.add(size.slots))
    first, one = decode(model, decoder, 0, clips, window)
    made = graphs()
    expected, other = decode(eager, decoder, 0, clips, window)
    with torch._dynamo.config.patch(error_on_recompile=True):
        again, _ = decode(model, decoder, 1, clips, window)
    same = {
        key
        for key in one
        if torch.equal(first.tokens[key[0], : key[1] - 48], expected.tokens[key[0], : key[1] - 48])
    }
    return {
        "prefixes": len(prefixes),
        "graphs": made,
        "graphs_of_the_second": graphs() - made,
        "equal": [
            torch.equal(first.tokens, expected.tokens),
            torch.equal(again.tokens, decode(eager, decoder, 1, clips, window)[0].tokens),
        ],
        "nfe": [first.stats.nfe, expected.stats.nfe],
        "compared": len(same),
        "furthest_logits": max(
            (float((one[key] - other[key]).abs().max()) for key in same & set(other)), default=0.0
        ),
    }


def refused(backend: str) -> dict[str, Any]:
    model = compiled(DataDependent(network(torch.float64)), "default", backend)
    try:
        decode(model, "pathwise", 0)
    except InvalidArgument as error:
        return {"error": str(error)}
    return {"error": ""}


if __name__ == "__main__":
    torch.set_num_threads(1)
    decoder, backend, dtype, *numbers = sys.argv[1:]
    found = (
        refused(backend)
        if decoder == "refused"
        else facts(decoder, backend, getattr(torch, dtype), *map(int, numbers))
    )
    print(json.dumps(found))
