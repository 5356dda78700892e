"""A fresh transformer and its optimiser."""

import torch
from specs import MODELS, TOKENIZERS
from token_counts import digit_features

from cosmos_adapter.transformer import CosmosTransformer, initialise


def build(name: str, seed: int) -> CosmosTransformer:
    """A fresh network of a model of specs.py; embedding and head start from smooth features of the FSQ digits."""
    spec = MODELS[name]
    net = CosmosTransformer(spec)
    initialise(net, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    features = digit_features(TOKENIZERS[name].levels)
    for weight, std in ((net.tok_embeddings.weight, 0.1), (net.output.weight, 0.03)):
        projection = torch.randn(features.shape[1], spec.dim, generator=generator)
        weight.data.copy_(features @ projection * (std / features.shape[1] ** 0.5))
    return net


def optimizer_of(net: CosmosTransformer) -> torch.optim.Optimizer:
    """AdamW; no decay on norms, embedding and head."""
    layers = [p for name, p in net.named_parameters() if p.ndim > 1 and name.startswith("layers.")]
    others = [p for name, p in net.named_parameters() if p.ndim < 2 or not name.startswith("layers.")]
    groups = [{"params": layers, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
