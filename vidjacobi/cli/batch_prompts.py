"""``vidjacobi batch`` over a list of prompts: ``vidjacobi image`` with a process on each device."""

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vidjacobi.config.image import ImageConfig
from vidjacobi.config.model_facts import model_names
from vidjacobi.errors import InvalidArgument

# what both commands have beside their settings
BOTH = {"command", "data", "settings", "config", "out", "resume", "overwrite"}


def makes_pictures(args: Namespace) -> bool:
    """Whether the model that a batch is asked for makes pictures of prompts or classes."""
    from vidjacobi.families.opening import family_name
    from vidjacobi.families.painters.opening import PAINTERS

    model = args.model or dict(pair.split("=", 1) for pair in args.settings if "=" in pair).get("model")
    if model is None or (model in model_names("bundled") and model not in PAINTERS):
        return False
    found = family_name(model)
    return found is not None and found.family in PAINTERS


def run_prompts(args: Namespace) -> tuple[dict[str, Any], int]:
    """What was made, and the exit status. Raises VidjacobiError."""
    from vidjacobi.cli.image_model import unasked
    from vidjacobi.cli.image_pictures import Output
    from vidjacobi.cli.image_workers import make_with_workers
    from vidjacobi.config.image import load_image
    from vidjacobi.pictures.prompt_list import read_entries

    known = BOTH | {field.name for field in fields(ImageConfig)}
    refuse_others([name for name, value in vars(args).items() if value is not None and name not in known])
    flags = {**vars(args), "devices": args.devices or "auto"}
    config, decoder = load_image(args.config, flags, args.settings)
    entries, notes = read_entries([], [], Path(args.data), unasked(config.model))
    output = Output(Path(os.path.abspath(args.out)), args.resume, args.overwrite)
    return make_with_workers(config, decoder, entries, output, notes)


def refuse_others(names: Sequence[str]) -> None:
    """Raise InvalidArgument for flags that say something of clips."""
    if names:
        said = ", ".join("--" + name.replace("_", "-") for name in names)
        raise InvalidArgument(
            f"{said}: of clips, and this model makes pictures of a list of prompts: leave it out"
        )
