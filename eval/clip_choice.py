"""Which clips of a dataset are evaluated, and which are not and why."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from vidjacobi.datasets.contract import Entry, Episode, Skipped, counted
from vidjacobi.errors import BadInput, BadOutput
from vidjacobi.output.atomic import write_json

CLIPS = "clips.json"


@dataclass(frozen=True)
class Chosen:
    """Clips that are long enough and readable, in order, and the entries passed over on the way to them."""

    clips: tuple[Episode, ...]
    skipped: tuple[Skipped, ...]

    def record(self) -> dict[str, Any]:
        """For ``clips.json``: what anybody needs to take the same clips."""
        return {
            "clips": [{"id": clip.id, "source": clip.source, **numbers(clip)} for clip in self.clips],
            "skipped": [{"id": entry.id, "reason": entry.reason} for entry in self.skipped],
        }


def numbers(clip: Episode) -> dict[str, object]:
    """Where a stretch of a longer clip begins, and its stride."""
    return {key: clip.metadata[key] for key in ("start", "stride") if key in clip.metadata}


def choose(entries: Iterable[Entry], count: int, needed: int, in_order: bool) -> Chosen:
    """The first ``count`` clips with at least ``needed`` frames.

    In the dataset's order, or in the order of the ids' hashes: a sample that looks like the whole, that more
    clips extend, and that does not depend on what else lies in the folder. Raises BadInput where none is usable.
    """
    listed = list(entries)
    if not in_order:
        listed.sort(key=lambda entry: sha256(entry.id.encode("utf-8", "surrogateescape")).digest())
    clips: list[Episode] = []
    skipped: list[Skipped] = []
    for entry in listed:
        if len(clips) == count:
            break
        found = counted(entry, needed)
        if isinstance(found, Episode):
            clips.append(found)
        else:
            skipped.append(found)
    if len(clips) < 2:
        reasons = "".join(f"\n  {entry.id}: {entry.reason}" for entry in skipped[:5])
        raise BadInput(
            f"{len(clips)} of {len(listed)} clips have {needed} readable frames, at least 2 are needed{reasons}"
        )
    return Chosen(tuple(clips), tuple(skipped))


def keep(out: Path, chosen: Chosen) -> None:
    """Write ``clips.json``. Raises BadOutput where the folder holds an evaluation of other clips."""
    path = out / CLIPS
    record = chosen.record()
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["clips"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadOutput(f"{path} is damaged ({error}): give another --out") from error
        shared = min(len(before), len(record["clips"]))
        for old, new in zip(before[:shared], record["clips"][:shared], strict=True):
            if old != new:
                raise BadOutput(
                    f"{out} holds an evaluation of other clips ({old['id']} there, {new['id']} here): "
                    "give another --out"
                )
        if len(before) > len(record["clips"]):
            return  # a part of them: the longer list stays
    write_json(path, record)
