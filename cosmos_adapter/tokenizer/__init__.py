"""The Cosmos discrete video tokenizer and its checkpoints."""
