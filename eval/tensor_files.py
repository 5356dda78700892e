"""Files that torch.save wrote, read without running anything in them."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vidjacobi.errors import BadCheckpoint


def read_tensors(content: bytes, path: Path) -> Mapping[str, Any]:
    """The dict that torch.save wrote. Raises BadCheckpoint for any other content; ``path`` is only for messages."""
    try:
        # weights_only: an unpickler that knows tensors and containers, and nothing else
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged bytes make the unpickler raise nearly anything: struct.error, IndexError, UnicodeDecodeError ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadCheckpoint(
            f"{path} is damaged or holds more than tensors, and is not run ({reason}): fetch it again"
        ) from None
    if not isinstance(stored, Mapping):
        raise BadCheckpoint(f"{path} holds a {type(stored).__name__}, not a dict of tensors")
    return stored
