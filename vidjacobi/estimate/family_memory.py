"""Memory of pictures by a family of other authors: weights and cache by the files' own numbers, nothing is loaded.

Of a folder that ``transformers`` wrote: ``config.json`` and the heads of its safetensors files. Of LlamaGen: the
shapes in its checkpoint.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vidjacobi.config.model_facts import load_facts, model_names
from vidjacobi.decoding.recipe import in_buckets
from vidjacobi.errors import BadCheckpoint
from vidjacobi.loading import resolve

LLAMAGEN = "vidjacobi.families.llamagen:layer_sizes"
LLAMAGEN_CELLS = 24 * 24  # where nothing says how many: of its models for 384 pixels
PROMPT = 128  # tokens that a prompt is taken to have
SIBLINGS = 32  # slots for those of a draft tree
COPIES = 4  # tensors of a pass's logits and probs in float32 that stand at once, beside those of the branches; about


@dataclass(frozen=True)
class FamilySizes:
    """What decides the memory of a picture.

    Attributes:
        floats: parameters, all of them.
        layers, kv_heads, head, vocab: of the transformer; ``vocab`` are the ids that a cell may have, at most.
        cells: of a picture.
        given: tokens between them.
    """

    floats: int
    layers: int
    kv_heads: int
    head: int
    vocab: int
    cells: int
    given: int

    @property
    def slots(self) -> int:
        """Of the cache, of a row."""
        return in_buckets(1 + self.cells + SIBLINGS) + 1 + PROMPT + self.given

    def parts(self, rows: int, branches: int, window: int, dtype: torch.dtype) -> dict[str, int]:
        """Bytes by part, of ``rows`` pictures that are decoded together."""
        cache = 2 * self.layers * self.kv_heads * self.head * self.slots * dtype.itemsize
        logits = rows * window * self.vocab * (branches * dtype.itemsize + COPIES * 4)
        return {
            "weights": self.floats * dtype.itemsize,
            "keys and values": rows * branches * cache,
            "logits and probs of a pass": logits,
        }


def picture_family(model: str) -> tuple[str, Path] | None:
    """The family and the folder of a model of pictures named NAME:PATH, None for other names.

    Raises InvalidArgument for a family of worlds, which this cannot answer for.
    """
    name, colon, path = model.partition(":")
    if not colon or name not in model_names("family") or "world" in load_facts(name).presets:
        return None
    return name, Path(path).expanduser()


def sizes_of(family: str, folder: Path) -> FamilySizes:
    """The sizes in a folder that ``transformers`` wrote. Or in LlamaGen's checkpoint. Raises BadCheckpoint."""
    if family == "llamagen":
        return _llamagen(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        files = sorted(folder.glob("*.safetensors"))
        text = config.get("text_config") or config
        heads = text["n_head" if family == "imagegpt" else "num_attention_heads"]
        preset = load_facts(family).preset("image").cells
        if family == "imagegpt":
            preset = [1, int(config["n_positions"])]
        elif preset is None:
            preset = [1, int(config["vision_config"]["num_image_tokens"])]  # Janus, whose size is in its file
        return FamilySizes(
            floats=sum(floats_of(file) for file in files),
            layers=text["n_layer" if family == "imagegpt" else "num_hidden_layers"],
            kv_heads=text.get("num_key_value_heads") or heads,
            head=text.get("head_dim")
            or (text["n_embd"] if family == "imagegpt" else text["hidden_size"]) // heads,
            vocab=vocab_of(family, config, text),
            cells=preset[0] * preset[1],
            given=preset[0] if family in ("emu3", "emu3_5", "chameleon") else 0,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(
            f"{folder}: its config.json does not say the sizes of {family} ({error!r})"
        ) from error


def _llamagen(path: Path) -> FamilySizes:
    found = resolve(LLAMAGEN)(path)
    cells = found["cells"] or LLAMAGEN_CELLS
    heads, head = found["heads"], found["head"]
    return FamilySizes(found["floats"], found["layers"], heads, head, found["vocab"], cells, given=0)


def vocab_of(family: str, config: dict[str, Any], text: dict[str, Any]) -> int:
    """Ids that a cell may have; of Emu3 and Chameleon no more than the codes of their image tokenizers."""
    codes = config.get("vq_config") or {}
    known = codes.get("num_embeddings") or codes.get("codebook_size")
    return int(known if family in ("janus", "emu3", "chameleon") and known else text["vocab_size"])


def floats_of(file: Path) -> int:
    """Numbers in a safetensors file, by its head. Raises ValueError, OSError."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length < 1 << 28:
            raise ValueError(f"{file.name} is no safetensors file")
        head = json.loads(opened.read(length))
    shapes = [tensor["shape"] for name, tensor in head.items() if name != "__metadata__"]
    return sum(int(torch.Size(shape).numel()) for shape in shapes)
