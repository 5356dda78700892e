"""Memory of pictures and worlds of a family: weights and cache by the files' own numbers, nothing is loaded.

Of a folder that ``transformers`` wrote: ``config.json`` and the heads of its safetensors files. Of LlamaGen, of
worlds and of what ships with this package: the shapes in their checkpoints.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vidjacobi.config.model_facts import load_facts
from vidjacobi.decoding.recipe import in_buckets
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.invariance import USUAL
from vidjacobi.loading import family_of, resolve

LLAMAGEN = "vidjacobi.families.llamagen:layer_sizes"
SHAPES = {  # family -> "module:function", which takes the path of the weights and returns the fields of FamilySizes
    "ivideogpt": "vidjacobi.families.world_sizes:ivideogpt_sizes",
    "mineworld": "vidjacobi.families.world_sizes:mineworld_sizes",
    "nano-image": "vidjacobi.families.world_sizes:nano_image_sizes",
    "pusht": "vidjacobi.families.world_sizes:pusht_sizes",
}
GLM_IMAGE = "vision_language_encoder"  # of the folders of its release
ROW_ENDS = ("emu3", "emu3_5", "chameleon")
WORLDS = ("ivideogpt", "mineworld", "pusht")
LLAMAGEN_CELLS = 24 * 24  # where nothing says how many: of its models for 384 pixels
PROMPT = 128  # tokens that a prompt is taken to have, and that caches have room for
SIBLINGS = 32  # slots for those of a draft tree
COPIES = 4  # tensors of a pass's logits and probs in float32 that stand at once, beside those of the branches; about


@dataclass(frozen=True)
class FamilySizes:
    """What decides the memory of a picture or of a chunk of a clip.

    Attributes:
        floats: parameters, all of them.
        layers, kv_heads, head, vocab: of the transformer; ``vocab`` are the ids that a cell may have, at most.
        cells: of a picture, or of all frames that a chunk decides.
        given: tokens between them.
        prompt: tokens before them that there is room for; 0 where there are none.
        most: given tokens behind one cell; a draft tree's siblings have room for their own.
        beside: numbers of a slot beside keys and values.
    """

    floats: int
    layers: int
    kv_heads: int
    head: int
    vocab: int
    cells: int
    given: int = 0
    prompt: int = PROMPT
    most: int = 0
    beside: int = 0

    @property
    def slots(self) -> int:
        """Of the cache, of a row."""
        given = self.given + self.prompt + SIBLINGS * self.most
        return USUAL.length(in_buckets(1 + self.cells + SIBLINGS) + given + 2)

    def parts(self, rows: int, branches: int, window: int, dtype: torch.dtype) -> dict[str, int]:
        """Bytes by part, of ``rows`` pictures that are decoded together."""
        cache = (2 * self.layers * self.kv_heads * self.head + self.beside) * self.slots * dtype.itemsize
        logits = rows * window * self.vocab * (branches * dtype.itemsize + COPIES * 4)
        return {
            "weights": self.floats * dtype.itemsize,
            "keys and values": rows * branches * cache,
            "logits and probs of a pass": logits,
        }


def family_at(model: str) -> tuple[str, Path] | None:
    """The family and the path of a model named NAME:PATH, or of a bundled one; None for other names.

    Raises InvalidArgument, and BadCheckpoint for a path that is not there, also where it is a repository's.
    """
    found = family_of(model)
    if found is None:
        return None
    path = Path(found.path).expanduser()
    if not path.exists():
        raise BadCheckpoint(
            f"there is no file or folder {found.path}, and nothing is fetched here: name the weights"
        )
    return found.family, path


def sizes_of(family: str, folder: Path) -> FamilySizes:
    """The sizes in a folder that ``transformers`` wrote, or by the shapes in a checkpoint.

    Raises BadCheckpoint, and InvalidArgument for a family whose frames may have any size.
    """
    if family == "llamagen":
        return _llamagen(folder)
    if family in SHAPES:
        return FamilySizes(**({"prompt": 0} | resolve(SHAPES[family])(folder)))
    if not load_facts(family).presets:
        raise InvalidArgument(
            f"the memory of {family} is not predicted: its files do not say how large its frames are, nor is it "
            "known of its authors"
        )
    if family == "glm_image" and (folder / GLM_IMAGE).is_dir():
        folder = folder / GLM_IMAGE
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
            given=preset[0] if family in ROW_ENDS else 0,
            most=int(family in ROW_ENDS),
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
