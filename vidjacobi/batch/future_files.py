"""The files of a batch: where they are, written so that they are whole or not there, and found again.

    OUT/settings.json                       what the results depend on
    OUT/items/EPISODE/000016-0.npz          start 16, sample 0: tokens [t h w], context_latents, record (JSON)
    OUT/items/EPISODE/000016-0.mp4          with --output videos; frames: a folder 000016-0 of PNG pictures
    OUT/log/*.jsonl, OUT/manifest.parquet   see manifest.py

The npz comes last and holds the row of the manifest, so it alone says that an item is finished: after a kill between
its rename and the log's line, the next run finds it and adds the line.
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from vidjacobi.batch.manifest import FAILURES, LOGS, MANIFEST, Item, ManifestRow
from vidjacobi.batch.settings import BatchPlan
from vidjacobi.config.settings import differences
from vidjacobi.datasets import folder_name
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import durable, replacing_folder, sync_file, sync_folder, write_json
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.runtime import versions
from vidjacobi.shapes import Frames
from vidjacobi.video.writer import write_video

SETTINGS, ITEMS, REPORT = "settings.json", "items", "report.html"
_STALE = 3600  # seconds after which a temporary file counts as left by a run that was killed


@dataclass(frozen=True)
class FutureContent:
    """What is kept of a finished future.

    Attributes:
        tokens: the whole latent grid.
        context_latents: how many of its latent frames are the context's.
        frames: the context's, then the predicted ones; None where only tokens are kept.
    """

    tokens: Int[Tensor, "t h w"]
    context_latents: int
    frames: Frames | None
    fps: float


@dataclass(frozen=True)
class FutureFiles:
    """Where the files of futures are.

    Attributes:
        kind: a key of ``vidjacobi.batch.settings.OUTPUTS``.
        digest: of the settings, so that files of another batch are never taken for this one's.
    """

    out: Path
    kind: str
    digest: str

    def path(self, item: Item, suffix: str) -> Path:
        """The file of a future with this suffix."""
        return self.out / ITEMS / folder_name(item.episode) / f"{item.start or 0:06d}-{item.sample}{suffix}"

    @property
    def suffix(self) -> str | None:
        """Suffix of what lies beside the tokens: empty for a folder of pictures, None where there is nothing."""
        return {"videos": ".mp4", "frames": "", "tokens": None}[self.kind]

    def write(self, row: ManifestRow, content: FutureContent) -> ManifestRow:
        """Write a future's files, the tokens last; returns its row with their paths. Raises BadOutput."""
        began = time.perf_counter()
        tokens = self.path(row.item, ".npz")
        try:
            tokens.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadOutput(f"{tokens.parent}: cannot be made: {error.strerror or error}") from error
        if self.suffix is not None and content.frames is not None:
            beside = self.path(row.item, self.suffix)
            if self.suffix:
                with durable(beside) as partial:
                    write_video(partial, content.frames, content.fps)
            else:
                write_pictures(beside, content.frames)
            row = replace(row, video=str(beside.relative_to(self.out)))
        spent = (row.seconds_frames or 0.0) + time.perf_counter() - began
        row = replace(
            row, tokens=str(tokens.relative_to(self.out)), seconds_frames=spent, finished=time.time()
        )
        record = {**asdict(row), "settings": self.digest}
        # Last, and on the disk before the log's line: what the log calls done survives a power cut.
        with durable(tokens) as partial:
            np.savez_compressed(
                partial,
                tokens=content.tokens.to("cpu", torch.int32).numpy(),
                context_latents=np.int32(content.context_latents),
                record=np.array(json.dumps(record, ensure_ascii=False)),
            )
        return row

    def find(self, item: Item) -> ManifestRow | None:
        """The row of a future whose files are there and whole, None without; after a crash no log may have it."""
        path = self.path(item, ".npz")
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as content:
                tokens, latents = torch.from_numpy(content["tokens"]), int(content["context_latents"])
                record = json.loads(str(content["record"]))
            # another batch's, or tokens that are not those that were recorded
            if (
                record.pop("settings") != self.digest
                or hash_tokens([tokens[latents:]]) != record["tokens_sha256"]
            ):
                return None
            row = ManifestRow(**record)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile):
            return None  # damaged: it is made again
        beside = row.video is None or (self.out / row.video).exists()
        return row if beside and row.item == item else None


def open_out(out: Path, plan: BatchPlan, resume: bool = True, overwrite: bool = False) -> FutureFiles:
    """Make the output folder ready, or resume in it.

    Raises BadOutput where another batch lies there, saying what differs, or any without ``resume``.
    """
    settings = json.loads(json.dumps(plan.settings()))  # as it is read back: tuples are lists
    folder = RunFolder(out, "batch", SETTINGS, parts=(ITEMS, LOGS, MANIFEST, FAILURES, REPORT))
    folder.refuse_foreign(besides=(LOGS,))  # this run's own lock lies there already
    if overwrite:
        folder.overwrite()
    if folder.is_ours and not resume:
        raise BadOutput(
            f"{out} holds a batch: leave --no-resume out to resume it, or --overwrite to begin anew"
        )
    found: list[str] = []

    def changes(record: dict[str, Any]) -> list[str]:
        found.extend(differences(settings, record["settings"]))
        # Without a log no item was reached, and the folder may be another batch's.
        return found if any(out.glob(f"{LOGS}/*.jsonl")) else []

    if folder.resume(changes) is None or found:
        folder.create()
        with durable(out / SETTINGS) as partial:
            write_json(partial, {"settings": settings, "versions": versions()})
    return FutureFiles(out, plan.config.output, digest_of(settings))


def sweep(out: Path, alone: bool) -> None:
    """Remove the temporary files of runs that were killed; only old ones unless this run is ``alone`` in ``out``."""
    for path in (out / ITEMS).glob("*/.*"):  # temporary names begin with a dot, see vidjacobi.output.atomic
        try:
            if alone or time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue  # another shard has just renamed it, or it may not be removed


def digest_of(settings: Mapping[str, Any]) -> str:
    """sha256 of a batch's settings."""
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def write_pictures(folder: Path, frames: Frames) -> None:
    """A folder of PNG pictures, 0000.png and on, whole or not at all. Raises BadOutput."""
    with replacing_folder(folder) as partial:
        for number, frame in enumerate(frames.cpu().numpy()):
            picture = partial / f"{number:04d}.png"
            Image.fromarray(frame).save(picture)
            sync_file(picture)
        sync_folder(partial)
    sync_folder(folder.parent)
