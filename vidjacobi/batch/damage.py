"""Which files of finished futures are not what was written: tokens and videos are compared with their hashes."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from vidjacobi.batch.fed_actions import actions_in
from vidjacobi.batch.manifest import ROWS, ManifestRow
from vidjacobi.decoding.trace import hash_tokens
from vidjacobi.errors import BadInput
from vidjacobi.provenance import file_sha256


def read_record(path: Path) -> tuple[str, ManifestRow]:
    """The digest of the settings and the row that a future's npz was written with.

    Raises BadInput where it is damaged: its tokens and actions must be those whose hashes the row has.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            tokens, latents = torch.from_numpy(content["tokens"]), int(content["context_latents"])
            record, actions = json.loads(str(content["record"])), actions_in(content)
        settings, row = str(record.pop("settings")), ROWS.row_of(record)
        if hash_tokens([tokens[latents:]]) != row.tokens_sha256:
            raise ValueError("its tokens are not those that it was written with")
        if (actions and actions.digest) != row.actions_sha256:
            raise ValueError("its actions are not those that it was written with")
    except Exception as error:  # damaged bytes make zip, zlib and numpy raise nearly anything
        raise BadInput(f"{path} is damaged ({error!r:.200})") from error
    return settings, row


def video_hash(video: Path) -> str:
    """sha256 of a video, or of the names and contents of a folder of pictures. Raises OSError."""
    if not video.is_dir():
        return file_sha256(video)
    total = sha256()
    for picture in sorted(video.iterdir()):
        total.update(f"{picture.name} {file_sha256(picture)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def is_other_video(out: Path, row: ManifestRow) -> bool:
    """Whether the video of a finished future is there and not the one that was written.

    False without a hash to compare: the row was written before 2026-11-29.
    """
    if row.video is None or row.video_sha256 is None:
        return False
    video = out / row.video
    try:
        return video.exists() and video_hash(video) != row.video_sha256
    except OSError:  # it cannot be read
        return True


def damaged_file(out: Path, tokens: Path) -> Path | None:
    """Of a finished future, the file that is there and not what was written; ``tokens``: its npz."""
    try:
        _, row = read_record(tokens)
    except BadInput:
        return tokens if tokens.exists() else None
    return out / str(row.video) if is_other_video(out, row) else None


def damage_of(out: Path, row: ManifestRow) -> str | None:
    """What of a finished future is damaged, in words; a file that is not there is not damaged."""
    path = out / str(row.tokens)
    try:
        if path.exists():
            _, written = read_record(path)
            if written.tokens_sha256 != row.tokens_sha256:
                return f"{path} is damaged (its tokens are not those of the log)"
            if is_other_video(out, written):
                return f"{out / str(written.video)} is damaged (its bytes are not those that were written)"
    except BadInput as error:
        return str(error)
    return None


def damaged_files(out: Path, rows: Sequence[ManifestRow]) -> list[str]:
    """Of finished futures, which files are damaged, in words."""
    return [words for row in rows if (words := damage_of(out, row))]
