"""The files of a batch: where they are, written so that they are whole or not there, and found again.

    OUT/settings.json                       what the results depend on
    OUT/items/EPISODE/000016-0.npz          start 16, sample 0: tokens [t h w], context_latents, record (JSON)
    OUT/items/EPISODE/000016-0.mp4          with --output videos; frames: a folder 000016-0 of PNG pictures
    OUT/log/*.jsonl, OUT/manifest.parquet   see manifest.py

The npz comes last and holds the row of the manifest, so it alone says that an item is finished: a run that was
killed between rename and record finds it and makes the record good.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

from vidjacobi.batch.items import Item
from vidjacobi.batch.manifest import FAILURES, LOGS, MANIFEST, Row, sync_folder
from vidjacobi.batch.settings import Plan
from vidjacobi.config.yaml_files import differences
from vidjacobi.datasets import folder_name
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import replacing
from vidjacobi.output.run_folder import appearing
from vidjacobi.rollouts.files import versions
from vidjacobi.shapes import Frames
from vidjacobi.video.clips import write_video

SETTINGS, ITEMS, REPORT = "settings.json", "items", "report.html"
_STALE = 3600  # seconds after which the temporary file of another run is a dead one's


@dataclass(frozen=True)
class StepOutput:
    """A finished future: the whole latent grid, its context part, and (unless only tokens are kept) the frames,
    the context first."""

    tokens: Int[Tensor, "t h w"]
    context_latents: int
    frames: Frames | None
    fps: float


@dataclass(frozen=True)
class Outputs:
    """Where items go. ``digest``: of the settings, so that files of another batch are never taken for ours."""

    out: Path
    kind: str
    digest: str

    def path(self, item: Item, suffix: str) -> Path:
        """Of one file of a future."""
        return self.out / ITEMS / folder_name(item.episode) / f"{item.start or 0:06d}-{item.sample}{suffix}"

    @property
    def suffix(self) -> str | None:
        """Of what stands beside the tokens: a file's ending, nothing for a folder, None where there is nothing."""
        return {"videos": ".mp4", "frames": "", "tokens": None}[self.kind]

    def write(self, row: Row, made: StepOutput) -> Row:
        """Write a future's files, the tokens last; returns its row with their paths. Raises BadOutput."""
        began = time.perf_counter()
        tokens = self.path(row.item, ".npz")
        try:
            tokens.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadOutput(f"{tokens.parent}: cannot be made: {error.strerror or error}") from error
        if self.suffix is not None and made.frames is not None:
            beside = self.path(row.item, self.suffix)
            if self.suffix:
                with durable(beside) as partial:
                    write_video(partial, made.frames, made.fps)
            else:
                write_pictures(beside, made.frames)
            row = replace(row, video=str(beside.relative_to(self.out)))
        spent = (row.seconds_frames or 0.0) + time.perf_counter() - began
        row = replace(
            row, tokens=str(tokens.relative_to(self.out)), seconds_frames=spent, finished=time.time()
        )
        record = {**asdict(row), "settings": self.digest}
        with durable(tokens) as partial:
            np.savez_compressed(
                partial,
                tokens=made.tokens.to("cpu", torch.int32).numpy(),
                context_latents=np.int32(made.context_latents),
                record=np.array(json.dumps(record, ensure_ascii=False)),
            )
        return row

    def find(self, item: Item) -> Row | None:
        """The row of a future whose files are there and whole; it is not in any log if a crash was in between."""
        path = self.path(item, ".npz")
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as content:
                tokens, latents = torch.from_numpy(content["tokens"]), int(content["context_latents"])
                record = json.loads(str(content["record"]))
            if (
                record.pop("settings") != self.digest
                or hash_tokens([tokens[latents:]]) != record["tokens_sha256"]
            ):
                return None
            row = Row(**record)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile):
            return None  # damaged: it is made again
        beside = row.video is None or (self.out / row.video).exists()
        return row if beside and row.item == item else None


def open_out(out: Path, plan: Plan, resume: bool = True, overwrite: bool = False) -> Outputs:
    """Make the output folder ready, or go on in it.

    Raises BadOutput where another batch lies there, saying what differs, or any without ``resume``.
    """
    settings = json.loads(json.dumps(plan.settings()))  # as it is read back
    path = out / SETTINGS
    try:
        ours = path.is_file()
        strangers = [entry.name for entry in out.iterdir()] if out.is_dir() and not ours else []
        if overwrite and ours:
            forget(out)
        before = json.loads(path.read_text(encoding="utf-8"))["settings"] if path.is_file() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadOutput(
            f"{out}: cannot be gone on with ({error}): give another --out, or --overwrite"
        ) from error
    if set(strangers) - {LOGS}:
        raise BadOutput(f"{out} holds something else ({sorted(strangers)[0]}): give another --out")
    if before is not None and not resume:
        raise BadOutput(f"{out} holds a batch: leave --no-resume out to go on, or --overwrite to begin anew")
    found = differences(settings, before or {})
    if before is not None and found and any(out.glob(f"{LOGS}/*.jsonl")):
        raise BadOutput(
            f"{out} holds another batch ({'; '.join(found)}): give another --out, or --overwrite to begin anew"
        )
    if found:  # a new one, or one that never got as far as an item
        _make(out, path, settings)
    return Outputs(out, plan.config.output, digest_of(settings))


def _make(out: Path, path: Path, settings: Mapping[str, Any]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        record = {"settings": settings, "versions": versions()}
        with durable(path) as partial:
            partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadOutput(f"{out}: cannot be written to: {error.strerror or error}") from error


def forget(out: Path) -> None:
    """Remove what a batch left in this folder, and nothing else."""
    for name in (ITEMS, LOGS):
        if (out / name).is_dir():
            shutil.rmtree(out / name)
    for name in (MANIFEST, FAILURES, REPORT, SETTINGS):
        (out / name).unlink(missing_ok=True)


def sweep(out: Path, alone: bool) -> None:
    """Remove the temporary files of runs that were killed; old ones only where other shards may be at work."""
    for path in (out / ITEMS).glob("*/.*"):
        try:
            if alone or time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue  # it was just renamed, or it is not ours


def digest_of(settings: Mapping[str, Any]) -> str:
    """sha256 of settings."""
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@contextmanager
def durable(path: Path) -> Iterator[Path]:
    """``replacing``, and on the disk for good when it returns."""
    with replacing(path) as partial:
        yield partial
        _sync(partial)
    sync_folder(path.parent)


def write_pictures(folder: Path, frames: Frames) -> None:
    """A folder of PNG pictures, 0000.png and on, whole or not at all. Raises BadOutput."""
    with appearing(folder) as partial:
        for number, frame in enumerate(frames.cpu().numpy()):
            picture = partial / f"{number:04d}.png"
            Image.fromarray(frame).save(picture)
            _sync(picture)
        sync_folder(partial)
    sync_folder(folder.parent)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
