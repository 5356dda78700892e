"""The folder of a run of pictures: what it holds, what is done, and how a run goes on in it.

``pictures/NAME.json`` is written last of the files of a picture, and whole or not at all: where it is, the picture is
done. So runs that are killed lose only the pictures they were at, and shards may fill one folder at a time.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from vidjacobi.config.settings import differences
from vidjacobi.errors import BadOutput
from vidjacobi.output.atomic import replacing, write_json
from vidjacobi.output.locks import is_locked, locked
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.provenance import changes
from vidjacobi.video.contact_sheet import save_sheet, sheet_of
from vidjacobi.video.images import read_image

RECORD, SHEET, PICTURES = "image.json", "sheet.png", "pictures"
OPENING, AT_WORK = ".opening", ".run-"
ON_SHEET = 48  # pictures of a contact sheet

Say = Callable[[str], None]


@dataclass(frozen=True)
class PictureFolder:
    """The folder of a run.

    Attributes:
        path: of the folder.
        settings: what all its pictures depend on, as plain values; written to ``image.json``.
        other_versions: whether a run may go on beside results of other versions of packages.
    """

    path: Path
    settings: Mapping[str, Any]
    other_versions: bool = False

    @contextmanager
    def opened(self, shard: str, resume: bool, overwrite: bool) -> Iterator[None]:
        """Hold this shard's lock while the block runs; the folder is checked, or emptied of an earlier run.

        Raises BadOutput where a run of the same shard is at work, or what lies there is another run.
        """
        own = self.path / f"{AT_WORK}{shard.replace('/', '-of-')}"
        check_folder(self.path, resume, overwrite)
        # Shards that begin together come in one after the other, and each sees who is at work already.
        with locked(self.path / OPENING, wait=True):
            others = [path for path in self.path.glob(f"{AT_WORK}*") if path != own and is_locked(path)]
            if overwrite and others:
                raise BadOutput(f"{self.path}: another run is at work here; wait for it, or end it")
            # Taken within the other lock and held beyond it, while this shard is at work: so it is entered by hand.
            lock = locked(own, wait=False)
            lock.__enter__()
            try:
                self._begin(overwrite)
            except BaseException:
                lock.__exit__(None, None, None)
                raise
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def _begin(self, overwrite: bool) -> None:
        folder = run_folder(self.path)
        if overwrite:
            folder.overwrite()
        if folder.resume(self._differences) is None:
            refuse_foreign(self.path)
            (self.path / PICTURES).mkdir(exist_ok=True)
            write_json(self.path / RECORD, {**self.settings, "pictures": []})

    def _differences(self, record: dict[str, Any]) -> list[str]:
        made = {
            key: value for key, value in self.settings.items() if key in ("config", "decoder", "sampling")
        }
        found = differences(made, record)
        return found + changes(self.settings["made_with"], record.get("made_with"), self.other_versions)

    def record_of(self, name: str, subject: Mapping[str, Any]) -> dict[str, Any] | None:
        """What is written of a picture that is done; None where it is not, or its files are damaged.

        Raises BadOutput where it shows something else than ``subject``.
        """
        record = _read(self.path / PICTURES / f"{name}.json")
        if record is None or any(not (self.path / PICTURES / file).is_file() for file in record["files"]):
            return None
        if other := differences(subject, record):
            raise BadOutput(_changed(self.path / PICTURES / name, other[0]))
        return record

    def check_names(self, names: Sequence[str]) -> None:
        """Raise BadOutput where a picture of the same place in the list has another name."""
        there = {file.stem.partition("_")[0]: file.stem for file in (self.path / PICTURES).glob("*.json")}
        for name in names:
            if (other := there.get(name.partition("_")[0], name)) != name:
                raise BadOutput(_changed(self.path / PICTURES / other, f"here {name}"))

    def write(
        self,
        name: str,
        record: dict[str, Any],
        picture: UInt8[np.ndarray, "H W 3"] | None,
        codes: Int[Tensor, "h w"] | None,
    ) -> dict[str, Any]:
        """The files of one picture; returns the record as it was written. Raises BadOutput."""
        files, place = [], self.path / PICTURES
        if codes is not None:
            files.append(f"{name}.npy")
            with replacing(place / files[-1]) as partial:
                np.save(partial, codes.cpu().numpy().astype(np.int32))
        if picture is not None:
            files.append(f"{name}.png")
            with replacing(place / files[-1]) as partial:
                Image.fromarray(picture).save(partial, format="PNG")
        written = {**record, "name": name, "files": files}
        write_json(place / f"{name}.json", written)
        return written

    def finish(self, captions: Callable[[Mapping[str, Any]], str]) -> list[dict[str, Any]]:
        """Write ``image.json`` and the sheet of all pictures that are there, of all shards; their records.

        Raises BadOutput.
        """
        # Another shard may be at its end too: each writes what all have done so far, and the last one all of it.
        with locked(self.path / OPENING, wait=True):
            records = [
                record
                for file in sorted((self.path / PICTURES).glob("*.json"))
                if (record := _read(file)) is not None
            ]
            write_json(self.path / RECORD, {**self.settings, "pictures": records})
            shown = [record for record in records if _png(record)]
            if shown:
                self._write_sheet(shown, captions)
        return records

    def _write_sheet(
        self, records: Sequence[Mapping[str, Any]], captions: Callable[[Mapping[str, Any]], str]
    ) -> None:
        import torch

        if len(records) > ON_SHEET:
            step = np.linspace(0, len(records) - 1, ON_SHEET).round().astype(int)
            records = [records[index] for index in step]
        pictures = {
            number: torch.from_numpy(read_image(self.path / PICTURES / str(_png(record))))
            for number, record in enumerate(records)
        }
        labels = {number: captions(record) for number, record in enumerate(records)}
        save_sheet(self.path / SHEET, sheet_of(pictures, 0, labels=labels))


def run_folder(out: Path) -> RunFolder:
    """How the folder of a run of pictures is known, and what such a run leaves."""
    parts = (SHEET, *(f"{PICTURES}/*.{ending}" for ending in ("png", "npy", "json")))
    return RunFolder(out, "run of pictures", RECORD, parts=parts)


def _changed(place: Path, how: str) -> str:
    return (
        f"{place}: another picture stands here ({how}): a list of prompts may grow at its end, and nothing "
        "else of it may change; give another --out, or --overwrite to begin anew"
    )


def earlier(out: Path) -> Any:
    """What ``image.json`` of an earlier run says that it was made with; None where there is none."""
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found.get("made_with") if isinstance(found, dict) else None


def count_of(out: Path) -> int:
    """Pictures that ``image.json`` lists."""
    return len(json.loads((out / RECORD).read_text(encoding="utf-8"))["pictures"])


def empty(out: Path) -> None:
    """Remove an earlier run, so that several processes can begin anew. Raises BadOutput where one is at work."""
    with locked(out / OPENING, wait=True):
        if any(is_locked(path) for path in out.glob(f"{AT_WORK}*")):
            raise BadOutput(f"{out}: another run is at work here; wait for it, or end it")
        run_folder(out).overwrite()


def check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """Make the folder and refuse what could not be begun in it, before a model is loaded for it. Raises BadOutput."""
    folder = run_folder(out)
    folder.create()
    if folder.is_ours and not (resume or overwrite):
        raise BadOutput(f"{out} holds a {folder.kind}: give another --out, --resume or --overwrite")
    refuse_foreign(out)


def refuse_foreign(out: Path) -> None:
    """Raise BadOutput where the folder holds anything that no run of pictures left."""
    place = out / PICTURES
    emptied = {PICTURES} if place.is_dir() and not any(place.iterdir()) else set()
    run_folder(out).refuse_foreign({path.name for path in out.glob(".*")} | emptied)


def _png(record: Mapping[str, Any]) -> str | None:
    return next((file for file in record["files"] if file.endswith(".png")), None)


def _read(file: Path) -> dict[str, Any] | None:
    """A picture's record, None where it is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("files"), list) else None
