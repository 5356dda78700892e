"""Checkpoints that are named by their Hugging Face repository. Only a repository that the user names is fetched."""

import re
from pathlib import Path

from vidjacobi.errors import BadCheckpoint

# Exactly one slash: "owner/name" is a repository, "folder/sub/model" can only be a path.
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# Only these files are fetched; a repository may hold other formats of the same weights.
MODEL_FILES = ("model.pt", "*.safetensors", "*.safetensors.index.json", "config.json")
TOKENIZER_FILES = ("encoder.jit", "decoder.jit", "config.json")


def is_repository(name: str) -> bool:
    """Whether ``name`` has the form ``owner/repository``."""
    return REPOSITORY.fullmatch(name) is not None


def fetch(repository: str, files: tuple[str, ...]) -> Path:
    """The folder with these files of a repository, from the hub's local cache or downloaded into it.

    Raises BadCheckpoint where the repository is neither cached nor can be downloaded, because the machine is
    offline, or it is gated or does not exist. The message says which files to put where instead.
    """
    # Imported here, because a bundled model and a folder need nothing of the hub.
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
