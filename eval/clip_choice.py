"""Which clips of a dataset are evaluated, and which are not, with the reasons."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from vidjacobi.datasets.contract import Entry, Episode, Skipped, counted
from vidjacobi.errors import BadInput, BadOutput, number_of
from vidjacobi.output.atomic import write_json

CLIPS = "clips.json"


@dataclass(frozen=True)
class Chosen:
    """The chosen clips in order, all readable and long enough, and the entries that were skipped on the way.

    Attributes:
        left_out: a line about what lies in the dataset and became no entry; None if nothing did.
    """

    clips: tuple[Episode, ...]
    skipped: tuple[Skipped, ...]
    left_out: str | None = None

    def record(self) -> dict[str, Any]:
        """The content of ``clips.json``: what others need to take the same clips."""
        return {
            "clips": [{"id": clip.id, "source": clip.source, **numbers(clip)} for clip in self.clips],
            "skipped": [{"id": entry.id, "reason": entry.reason} for entry in self.skipped],
            "left_out": self.left_out,
        }


def numbers(clip: Episode) -> dict[str, object]:
    """The start and the stride of a clip that is a part of a longer one."""
    return {key: clip.metadata[key] for key in ("start", "stride") if key in clip.metadata}


def choose(entries: Iterable[Entry], count: int, needed: int, in_order: bool) -> Chosen:
    """The first ``count`` clips with at least ``needed`` frames, in the order of the dataset or of their ids' hashes.

    Raises BadInput where fewer than two clips can be used.
    """
    # Hashes order the clips as if at random. So the first clips resemble the whole dataset, a larger count adds clips
    # to a smaller one, and clips do not change places when others are added to the folder.
    listed = list(entries)
    if not in_order:
        listed.sort(key=lambda entry: sha256(entry.id.encode("utf-8", "surrogateescape")).digest())
    clips: list[Episode] = []
    skipped: list[Skipped] = []
    for entry in listed:
        if len(clips) == count:
            break
        # Only now a file is opened: a dataset of thousands of clips is not read to take a hundred.
        found = counted(entry, needed)
        if isinstance(found, Episode):
            clips.append(found)
        else:
            skipped.append(found)
    if len(clips) < 2:
        reasons = "".join(f"\n  {entry.id}: {entry.reason}" for entry in skipped[:5])
        raise BadInput(
            f"{len(clips)} of {number_of(len(listed), 'clip')} have "
            f"{number_of(needed, 'readable frame')}, at least 2 are needed{reasons}"
        )
    return Chosen(tuple(clips), tuple(skipped))


def keep(out: Path, chosen: Chosen) -> None:
    """Write ``clips.json``. Raises BadOutput where the folder holds an evaluation of other clips.

    A run may have more clips or fewer than the one before, but the clips that both have must be the same, in the same
    order.
    """
    path = out / CLIPS
    record = chosen.record()
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["clips"]
            if not isinstance(before, list) or not all(
                isinstance(clip, dict) and "id" in clip for clip in before
            ):
                raise ValueError("its clips are no list of objects with ids")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadOutput(f"{path} is damaged ({error!r:.200}): give another --out") from error
        shared = min(len(before), len(record["clips"]))
        for old, new in zip(before[:shared], record["clips"][:shared], strict=True):
            if old != new:
                raise BadOutput(
                    f"{out} holds an evaluation of other clips ({old['id']} there, {new['id']} here): "
                    "give another --out"
                )
        if len(before) > len(record["clips"]):
            return  # this run takes only the first of these clips, and the longer list stays
    write_json(path, record)
