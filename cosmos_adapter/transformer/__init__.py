"""The Cosmos autoregressive transformer and its checkpoints."""
