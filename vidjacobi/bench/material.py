"""What a bench decodes: a model, contexts, and the number of tokens to decide."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from vidjacobi.acting import family_folder, load_acted
from vidjacobi.bench.clip_actions import Wanted, chosen, conditions_of
from vidjacobi.bench.settings import BenchConfig
from vidjacobi.decoding.api import decode
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.loading import Pair
from vidjacobi.models.action_spec import ActedPair
from vidjacobi.models.codec import frames_to_tokens
from vidjacobi.models.protocol import VideoModel, flatten
from vidjacobi.models.tokenizer import check_lengths, latent_frames
from vidjacobi.output.token_files import read_tokens
from vidjacobi.shapes import GridTokens
from vidjacobi.video.timed_reader import read_frames


@dataclass(frozen=True)
class Material:
    """A model, its contexts and the number of tokens to decide.

    ``warm`` holds (decoder, window, clips) of decodes whose passes have been compiled already; ``conditions`` one for
    each clip of a model whose frames follow actions.
    """

    pair: Pair
    grids: GridTokens
    new_tokens: int
    conditions: list[Any] | None = None
    warm: set[tuple[str, int, int]] = field(default_factory=set)


@dataclass(frozen=True)
class Source:
    """Where contexts come from.

    These are the user's videos ``clips``, or a ``file`` (.npy) of tokens ``[clips t h w]`` or, without both, the
    held-out contexts that ship with the model. ``actions`` are a file for each of ``clips``, for models whose frames
    follow some; none: the file of its name beside each. ``table`` has those of the contexts in ``file``.
    """

    clips: tuple[Path, ...] = ()
    actions: tuple[str, ...] = ()
    file: Path | None = None
    table: Path | None = None


SHIPPED = Source()
BEGUN = ("", 0, 0)  # in ``Material.warm``: libraries are loaded


@lru_cache(maxsize=1)
def acted_pair_of(
    model: str, tokenizer: str | None, device: str, dtype: str, compile: str = "off"
) -> ActedPair:
    """A model, its video tokenizer and what it asks of actions. The last stays in memory from call to call."""
    return load_acted(model, device, dtype, tokenizer, compile=compile, one_chunk=True)


def pair_of(model: str, tokenizer: str | None, device: str, dtype: str, compile: str = "off") -> Pair:
    """A model and its video tokenizer."""
    found = acted_pair_of(model, tokenizer, device, dtype, compile)
    return found.model, found.tokenizer


@lru_cache(maxsize=1)
def _material(pair: Pair, model: str, context: int, source: Source, written: int) -> Material:
    # ``written``, the time of the file, is part of the cache's key only: a file that has changed is read again.
    grids = (
        read_contexts(source.file, pair[0])
        if source.file
        else contexts_of(model, pair, context, source.clips)
    )
    return Material(pair, grids, 0)


def material_of(name: str, config: BenchConfig, source: Source) -> Material:
    """The model, its contexts and the number of tokens to decide. The last one stays in memory from call to call.

    Raises InvalidArgument where there are fewer contexts than the configuration asks for, or where their length or
    that of the whole clip does not fit the model.
    """
    written = source.file.stat().st_mtime_ns if source.file else 0
    acted = acted_pair_of(name, config.tokenizer, config.device, config.dtype, config.compile)
    pair = acted.model, acted.tokenizer
    found = _material(pair, name, config.context, source, written)
    if not source.clips and config.clips > len(found.grids):
        place = source.file or f"held-out contexts ship with {name}"
        raise InvalidArgument(
            f"{number_of(config.clips, 'clip')} asked for, but there are {len(found.grids)}: {place}"
        )
    check_lengths(config.context, config.frames, 1, found.pair[1])
    # whole latent frames that cover context and prediction, less those of the context
    whole = latent_frames(config.context + config.frames, found.pair[1])
    new_tokens = (whole - found.grids.shape[1]) * found.grids[0, 0].numel()
    room = pair[0].max_positions - len(pair[0].prefix_tokens) - found.grids[0].numel()
    if new_tokens > room:
        raise InvalidArgument(
            f"{number_of(config.frames, 'frame')} after {config.context} need {number_of(new_tokens, 'token')}, and "
            f"{name} has room for {room}: ask for fewer --frames"
        )
    whole_clip = config.context + config.frames
    wanted = Wanted(name, source.clips, source.actions, whole_clip, source.table)
    conditions = conditions_of(wanted, acted.actions)
    if BEGUN not in found.warm:
        # so that the first measured decode does not load libraries
        decode(pair[0], flatten(pair[0], found.grids[:1]), 2, conditions=chosen(conditions, [0]))
        found.warm.add(BEGUN)
    return replace(found, new_tokens=new_tokens, conditions=conditions)


def contexts_of(name: str, pair: Pair, length: int = 9, clips: Sequence[Path] = ()) -> GridTokens:
    """Context tokens ``[clips t h w]`` of ``length`` frames: of the user's videos, or those that ship with the model.

    Raises InvalidArgument where none ship, or where they have another length.
    """
    model, tokenizer = pair
    if clips:
        check_lengths(length, 1, 1, tokenizer)
        frames = [read_frames(clip, 0, length).frames for clip in clips]
        return torch.cat([frames_to_tokens([clip], tokenizer) for clip in frames])
    folder = family_folder(name) or resources.files("vidjacobi") / "assets" / name
    place = folder / "held_out_contexts.npy"
    if not place.is_file():
        raise InvalidArgument(f"no contexts ship for {name}: name some clips")
    with resources.as_file(place) as file:
        grids = read_contexts(file, model)
    # They are tokens, so they cannot be cut to another number of frames.
    if latent_frames(length, tokenizer) != grids.shape[1]:
        raise InvalidArgument(
            f"the contexts that ship with {name} are not of {number_of(length, 'frame')}: name some clips"
        )
    return grids


def read_contexts(file: Path, model: VideoModel) -> GridTokens:
    """The context tokens ``[clips t h w]`` in a .npy file, on the device of the model."""
    return torch.from_numpy(read_tokens(file, 4)).to(model.device)
