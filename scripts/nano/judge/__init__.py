"""Numbers about what was made: how real the clips look, and how good a tokenizer and a transformer are."""
