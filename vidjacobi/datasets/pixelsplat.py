"""pixelSplat's chunks of RealEstate10k: .torch files of about 100 MB with JPEG pictures and cameras.

The files are {train,test}/000000.torch and so on. Each is a list of records {"url", "timestamps" [T], "cameras" [T
18], "images" (T uint8 tensors of JPEG bytes), "key"}. Beside them, index.json says in which file each key is.
Source: dcharatan/pixelsplat.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from vidjacobi.datasets.cameras import Cameras, cameras_of_table, table_of_cameras
from vidjacobi.datasets.contract import Entry, Episode, Skipped, episode_id, reason_of
from vidjacobi.datasets.frame_sources import trouble_with
from vidjacobi.datasets.side_files import read_json
from vidjacobi.errors import BadInput, number_of
from vidjacobi.shapes import Frames
from vidjacobi.video.images import image_from_bytes, stacked
from vidjacobi.video.records import ReadClip

KEYS = {"url", "timestamps", "cameras", "images", "key"}
Record = dict[str, object]


@dataclass(frozen=True)
class InChunk:
    """One clip of a chunk. The last two chunks that were used stay open, memory-mapped and not loaded."""

    chunk: Path
    key: str

    def count(self) -> int:
        """Number of pictures. Raises BadInput where it is not the number of cameras."""
        frames, lines = len(self._images()), len(self.cameras())
        if frames != lines:
            raise BadInput(
                f"{self.chunk}, clip {self.key}: {number_of(frames, 'picture')}, but {number_of(lines, 'camera')}"
            )
        return frames

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """The frames start, start + stride, ...; see FrameSource."""
        total, last = self.count(), start + (count - 1) * stride
        if start < 0 or count < 1 or stride < 1 or last >= total:
            raise BadInput(
                f"{self.chunk}, clip {self.key}: {number_of(count, 'frame')} needed from frame {start} on "
                f"with stride {stride}, but it has {total}"
            )
        name = f"{self.chunk}, clip {self.key}"
        labels = {i: f"{name}, frame {i}" for i in range(start, last + 1, stride)}
        named = (
            (label, image_from_bytes(self._images()[i].numpy().tobytes(), label))
            for i, label in labels.items()
        )
        pictures = stacked(named, count, name)
        cameras = self.cameras()
        # by the timestamps of these frames or, for a single frame, of the clip; 30 for a clip of one frame
        fps = cameras.at(start, count, stride).fps() or (cameras.fps() or 30.0) / stride
        return ReadClip(pictures, fps, name, start, "pillow")

    def cameras(self) -> Cameras:
        """All cameras of the clip. Raises BadInput."""
        record = self._record()
        stamps, table = record["timestamps"], record["cameras"]
        try:
            if not isinstance(stamps, torch.Tensor) or not isinstance(table, torch.Tensor):
                raise ValueError("timestamps and cameras are no tensors")
            if table.shape != (len(stamps), 18):
                raise ValueError(f"{len(stamps)} timestamps, cameras of shape {list(table.shape)}")
            return cameras_of_table(str(record["url"]), stamps.long(), table)
        except ValueError as error:
            raise BadInput(f"{self.chunk}, clip {self.key}: {error}") from error

    def _images(self) -> list[torch.Tensor]:
        images = self._record()["images"]
        if not isinstance(images, list) or not all(
            isinstance(i, torch.Tensor) and i.dtype == torch.uint8 for i in images
        ):
            raise BadInput(f"{self.chunk}, clip {self.key}: images are not a list of uint8 tensors")
        return images

    def _record(self) -> Record:
        records = open_chunk(self.chunk)
        if self.key not in records:
            raise BadInput(f"{self.chunk}: has no clip {self.key}, although index.json says so")
        return records[self.key]


def open_chunk(path: Path) -> dict[str, Record]:
    """The records of a chunk by key. Raises BadInput."""
    try:
        status = path.stat()
    except OSError as error:
        raise BadInput(f"{path}: this chunk cannot be read: {error.strerror or error}") from error
    return _open(path, status.st_mtime_ns)


def chunk_entries(folder: Path, split: str | None) -> Iterator[Entry]:
    """The clips in a folder of chunks, chunk after chunk. If there is an index.json, no chunk is opened.

    Raises BadInput where the index cannot be read.
    """
    return _chunk_entries(folder, split, _index(folder))


def _chunk_entries(folder: Path, split: str | None, index: dict[str, list[str] | None]) -> Iterator[Entry]:
    parts = (split,) if split else ()
    for name, keys in sorted(index.items()):
        path = folder / name
        try:
            listed = sorted(open_chunk(path)) if keys is None else keys
        except (BadInput, TypeError) as error:
            yield Skipped(episode_id(*parts, name), reason_of(error))
            continue
        trouble = trouble_with(path)
        for key in listed:
            made = episode_id(*parts, key)
            if trouble:
                yield Skipped(made, f"{trouble}; index.json names this chunk")
            else:
                facts = {"split": split, "chunk": str(path), "key": key}
                yield Episode(made, InChunk(path, key), None, f"{path}, clip {key}", facts)


def _index(folder: Path) -> dict[str, list[str] | None]:
    """The keys in each chunk by its file name; None where there is no index, so that chunks must be opened."""
    index = folder / "index.json"
    if not index.is_file():
        return {path.name: None for path in folder.glob("*.torch")}
    try:
        content = read_json(index)
        if not isinstance(content, dict):
            raise ValueError("it is not an object")
        chunks: dict[str, list[str] | None] = {}
        for key, name in sorted(content.items()):
            # Only the name: some indices hold paths of the machine that wrote them.
            keys = chunks.setdefault(Path(str(name)).name, [])
            if keys is not None:
                keys.append(key)
        return chunks
    except (OSError, ValueError) as error:
        raise BadInput(f"{index}: {{clip: chunk}} is needed, but {error}; remove it to do without") from error


def record_of(key: str, frames: Frames, cameras: Cameras) -> Record:
    """A clip as a record of a chunk; ``torch.save`` of a list of records writes a chunk."""
    images = []
    for picture in frames.numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=95)
        images.append(torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8))
    table = table_of_cameras(cameras).float()
    return {
        "url": cameras.url,
        "timestamps": cameras.timestamps,
        "cameras": table,
        "images": images,
        "key": key,
    }


# ``changed`` is part of the key only: a file that was written again is opened again.
@lru_cache(maxsize=2)
def _open(path: Path, changed: int) -> dict[str, Record]:
    try:
        content = _load(path)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise BadInput(f"{path}: not a chunk of tensors, or damaged: {str(error)[:200]}") from error
    if not isinstance(content, list) or not all(isinstance(r, dict) and r.keys() >= KEYS for r in content):
        raise BadInput(f"{path}: a list of records with {', '.join(sorted(KEYS))} is needed")
    return {str(record["key"]): record for record in content}


def _load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        # The format of PyTorch before 1.6 cannot be memory-mapped.
        return torch.load(path, map_location="cpu", weights_only=True)
