"""Models by any name, with what they ask of actions: families of other authors, the user's own, and all others."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidjacobi.errors import InvalidArgument
from vidjacobi.loading import family_of, is_there, load, own_model
from vidjacobi.models.action_spec import ActedPair
from vidjacobi.models.own import refuse_family
from vidjacobi.provenance import files_at, weights_files
from vidjacobi.runtime import choose

if TYPE_CHECKING:
    from vidjacobi.families.opening import FamilyName


def acted_family(name: str, one_chunk: bool = False) -> "FamilyName | None":
    """As ``family_of``. Raises InvalidArgument for a family that cannot be decoded like a model of frames.

    ``one_chunk``: whether the caller's clips are of one chunk, as iVideoGPT's must be.
    """
    found = family_of(name)
    if found is None:
        return None
    from vidjacobi.families.acted import ACTED, ONE_CHUNK

    if found.family not in (*ACTED, *(ONE_CHUNK if one_chunk else ())):
        if found.family in ONE_CHUNK:
            raise InvalidArgument(
                f"{name}: the models of iVideoGPT are made anew for each chunk and clip, which this command does not "
                "do: `vidjacobi rollout` takes it, and `bench` and `eval` do for clips of one chunk"
            )
        refuse_family(name)
    return found


def load_acted(
    name: str,
    device: str = "auto",
    dtype: str = "auto",
    tokenizer: str | None = None,
    run_torchscript: bool = False,
    offload: bool = False,
    compile: str = "off",
    one_chunk: bool = False,
) -> ActedPair:
    """The model and the video tokenizer of a name, and what the model asks of actions.

    Arguments and errors are those of ``vidjacobi.load``; ``name`` may also be ``FAMILY:PATH`` of a family in
    ``vidjacobi.families.acted.ACTED``. A model of the user's own says what it asks by ``load.actions``, see
    ``vidjacobi.models.own``. ``one_chunk``: see ``acted_family``.
    """
    family = acted_family(name, one_chunk)
    if family is None:
        model, codec = load(name, device, dtype, tokenizer, run_torchscript, offload, compile)
        own = own_model(name)
        return ActedPair(model, codec, None if own is None else own.actions(model, codec))
    from vidjacobi.decoding.compiled import compiled
    from vidjacobi.families.acted import ACTED, ONE_CHUNK

    if offload:
        from vidjacobi.models.offload import refuse_family as refuse_offload

        refuse_offload(name)
    try:
        pair = (ACTED | ONE_CHUNK)[family.family](family.weights, choose(device, dtype), tokenizer)
    except ImportError as error:  # of a network that this transformers does not have yet
        raise InvalidArgument(f"{family.family} needs transformers 5.23 or newer ({error})") from error
    return pair._replace(model=compiled(pair.model, compile))


def action_rows(source: str) -> list[Any]:
    """The rows of a file of actions; see ``vidjacobi.families.action_files``. Raises InvalidArgument, BadInput."""
    from vidjacobi.families.action_files import read_actions

    return read_actions(source)


def family_folder(name: str) -> Path | None:
    """The folder of a family's weights; None for other models."""
    family = acted_family(name, one_chunk=True)
    if family is None:
        return None
    return family.weights if family.weights.is_dir() else family.weights.parent


def acted_files(name: str, tokenizer: str | None = None) -> Mapping[str, Path]:
    """The files that such a model is loaded from, by name. Raises InvalidArgument, BadCheckpoint."""
    family = acted_family(name, one_chunk=True)
    if family is None:
        return weights_files(name, tokenizer)
    found = files_at(family.weights)
    folder = family.weights if family.weights.is_dir() else family.weights.parent
    codec = folder / "vae" if tokenizer is None else Path(tokenizer).expanduser()
    return found | files_at(codec, "tokenizer: ") if codec.exists() else found


def absolute_family(name: str) -> str:
    """The name of a family's model with the whole path of its files; any other name, and a bundled one, as it is."""
    family = family_of(name)
    if family is None or ":" not in name or not is_there(family.path):
        return name
    whole = replace(family, path=str(Path(family.path).expanduser().absolute()))
    return f"{whole.family}:{whole.path}"
