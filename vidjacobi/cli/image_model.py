"""The model that ``vidjacobi image`` and ``bench pictures`` are given by name: its family, weights and painter."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vidjacobi.config.image import ImageConfig
from vidjacobi.config.model_facts import load_facts, model_names
from vidjacobi.errors import InvalidArgument
from vidjacobi.models import hub
from vidjacobi.registry import suggest
from vidjacobi.runtime import Runtime

if TYPE_CHECKING:
    from vidjacobi.families.painters.contract import Painter


def named(model: str) -> tuple[str, Path]:
    """The family that a text NAME:PATH names, and where its weights are. A repository is fetched.

    Raises InvalidArgument, BadCheckpoint.
    """
    from vidjacobi.families.opening import family_name
    from vidjacobi.families.painters.opening import PAINTERS

    found = family_name(model)
    if found is None:
        if model in model_names("bundled"):
            raise InvalidArgument(f"{model} makes {load_facts(model).makes}: `vidjacobi rollout` takes it")
        family = model.partition(":")[0]
        near = (
            f", such as {family}:FOLDER" if family in PAINTERS else suggest(family, dict.fromkeys(PAINTERS))
        )
        raise InvalidArgument(
            f"--model {model}: name a family and its weights, NAME:PATH{near}; `vidjacobi models` lists the families"
        )
    if found.family not in PAINTERS:
        facts = load_facts(found.family)
        takes = f"in Python, vidjacobi.load_family({model!r}) makes a model of them"
        if facts.command:
            takes = f"`vidjacobi {facts.command}` takes it"
        raise InvalidArgument(
            f"{model}: {facts.title} makes {facts.makes}, no pictures: {takes}. Families that make pictures: "
            f"{', '.join(PAINTERS)}"
        )
    return found.family, found.weights


def unasked(model: str) -> bool:
    """Whether pictures of a model are of nothing in particular, so that no prompt or class is given."""
    from vidjacobi.families.opening import family_name
    from vidjacobi.families.painters.opening import UNASKED

    found = family_name(model)
    return found is not None and found.family in UNASKED


def opened(config: ImageConfig, family: str, path: Path, runtime: Runtime) -> "Painter":
    """The painter, asked as the settings say. Raises InvalidArgument, BadCheckpoint, BadInput."""
    from vidjacobi.families.painters.contract import PainterOptions
    from vidjacobi.families.painters.opening import open_painter

    if not sys.stderr.isatty():  # in a file transformers' bar of loading weights is noise
        from transformers.utils import logging

        logging.disable_progress_bar()
    paths = {
        name: None if getattr(config, name) is None else hub.local(getattr(config, name))
        for name in ("tokenizer", "text_encoder", "features")
    }
    options = PainterOptions(**paths, size=config.pixels, negative=config.negative)
    return open_painter(family, path, runtime, options)
