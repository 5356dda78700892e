"""What a model and a video tokenizer must offer, and what wraps them: guidance, offloading, outlines."""
