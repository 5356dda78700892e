"""The actions that a future was made with, as they are kept beside its tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vidjacobi.errors import BadInput

NO_OP = "no-op"


@dataclass(frozen=True)
class FedActions:
    """What led from each frame of a future to the next one, the context's frames included.

    Attributes:
        values: float32, a row less than frames.
        names: of the numbers of a row.
        source: the id of the episode whose those of predicted frames are; NO_OP where nothing was done there.
    """

    values: Float[np.ndarray, "g k"]
    names: tuple[str, ...]
    source: str = ""

    @property
    def digest(self) -> str:
        """sha256 of the numbers (little-endian, row by row) and their shape."""
        content = np.ascontiguousarray(self.values, "<f4")
        return sha256(f"{content.shape}".encode() + content.tobytes()).hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """For the npz of a future."""
        return {
            "actions": self.values.astype(np.float32),
            "action_names": np.array(self.names),
        }


def actions_in(content: Mapping[str, Any]) -> FedActions | None:
    """Those of an opened npz, whose source its record names; None where it has none. Raises ValueError for others."""
    if "actions" not in content:
        return None
    values, names = content["actions"], tuple(map(str, content["action_names"].tolist()))
    if values.ndim != 2 or values.dtype != np.float32 or values.shape[1] != len(names):
        raise ValueError(f"its actions are {values.dtype} {values.shape} with {len(names)} names")
    return FedActions(values, names)


def read_actions(path: Path) -> FedActions | None:
    """Those beside the tokens of a future, None where it followed none. Raises BadInput."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return actions_in(content)
    except Exception as error:  # damaged bytes make zip, zlib and numpy raise nearly anything
        raise BadInput(f"{path} is damaged ({error!r:.200})") from error
