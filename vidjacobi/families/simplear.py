"""SimpleAR (arXiv 2504.11455): images of a text prompt, a plain Qwen2 over the codes of the Cosmos tokenizer.

Official code, commit d56b6e5. Nothing is masked there: a cell may be a text token, which counts as code 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vidjacobi.config.model_facts import guidance_of
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import Ids, behind, with_guidance
from vidjacobi.families.released import from_transformers
from vidjacobi.families.trunk import Trunk
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

PUBLISHED = "the hub's Daniel0724/SimpleAR-0.5B-RL, SimpleAR-1.5B-RL and their other stages"
CODES = 64_000  # of the tokenizer


@dataclass(frozen=True)
class SimpleAR:
    """The whole network, ``Qwen2ForCausalLM``, whose ids from ``first`` on are codes."""

    network: Any
    first: int

    def images(
        self, prompts: Sequence[Ids], side: int, negative: Ids | None = None, scale: float | None = None
    ) -> VideoModel:
        """The model of images of ``side`` x ``side`` cells, of a prompt each, guided against the prompt ``negative``.

        Both end with the token before the first cell. 64 cells are 1,024 pixels. ``scale`` 1 or no ``negative``: not
        guided; None: the authors' own.
        """
        given = self._branch(prompts, side)
        if negative is None:
            return given
        return with_guidance(given, self._branch([negative], side), guidance_of("simplear", "image", scale))

    def codes(self, tokens: Tokens) -> Tokens:
        """Codes of the Cosmos tokenizer DV8x16x16, one latent frame, of decided tokens."""
        return (tokens - self.first).clamp(min=0)

    def _branch(self, prompts: Sequence[Ids], side: int) -> RiderModel:
        layers, head = self.network.model, self.network.lm_head
        trunk = Trunk(layers, layers.embed_tokens, head, head.out_features)
        cells, most = torch.zeros(side * side, dtype=torch.long), layers.config.max_position_embeddings
        conditions = [behind(layers.embed_tokens, prompt, cells, most=most) for prompt in prompts]
        return RiderModel(trunk, Grid(1, side, side), cells, conditions)


def load(path: Path, runtime: Runtime, first: int | None = None) -> SimpleAR:
    """The model in a folder that ``transformers`` wrote. ``first``: number of tokens of its text tokenizer.

    By default the last 64,000 ids are codes. Raises BadCheckpoint.
    """
    from transformers import Qwen2ForCausalLM

    network = from_transformers(Qwen2ForCausalLM, path, runtime, PUBLISHED)
    return SimpleAR(network, network.lm_head.out_features - CODES if first is None else first)
