"""What `vidjacobi image` wrote of a run and of each of its pictures, checked as it is read."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidjacobi.errors import BadInput
from vidjacobi.pictures.files import RECORD


@dataclass(frozen=True)
class Cost:
    """What a run recorded of one picture.

    Attributes:
        prompt: its place in the list of prompts.
        rows: pictures that were decoded together.
        seconds: its share of their decoding.
    """

    prompt: int
    nfe: int
    new_tokens: int
    rows: int
    seconds: float
    tokens_sha256: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Cost":
        """Raises ValueError, LookupError or TypeError for what is no record of a picture."""
        nfe, new, rows = (whole(record[key], key, 1) for key in ("nfe", "new_tokens", "rows_together"))
        seconds = record["seconds"]["decode"]
        if not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
            raise ValueError(f"seconds {seconds!r}")
        sha256 = text(record["tokens_sha256"], "tokens_sha256")
        return cls(whole(record["index"], "index", 0), nfe, new, rows, seconds / rows, sha256)


@dataclass(frozen=True)
class RunRecord:
    """``image.json`` of a run.

    Attributes:
        settings: all of it but its pictures.
        costs: of each picture by its name, sorted by it.
    """

    settings: Mapping[str, Any]
    costs: Mapping[str, Cost]


def read_record(folder: Path) -> RunRecord:
    """The record of the run in a folder. Raises BadInput."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        settings = {key: value for key, value in record.items() if key != "pictures"}
        check_settings(settings)
        found = [(name_of(one), Cost.of(one)) for one in record["pictures"]]
        costs = dict(sorted(found, key=lambda pair: pair[0]))
        if len(costs) < len(found):
            raise ValueError("two pictures have one name")
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{folder}: no run of `vidjacobi image`: {RECORD} is missing or damaged ({error!r:.100})"
        ) from error
    if not costs:
        raise BadInput(f"{folder}: {RECORD} lists no picture: let `vidjacobi image` finish in it")
    return RunRecord(settings, costs)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ValueError, LookupError, TypeError or AttributeError where the evaluation could not read them."""
    config, decoder, _, made = ({**settings[key]} for key in ("config", "decoder", "sampling", "made_with"))
    whole(config["seed"], "seed", 0)
    for key in ("name", "guarantee"):
        text(decoder[key], key)
    if decoder["window"] is not None:
        whole(decoder["window"], "window", 1)
    for facts in made["weights"].values():
        text(facts["sha256"], "sha256")


def name_of(record: Mapping[str, Any]) -> str:
    """A picture's name, which names files: a path could lead out of the folder. Raises ValueError."""
    name = text(record["name"], "name")
    if Path(name).name != name or "\0" in name or len(name.encode("utf-8", "replace")) > 250:
        raise ValueError(f"name {name[:40]!r}")
    return name


def whole(value: Any, name: str, least: int) -> int:
    """A whole number of at least ``least``. Raises ValueError."""
    if type(value) is not int or value < least:  # True is no number of passes
        raise ValueError(f"{name} {value!r:.40}")
    return value


def text(value: Any, name: str) -> str:
    """A text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{name} {value!r:.40}")
    return value
