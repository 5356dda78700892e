"""From rendered clips to a model as it ships: a video tokenizer in two stages, tokens, a transformer, the export."""
