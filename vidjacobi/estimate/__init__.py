"""What a model needs before it is there: predicted memory by part, predicted seconds of a pass."""
