"""Sets of pictures that are compared: finished runs of ``vidjacobi image``, and folders of real pictures."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from vidjacobi.config.settings import differences
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.eval.pictures.records import Cost, read_record
from vidjacobi.pictures.files import PICTURES, RECORD
from vidjacobi.video.images import beside_frames, image_size, read_image
from vidjacobi.video.probe import is_image_name

AR = "ar"
SAME = ("config", "sampling")  # of image.json: what runs must share, but for the seed


@dataclass(frozen=True)
class PictureSet:
    """One set of pictures.

    Attributes:
        name: of its folder, distinct among those compared.
        files: each picture's file by the picture's name, sorted by it.
        settings: ``image.json`` without its pictures; None for a folder that no run made.
        costs: what a run recorded of each picture, by its name; empty for a folder that no run made.
    """

    name: str
    files: Mapping[str, Path]
    settings: Mapping[str, Any] | None
    costs: Mapping[str, Cost]

    @property
    def seed(self) -> int | None:
        """Of a run."""
        return None if self.settings is None else self.settings["config"]["seed"]

    @property
    def decoder(self) -> str:
        """Of a run."""
        return "" if self.settings is None else str(self.settings["decoder"]["name"])

    def size(self) -> tuple[int, int]:
        """Rows and columns of all its pictures. Raises BadInput where they differ."""
        sizes = {name: image_size(file) for name, file in self.files.items()}
        first = next(iter(self.files))
        for name, size in sizes.items():
            if size != sizes[first]:
                raise BadInput(
                    f"{self.files[name]} is {_shown(size)}, and {self.files[first]} {_shown(sizes[first])}: bring "
                    "all pictures to one size first, in the same way: resizing would decide the distance"
                )
        return sizes[first]

    def pictures(self) -> Iterator[UInt8[Tensor, "3 H W"]]:
        """All of them in order, one in memory at a time. Raises BadInput for a damaged one."""
        for file in self.files.values():
            yield torch.from_numpy(read_image(file)).permute(2, 0, 1)


def open_run(folder: Path) -> PictureSet:
    """A finished run of ``vidjacobi image``. Raises BadInput."""
    record, files = read_record(folder), {}
    for name in record.costs:
        file = folder / PICTURES / f"{name}.png"
        if not file.is_file():
            raise BadInput(
                f"{folder}: {file.name} is not there: the same `vidjacobi image` makes it again; a model whose "
                "pixels cannot be made here has none"
            )
        files[name] = file
    done = {path.stem for path in (folder / PICTURES).glob("*.json")}
    if left := sorted(done - set(files)):
        raise BadInput(
            f"{folder}: {RECORD} does not list all that is there ({left[0]}): let `vidjacobi image` finish in it"
        )
    return PictureSet(called(folder), files, record.settings, record.costs)


def called(folder: Path) -> str:
    """The name of a folder, however it is written: ``.`` and ``..`` have one too."""
    return Path(os.path.abspath(folder)).name or str(folder)


def open_reference(folder: Path) -> PictureSet:
    """A run of ``vidjacobi image``, or a folder of pictures. Raises BadInput."""
    if folder.name == PICTURES and (folder.parent / RECORD).is_file():
        folder = folder.parent  # its seed is known there
    if (folder / RECORD).exists():
        return open_run(folder)
    if not folder.is_dir():
        raise BadInput(
            f"{folder}: {'a file' if folder.exists() else 'no such folder'}; name a folder of pictures"
        )
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed: {error.strerror or error}") from error
    # hidden ones are none: macOS leaves `._a.png` beside a.png
    files = {
        path.name: path
        for path in entries
        if is_image_name(path.name) and not path.name.startswith(".") and path.is_file()
    }
    if not files:
        raise BadInput(f"{folder}: no picture lies in it (folders in it are not looked into)")
    return PictureSet(called(folder), files, None, {})


def open_sets(reference: Path, folders: Sequence[Path]) -> tuple[PictureSet, list[PictureSet], list[str]]:
    """The reference, the runs that are compared with it, AR's first, and notes.

    Raises BadInput where runs are not of the same pictures, InvalidArgument where their seed is the reference's.
    """
    base, runs = open_reference(reference), [open_run(folder) for folder in folders]
    runs.sort(key=lambda run: run.decoder != AR)
    first, notes = runs[0], _of_reference(base, runs[0], reference)
    _check_names(runs)
    for run in runs:
        if [*run.files] != [*first.files]:
            alone = min(set(run.files) ^ set(first.files))
            raise BadInput(
                f"{run.name} and {first.name} are not of the same pictures ({alone} is in one only): a distance "
                "depends on how many there are, and of what"
            )
        if run.seed is not None and run.seed == base.seed:
            raise InvalidArgument(
                f"{base.name} and {run.name} have the same seed, {run.seed}, so the same noise: draw the reference "
                "with another --seed, or the distance is 0 whatever the pictures are"
            )
        notes += [*_other_settings(run, first), *_other_clocks(run, first)]
    if first.decoder != AR:
        notes.append("no run of --decoder ar is among them: nothing is compared with AR's pictures")
    sizes = {one.name: one.size() for one in (base, *runs)}
    for name, size in sizes.items():
        if size != sizes[first.name]:
            raise BadInput(
                f"pictures of {name} are {_shown(size)}, and those of {first.name} {_shown(sizes[first.name])}: "
                "bring them to one size first: resizing would decide the distance"
            )
    if len(fewest := min(base.files, first.files, key=len)) < 2:
        raise BadInput(
            f"a distance needs at least 2 pictures on each side, not {number_of(len(fewest), 'picture')}"
        )
    return base, runs, notes


def _of_reference(base: PictureSet, first: PictureSet, folder: Path) -> list[str]:
    """What belongs to distances from this reference."""
    if base.settings is None:
        return [f"{base.name}: {text}" for text in beside_frames(folder)]
    notes = _other_settings(base, first)
    if [*base.files] != [*first.files]:
        notes.append(
            f"{base.name} is of other pictures than the runs: differences from AR's have no interval"
        )
    if base.settings["decoder"]["guarantee"] == "lossy":
        notes.append(
            f"{base.name} was decoded with {base.decoder}, which is lossy: distances are from its pictures, not "
            "from AR's"
        )
    return notes


def _check_names(runs: Sequence[PictureSet]) -> None:
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidArgument(f"two folders are called {twice!r}: lines of the table go by the folder's name")


def _other_settings(run: PictureSet, first: PictureSet) -> list[str]:
    """Where a run was made otherwise than the first, by more than its decoder and seed."""
    both = [one.settings or {} for one in (run, first)]
    found = []
    for key in SAME:
        here, there = ({k: v for k, v in one[key].items() if k != "seed"} for one in both)
        found += differences(here, there)
    here, there = ({**one["made_with"]} for one in both)
    hashes = [{name: facts["sha256"] for name, facts in one.pop("weights").items()} for one in (here, there)]
    found += [*differences(here, there), *["other weights"] * (hashes[0] != hashes[1])]
    return [f"{run.name} was not made as {first.name}: {text}" for text in found]


def _other_clocks(run: PictureSet, first: PictureSet) -> list[str]:
    """Why seconds of a run do not go beside those of the first."""
    here, there = (
        {
            "device": (one.settings or {}).get("device"),
            "rows together": max(cost.rows for cost in one.costs.values()),
        }
        for one in (run, first)
    )
    return [
        f"latencies of {run.name} and {first.name} do not compare: {text}"
        for text in differences(here, there)
    ]


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
