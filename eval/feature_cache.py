"""Features that are kept on disk by the content of the frames and by the protocol, so that none is computed twice."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidjacobi.errors import BadOutput
from vidjacobi.eval.features import Extractor
from vidjacobi.output.atomic import replacing
from vidjacobi.provenance import file_sha256
from vidjacobi.shapes import Frames


class Cached(NamedTuple):
    """The features of a clip, whether they were on disk, and a note where what was on disk could not be used."""

    features: Float[Tensor, " f"]
    reused: bool
    note: str = ""


def cached(extractor: Extractor, key: str, make_frames: Callable[[], Frames], folder: Path) -> Cached:
    """The features of the clip that ``key`` identifies, read from ``folder``, or computed and written there.

    ``key`` must change whenever the frames do; see ``key_of_frames`` and ``key_of_files``. ``make_frames`` is
    called only where nothing usable is stored. Raises BadOutput where ``folder`` cannot be written.
    """
    # 40 hexadecimal digits: the file also holds the whole key, which is compared when it is read
    name = hashlib.sha256(f"{extractor.protocol_id} {key}".encode()).hexdigest()[:40]
    path = folder / f"{name}.npz"
    note = ""
    if path.exists():
        try:
            return Cached(_read(path, extractor.protocol_id, key), True)
        except Exception as error:  # damaged bytes make zip, zlib and numpy raise nearly anything
            note = f"{path.name}: stored features were unusable ({error}) and were computed again"
    features = extractor(make_frames()[None])[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOutput(f"{folder}: cannot be created: {error.strerror or error}") from error
    with replacing(path) as partial:
        np.savez(partial, features=features.numpy(), protocol=extractor.protocol_id, key=key)
    return Cached(features, False, note)


def _read(path: Path, protocol_id: str, key: str) -> Float[Tensor, " f"]:
    """Stored features. Raises ValueError, among others, for anything but a whole entry of this clip and protocol."""
    with np.load(path, allow_pickle=False) as stored:
        features, owner = stored["features"], (str(stored["protocol"]), str(stored["key"]))
    if owner != (protocol_id, key):
        raise ValueError("they belong to another clip or protocol")
    if features.ndim != 1 or features.dtype != np.float32 or not np.isfinite(features).all():
        raise ValueError(f"{features.dtype} {list(features.shape)}, or not finite")
    return torch.from_numpy(features)


def key_of_frames(frames: Frames) -> str:
    """The key of frames in memory: their shape and content."""
    content = frames.cpu().contiguous().numpy().tobytes()
    return f"frames {list(frames.shape)} {hashlib.sha256(content).hexdigest()}"


def key_of_files(files: list[Path], start: int, count: int) -> str:
    """The key of ``count`` frames from frame ``start`` on, of a video file or of the images of a clip in order."""
    total = hashlib.sha256()
    for file in files:
        # 32 bytes for each file, so that no two lists of files give the same bytes
        total.update(bytes.fromhex(file_sha256(file)))
    return f"files {total.hexdigest()} frames {start}+{count}"
