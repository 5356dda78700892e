"""What a model and a video tokenizer must offer, and wrappers around them: guidance, offloading, outlines."""
