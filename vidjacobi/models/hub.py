"""Checkpoints that are named by their Hugging Face repository. Only what the user names is fetched.

``OWNER/REPOSITORY`` is a repository, ``hf://OWNER/REPOSITORY/FILE`` one file of it, as huggingface_hub writes it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidjacobi.errors import BadCheckpoint, InvalidArgument

# Exactly one slash: "owner/name" is a repository, "folder/sub/model" can only be a path.
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
HUB = "hf://"
FILE = re.compile(r"hf://([\w.-]+/[\w.-]+)/([^\x00-\x1f]+)")
OUTSIDE = {"", ".", ".."}  # parts of a path that no file of a repository has
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

    with _told(repository, files):
        return Path(snapshot_download(repository, allow_patterns=list(files)))


def fetch_file(name: str) -> Path:
    """The file ``hf://OWNER/REPOSITORY/FILE``, from the hub's local cache or downloaded into it.

    Raises InvalidArgument for a name of another form, BadCheckpoint as ``fetch`` and where there is no such file.
    """
    from huggingface_hub import hf_hub_download

    found = FILE.fullmatch(name)
    if found is None or OUTSIDE & {*found[2].split("/")} or "\\" in name:
        raise InvalidArgument(f"{name}: a file of the hub is written hf://OWNER/REPOSITORY/FILE")
    with _told(found[1], (found[2],)):
        return Path(hf_hub_download(found[1], found[2]))


def local(name: str | Path) -> Path:
    """A path of the user's, or the file that a name ``hf://...`` is fetched to. Raises as ``fetch_file``."""
    text = str(name)
    return fetch_file(text) if text.startswith(HUB) else Path(text).expanduser()


@contextmanager
def _told(repository: str, files: tuple[str, ...]) -> Iterator[None]:
    """Raise BadCheckpoint, with what to do instead, where the block cannot fetch these files."""
    try:
        yield
    except Exception as error:  # besides the hub's own: whatever its HTTP library raises where a line breaks
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadCheckpoint(
            f"{repository} could not be fetched ({type(error).__name__}: {reason}).\n"
            f"If it is gated, accept its licence on its page and run `hf auth login`. Or put its files "
            f"({', '.join(files)}) into a folder of your own and name that folder instead."
        ) from error
