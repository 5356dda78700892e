"""Our greedy decoders against ``generate`` of transformers, which shares no code with them."""

import pytest
import torch
from tiny_cosmos import TINY, TINY_YARN, tiny_network

from cosmos_adapter.transformer.hf import CosmosARForCausalLM
from cosmos_adapter.transformer.model import CosmosModel
from vidjacobi import decode
from vidjacobi.sampling.probs import SamplingParams


@pytest.mark.parametrize("spec", [TINY, TINY_YARN], ids=["base", "yarn"])
@pytest.mark.parametrize("decoder", ["ar", "jacobi", "pathwise", "mc_sjd"])
def test_greedy_decoding_is_generate(spec: object, decoder: str) -> None:
    network = tiny_network(spec)
    context = torch.randint(0, spec.vocab_size, (2, 12), generator=torch.Generator().manual_seed(0))
    wrapped = CosmosARForCausalLM.from_network(network)
    expected = wrapped.generate(context, do_sample=False, max_new_tokens=20)[:, 12:]
    found = decode(
        CosmosModel(network),
        context,
        20,
        decoder,
        window=8 if decoder != "ar" else 1,
        sampling=SamplingParams(0.0),
    )
    assert torch.equal(found.tokens, expected)
