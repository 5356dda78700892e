"""A feature network of ``transformers`` from a folder that the user names: safetensors, and every tensor in it."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vidjacobi.errors import BadCheckpoint


class Opened(NamedTuple):
    """A network, the name of its class in ``transformers``, and the hashes of weights and configuration."""

    network: Any
    kind: str
    sha256: str
    config_sha256: str


def open_network(folder: Path, model_type: str, kinds: Collection[str], title: str) -> Opened:
    """The network in a folder, one of the classes ``kinds``: the first where its configuration names none.

    Raises BadCheckpoint for a folder of another model (messages call the right one ``title``), and for weights that
    are missing or do not fit.
    """
    import transformers

    if not (folder / "config.json").is_file():
        raise BadCheckpoint(f"{folder}: no folder of a {title}: it has no config.json")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadCheckpoint(f"{folder}: has no .safetensors file; other kinds of weights are not opened")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = (config.architectures or [*kinds])[0]
        if config.model_type != model_type or kind not in kinds:
            raise BadCheckpoint(f"{folder}: holds a {kind} ({config.model_type}), and no {title}")
        network, said = getattr(transformers, kind).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except BadCheckpoint:
        raise
    except Exception as error:
        # a number that is none in config.json raises nearly anything, division by 0 too
        reason = " ".join(str(error).split())[:300]
        raise BadCheckpoint(f"{folder}: cannot be opened as a {title} ({reason})") from None
    # transformers gives tensors that are missing random values, with a warning only
    wrong = [*said["missing_keys"], *(str(key) for key in said["mismatched_keys"]), *said["unexpected_keys"]]
    if wrong:
        raise BadCheckpoint(
            f"{folder}: {len(wrong)} tensors are missing or do not fit (the first: {wrong[0]})"
        )
    return Opened(network, kind, _sha256(weights), _sha256([folder / "config.json"]))


def _sha256(files: list[Path]) -> str:
    """The hash of one file, or of the hashes of several."""
    found = [hashlib.sha256(file.read_bytes()).digest() for file in files]
    return (found[0] if len(found) == 1 else hashlib.sha256(b"".join(found)).digest()).hex()
