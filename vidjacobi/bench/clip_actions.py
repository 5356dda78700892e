"""The actions that the frames of a bench's clips follow, for models that are given some."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidjacobi.acting import action_rows, family_folder
from vidjacobi.datasets.recorded_actions import RecordedActions
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.models.action_spec import ActionSpec
from vidjacobi.provenance import file_sha256
from vidjacobi.rollouts.aligned_actions import aligned
from vidjacobi.video.timed_reader import open_clip

ENDINGS = (".jsonl", ".ndjson", ".npy")
SHIPPED = "held_out_actions.npy"


@dataclass(frozen=True)
class Wanted:
    """Whose actions are wanted.

    Attributes:
        model: its name.
        clips: the user's videos; none: the held-out clips that ship with the model.
        files: a file of actions for each of them, in their order, as ``vidjacobi rollout --actions`` takes it; none:
            the file of the same name beside each clip, as MineRL has them.
        frames: from the first one of the context to the last one that is predicted.
        table: an array of the actions of all clips ``[clips frames-1 k]``, of contexts that are tokens in a file.
    """

    model: str
    clips: tuple[Path, ...]
    files: tuple[str, ...]
    frames: int
    table: Path | None = None


def conditions_of(wanted: Wanted, spec: ActionSpec | None) -> list[Any] | None:
    """A condition for each clip; None where the model's frames follow no actions.

    Raises InvalidArgument where actions are given to such a model, or not one file for each clip; BadInput for files
    that are not there, are damaged, end too early or hold what the model does not take.
    """
    if spec is None:
        if wanted.files:
            raise InvalidArgument(f"--actions: frames of {wanted.model} follow none: leave it out")
        return None
    if wanted.table:
        return [spec.condition(rows) for rows in torch.from_numpy(np.load(wanted.table, allow_pickle=False))]
    if not wanted.clips:
        return shipped_conditions(wanted, spec)
    files = wanted.files or tuple(str(beside(clip)) for clip in wanted.clips)
    if len(files) != len(wanted.clips):
        raise InvalidArgument(
            f"--actions: {number_of(len(files), 'file')} for {number_of(len(wanted.clips), 'clip')}: name one for "
            "each, in their order"
        )
    return [_condition(clip, file, wanted, spec) for clip, file in zip(wanted.clips, files, strict=True)]


def _condition(clip: Path, file: str, wanted: Wanted, spec: ActionSpec) -> Any:
    rows = action_rows(file)
    # A row for each frame of the clip, as many a second.
    found = RecordedActions(rows, float(open_clip(clip).fps) or None)
    return spec.condition(aligned(found, spec, 0, wanted.frames - 1, file))


def places_beside(clip: Path) -> list[Path]:
    """Where a file of actions may be."""
    return [clip.with_suffix(ending) for ending in ENDINGS]


def beside(clip: Path) -> Path:
    """The file of actions beside a clip. Raises InvalidArgument where there is none, or several."""
    there = [place for place in places_beside(clip) if place.is_file()]
    if len(there) == 1:
        return there[0]
    found = f"there are {' and '.join(place.name for place in there)}" if there else "there is none"
    raise InvalidArgument(
        f"{clip}: frames of this model follow actions, which are read from a file of the clip's name with "
        f"{', '.join(ENDINGS)}, and {found}: name one for each clip with --actions"
    )


def hashed(clips: Sequence[Path], files: Sequence[str]) -> list[str]:
    """The files of actions for some clips, named or beside them, each with the sha256 of its bytes."""
    named = [Path(file.rpartition(":")[0] if ".parquet:" in file.lower() else file) for file in files]
    found = named or [place for clip in clips for place in places_beside(clip) if place.is_file()]
    return [f"{place} sha256 {file_sha256(place)}" for place in found if place.is_file()]


def shipped_conditions(wanted: Wanted, spec: ActionSpec) -> list[Any]:
    """Of the held-out clips that ship. Raises InvalidArgument where there are none or too few rows."""
    if wanted.files:
        raise InvalidArgument(
            "--actions: the held-out clips have actions of their own: name clips, or leave it out"
        )
    folder = family_folder(wanted.model)
    if folder is None or not (folder / SHIPPED).is_file():
        raise InvalidArgument(f"no clips with actions ship for {wanted.model}: name some clips")
    actions = torch.from_numpy(np.load(folder / SHIPPED, allow_pickle=False)).float()
    if wanted.frames - 1 > actions.shape[1]:
        raise InvalidArgument(
            f"the clips that ship with {wanted.model} have actions for {number_of(actions.shape[1] + 1, 'frame')}, "
            f"context included, and {wanted.frames} are wanted: ask for fewer --frames, or name clips"
        )
    return [spec.condition(rows) for rows in actions[:, : wanted.frames - 1]]


def chosen(conditions: Sequence[Any] | None, clips: Sequence[int]) -> list[Any] | None:
    """Those of some clips."""
    return None if conditions is None else [conditions[clip] for clip in clips]
