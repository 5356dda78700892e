"""A model with nothing beyond what every model must have."""

from typing import Any


class Plain:
    """The members of ``vidjacobi.VideoModel`` of another model: neither ``move`` nor ``copy_rows``."""

    def __init__(self, model: Any) -> None:
        self.vocab_size, self.max_positions = model.vocab_size, model.max_positions
        self.prefix_tokens, self.device, self.dtype = model.prefix_tokens, model.device, model.dtype
        self.grid_for, self.make_cache = model.grid_for, model.make_cache
        self.prefill, self.forward = model.prefill, model.forward
