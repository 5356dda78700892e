"""The files of a batch: where they are, written so that they are whole or not there, and found again.

    OUT/settings.json                       what the results depend on
    OUT/items/EPISODE/000016-0.npz          start 16, sample 0: tokens [t h w], context_latents, record (JSON),
                                            actions [T-1 k] and action_names where some were fed
    OUT/items/EPISODE/000016-0.mp4          with --output videos; frames: a folder 000016-0 of PNG pictures
    OUT/log/*.jsonl, OUT/manifest.parquet   see manifest.py

The npz comes last and holds the row of the manifest, so it alone says that an item is finished: after a kill between
its rename and the log's line, the next run finds it and adds the line.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from vidjacobi.acting import acted_files
from vidjacobi.batch.damage import damaged_file, is_other_video, read_record, video_hash
from vidjacobi.batch.devices import dtype_of
from vidjacobi.batch.fed_actions import FedActions
from vidjacobi.batch.manifest import BESIDE, ITEMS, LOGS, SETTINGS, Item, ManifestRow
from vidjacobi.batch.manifest_table import FAILURES, MANIFEST
from vidjacobi.batch.settings import BatchPlan
from vidjacobi.config.settings import differences
from vidjacobi.errors import BadInput, BadOutput
from vidjacobi.output.atomic import (
    durable,
    is_temporary,
    remove,
    replacing_folder,
    sync_file,
    sync_folder,
    write_json,
)
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.provenance import changes, fingerprint
from vidjacobi.provenance import made_with as made_with_files
from vidjacobi.runtime import versions
from vidjacobi.shapes import Frames
from vidjacobi.video.writer import write_video

REPORT = "report.html"
_STALE = 3600  # seconds after which a temporary file counts as left by a run that was killed


@dataclass(frozen=True)
class FutureContent:
    """What is kept of a finished future.

    Attributes:
        tokens: the whole latent grid.
        context_latents: how many of its latent frames are the context's.
        frames: the context's, then the predicted ones; None where only tokens are kept.
        actions: what led from each frame to the next; None where the model was told nothing.
    """

    tokens: Int[Tensor, "t h w"]
    context_latents: int
    frames: Frames | None
    fps: float
    actions: FedActions | None = None


@dataclass(frozen=True)
class FutureFiles:
    """Where the files of futures are.

    Attributes:
        kind: a key of ``vidjacobi.batch.manifest.BESIDE``.
        digest: of the settings and weights, so that files of another batch are never taken for this one's.
    """

    out: Path
    kind: str
    digest: str

    def path(self, item: Item, suffix: str) -> Path:
        """The file of a future with this suffix."""
        return self.out / item.path(suffix)

    @property
    def suffix(self) -> str | None:
        """Suffix of what lies beside the tokens: empty for a folder of pictures, None where there is nothing."""
        return BESIDE[self.kind]

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
            row = replace(row, video=str(beside.relative_to(self.out)), video_sha256=video_hash(beside))
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
                record=np.array(json.dumps(record)),  # in ASCII: a path may hold what UTF-8 has no code for
                **(content.actions.arrays() if content.actions else {}),  # type: ignore[arg-type]
            )
        return row

    def find(self, item: Item, tell: Callable[[str], None]) -> ManifestRow | None:
        """The row of a future whose files are there and whole, None without; after a crash no log may have it.

        What is damaged is told, and made again.
        """
        path = self.path(item, ".npz")
        if not path.is_file():
            return None
        try:
            settings, row = read_record(path)
        except BadInput as error:
            tell(f"{error} and is made again")
            return None
        if settings != self.digest or row.item != item:
            return None  # another batch's
        if is_other_video(self.out, row):
            tell(f"{self.out / str(row.video)} is damaged and is made again")
            return None
        return row if row.video is None or (self.out / row.video).exists() else None

    def lost(self, items: Sequence[Item]) -> dict[Item, Path]:
        """Those of finished futures of which a file is not there any more, or is damaged, and that file.

        Tokens and videos are read and compared with their hashes.
        """
        names: dict[
            Path, set[str]
        ] = {}  # of each folder once: to ask for every file would take long on a network
        for folder in {self.path(item, ".npz").parent for item in items}:
            names[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        suffixes = [".npz", *([] if self.suffix is None else [self.suffix])]
        found = {}
        for item in items:
            paths = [self.path(item, suffix) for suffix in suffixes]
            gone = (path for path in paths if path.name not in names[path.parent])
            if trouble := next(gone, None) or damaged_file(self.out, paths[0]):
                found[item] = trouble
        return found


def open_out(
    out: Path,
    plan: BatchPlan,
    resume: bool = True,
    overwrite: bool = False,
    alone: bool = True,
) -> FutureFiles:
    """Make the output folder ready, or resume in it; ``alone``: no other shard is at work there.

    Raises BadOutput where another batch lies there, saying what differs, or any without ``resume``; InvalidArgument
    and BadCheckpoint for a model whose files cannot be read.
    """
    settings = json.loads(json.dumps(plan.settings()))  # as it is read back: tuples are lists
    # the locks in LOGS stay: a lock file that is removed would be held twice
    logs = f"{LOGS}/*-of-*.jsonl"
    folder = RunFolder(out, "batch", SETTINGS, parts=(ITEMS, logs, MANIFEST, FAILURES, REPORT))
    folder.refuse_foreign(besides=(LOGS,))  # this run's own lock lies there already
    if overwrite:
        if not alone:
            raise BadOutput(
                f"{out}: another run is at work here, and --overwrite would remove its files: "
                "end it, or leave --overwrite out"
            )
        folder.overwrite()
    if folder.is_ours and not resume:
        raise BadOutput(
            f"{out} holds a batch: leave --no-resume out to resume it, or --overwrite to begin anew"
        )
    made: dict[str, Any] = {}
    found: list[str] = []

    def compare(record: dict[str, Any]) -> list[str]:
        before = record.get("made_with")
        made.update(made_with(plan, before))
        found.extend(differences(settings, record["settings"]))
        found.extend(changes(made, before, plan.config.other_versions))
        # Without a log and another run no item was reached, and the folder may be another batch's.
        return found if not alone or any(out.glob(logs)) else []

    before = folder.resume(compare)
    made = made or made_with(plan)
    earlier: list[Any] = []  # versions of packages that made a part of it
    if before and not found:
        noted, there = before.get("earlier"), before["made_with"].get("versions")
        earlier = noted if isinstance(noted, list) else []
        earlier += [there] * (there != made["versions"])
    record = {"settings": settings, "made_with": made, "versions": versions(), "earlier": earlier}
    if before != record:
        folder.create()
        with durable(out / SETTINGS) as partial:
            write_json(partial, record)
    return FutureFiles(out, plan.config.output, digest_of({**settings, **fingerprint(made)}))


def made_with(plan: BatchPlan, before: Any = None) -> dict[str, Any]:
    """What the results depend on beside the settings; see ``vidjacobi.provenance``."""
    config = plan.config
    return made_with_files(acted_files(config.model, config.tokenizer), dtype_of(config), before)


def recorded_dtype(out: Path) -> str:
    """The dtype that the batch in a folder is computed in."""
    return str(json.loads((out / SETTINGS).read_text(encoding="utf-8"))["made_with"]["dtype"])


def sweep(out: Path, alone: bool) -> None:
    """Remove the temporary files of runs that were killed; only old ones unless this run is ``alone`` in ``out``.

    Only names of our own making are removed, and nothing behind a link.
    """
    items = out / ITEMS
    if items.is_symlink() or not items.is_dir():
        return
    for folder in items.iterdir():
        if folder.is_symlink() or not folder.is_dir():
            continue
        for path in folder.iterdir():
            try:
                old = time.time() - path.lstat().st_mtime > _STALE
                if is_temporary(path.name) and not path.is_symlink() and (alone or old):
                    remove(path)
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
