"""nano-pusht, a world model that follows actions: episodes, tokenizer, transformer, and what judges them."""
