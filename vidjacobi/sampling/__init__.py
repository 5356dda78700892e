"""Logits to tokens: temperature, top-k, top-p, keyed noise, and draws by Gumbel-max."""
