"""NVIDIA Cosmos autoregressive models and their discrete video tokenizer, behind vidjacobi's protocols."""
