"""What decides the memory of worlds and of the models made here, by the shapes in their files; no tensor is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosmos_adapter.checkpoint import field_values
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families import ivideogpt, mineworld, nano_image
from vidjacobi.families.ivideogpt_pixels import PairSpec
from vidjacobi.families.model import PROMPT_ROOM
from vidjacobi.families.pairs import FRAMES, SEGMENT
from vidjacobi.families.pusht import WANTED
from vidjacobi.families.released import sizes_of, weights_of
from vidjacobi.invariance import USUAL

Sizes = dict[str, int]  # the fields of ``vidjacobi.estimate.family_memory.FamilySizes``
PLACES = 1024  # of iVideoGPT where its config.json says none


def mineworld_sizes(path: Path) -> Sizes:
    """Of the longest chunk: 16 frames, or what its places allow. Raises BadCheckpoint."""
    state, sizes = weights_of(path, mineworld.PUBLISHED, ("state_dict",)), sizes_of(path)
    own = {name[12:]: part for name, part in state.items() if name.startswith("transformer.")}
    found = _llama(own, sizes.get("num_attention_heads"), path, mineworld.PUBLISHED)
    frame, action = sizes.get("rows", 14) * sizes.get("columns", 24), mineworld.ACTION
    places = sizes.get("max_position_embeddings", mineworld.PLACES)
    frames = min(FRAMES, (places + action) // (frame + action))
    return found | {"cells": frame * frames, "given": action * (frames - 1), "most": action}


def ivideogpt_sizes(path: Path) -> Sizes:
    """Of the longest chunk: 16 frames, context included, or what its places allow. Raises BadCheckpoint."""
    own = path / "transformer" if (path / "transformer").is_dir() else path
    state, sizes = weights_of(own, ivideogpt.PUBLISHED, ("state_dict",)), sizes_of(own)
    acted = "action_linear.weight" in state
    found = _llama(
        {name.removeprefix("llm."): part for name, part in state.items()},
        sizes.get("num_attention_heads"),
        own,
        ivideogpt.PUBLISHED,
    )
    try:
        spec = PairSpec(**field_values(PairSpec, sizes_of(path / "tokenizer")))
    except (TypeError, InvalidArgument) as error:
        raise BadCheckpoint(f"{path / 'tokenizer'} does not say its sizes ({error})") from None
    context = spec.context_length * (spec.side**2 + 1)
    room = (int(sizes.get("max_position_embeddings", PLACES)) - context) // (ivideogpt.FRAME + 1)
    new = max(1, min(room, SEGMENT - spec.context_length))
    cells = ivideogpt.FRAME * new if acted else (ivideogpt.FRAME + 1) * new - 1
    # the first id of the context stands at position 0; room for more than usual comes in whole blocks
    room = PROMPT_ROOM + USUAL.length(max(0, context - 1 - PROMPT_ROOM))
    return found | {"cells": cells, "given": new - 1 if acted else 0, "prompt": room, "most": int(acted)}


def pusht_sizes(path: Path) -> Sizes:
    """Beside keys and values each position has what the actions say to it. Raises BadCheckpoint."""
    found = _cosmos(path / "transformer", WANTED)
    return found | {"beside": int(sizes_of(path / "transformer")["dim"])}


def nano_image_sizes(path: Path) -> Sizes:
    """Raises BadCheckpoint."""
    return _cosmos(path, nano_image.WANTED) | {"prompt": PROMPT_ROOM}


def _llama(state: Mapping[str, Any], heads: int | None, path: Path, wanted: str) -> Sizes:
    """Of a Llama under the names of ``transformers``. Raises BadCheckpoint."""
    try:
        vocab, dim = state["lm_head.weight"].shape
        heads = heads or dim // mineworld.HEAD_SIZE
        keys = state["model.layers.0.self_attn.k_proj.weight"].shape[0]
        layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("model.layers."))
    except (KeyError, ValueError) as error:
        raise BadCheckpoint(f"{path} holds no Llama with a head ({error} is not there): {wanted}") from None
    floats = sum(part.numel() for part in state.values())
    head = dim // heads
    return {"floats": floats, "layers": layers, "kv_heads": keys // head, "head": head, "vocab": vocab}


def _cosmos(path: Path, wanted: str) -> Sizes:
    """Of a model whose ``config.json`` has Cosmos' words. Raises BadCheckpoint."""
    state, sizes = weights_of(path, wanted, ("state_dict",)), sizes_of(path)
    try:
        frames, rows, columns = sizes["video_latent_shape"]
        return {
            "floats": sum(part.numel() for part in state.values()),
            "layers": sizes["n_layers"],
            "kv_heads": sizes["n_kv_heads"],
            "head": sizes.get("head_dim") or sizes["dim"] // sizes["n_heads"],
            "vocab": sizes["vocab_size"],
            "cells": frames * rows * columns,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{path} does not say its sizes ({error!r}): wanted {wanted}") from None
