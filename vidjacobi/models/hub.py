"""Checkpoints named by their Hugging Face repository. Touches the network only for a repository the user named."""

import re
from pathlib import Path

from vidjacobi.errors import BadCheckpoint

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
MODEL_FILES = ("model.pt", "*.safetensors", "*.safetensors.index.json", "config.json")
TOKENIZER_FILES = ("encoder.jit", "decoder.jit", "config.json")


def is_repository(name: str) -> bool:
    """Whether ``name`` reads as ``owner/repository``."""
    return REPOSITORY.fullmatch(name) is not None


def fetch(repository: str, files: tuple[str, ...]) -> Path:
    """Folder with those files of a repository: from the local hub cache, else downloaded into it.

    Raises BadCheckpoint that says which files to put where when it is neither cached nor to be had (offline,
    gated, not there).
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadCheckpoint(
            f"{repository} could not be fetched ({type(error).__name__}: {reason}).\n"
            f"If it is gated, accept its licence on its page and run `hf auth login`. Or put its files "
            f"({', '.join(files)}) into a folder of your own and name that folder instead."
        ) from error
