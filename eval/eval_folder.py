"""The folder of an evaluation: opened, resumed only by the same one, and the contexts that it keeps."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidjacobi.acting import acted_files
from vidjacobi.bench.material import pair_of
from vidjacobi.config.settings import differences
from vidjacobi.datasets.contract import Episode
from vidjacobi.datasets.recorded_actions import WITHOUT
from vidjacobi.errors import BadInput, BadOutput
from vidjacobi.eval.clip_choice import Chosen, keep
from vidjacobi.eval.duration import followed
from vidjacobi.eval.frame_metrics import MIRRORED
from vidjacobi.eval.prediction import encode
from vidjacobi.eval.settings import EvalConfig
from vidjacobi.models.action_spec import ActionSpec, FrameActions
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import latent_frames
from vidjacobi.output.atomic import replacing, write_json
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.output.token_files import read_tokens, write_tokens
from vidjacobi.provenance import changes
from vidjacobi.provenance import made_with as made_with_files
from vidjacobi.rollouts.aligned_actions import aligned
from vidjacobi.runtime import choose

SETTINGS, CONTEXTS, ACTIONS, DECODES = "settings.json", "contexts.npy", "actions.npy", "decodes"
Tell = Callable[[str], None]


def folder_of(out: Path) -> RunFolder:
    """How an evaluation's folder is told from others."""
    return RunFolder(out, "evaluation", SETTINGS, remedy="give another --out")


def open_out(config: EvalConfig, out: Path, chosen: Chosen) -> None:
    """Make ``out``, which the caller has locked, ready, or resume in it.

    Raises BadOutput where another evaluation lies there, also one of the same names with other weights.
    """
    folder = folder_of(out)
    folder.create()
    made: dict[str, Any] = {}

    def compare(before: dict[str, Any]) -> list[str]:
        made.update(made_with(config, before.get("made_with")))
        return [
            # folders of before there was a choice have the only borders there were, and no top-k
            *differences(config.settings(), {"ssim_borders": MIRRORED, "top_k": None, **before}),
            *changes(made, before.get("made_with"), config.other_versions),
        ]

    folder.resume(compare)
    keep(out, chosen)
    write_json(out / SETTINGS, {**asdict(config), "made_with": made or made_with(config)})


def made_with(config: EvalConfig, before: Any = None) -> dict[str, Any]:
    """What the results depend on beside the settings; see ``vidjacobi.provenance``."""
    dtype = choose(config.device, config.dtype).dtype
    return made_with_files(acted_files(config.model, config.tokenizer), dtype, before)


def clip_actions(config: EvalConfig, out: Path, chosen: Chosen, spec: ActionSpec) -> Path:
    """What leads from frame to frame of every clip ``[clips frames-1 k]``, in a file in ``out``.

    Raises BadInput for a clip whose dataset has no actions, or whose do not fit the model, and BadOutput where the
    folder holds decodes of the same clips under other actions.
    """
    path = out / ACTIONS
    found = torch.stack([_actions_of(clip, config.frames_needed - 1, spec) for clip in chosen.clips]).numpy()
    before = np.load(path, allow_pickle=False) if path.is_file() else found
    shared = min(len(before), len(found))
    if not np.array_equal(before[:shared], found[:shared]):
        raise BadOutput(f"{out} holds an evaluation of these clips under other actions: give another --out")
    if len(found) > len(before) or not path.is_file():
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, found)
    return path


def _actions_of(clip: Episode, count: int, spec: ActionSpec) -> FrameActions:
    if clip.actions is None:
        raise BadInput(f"{clip.source}: frames of this model follow actions, and {WITHOUT}")
    found = clip.actions.read()
    found.check_frames(clip.frames.count(), clip.source)
    return aligned(found, spec, 0, count, clip.source)


def encode_contexts(config: EvalConfig, out: Path, chosen: Chosen, tell: Tell) -> Tensor:
    """Context tokens ``[clips t h w]``, kept in ``contexts.npy``."""
    path, clips = out / CONTEXTS, chosen.clips
    model, tokenizer = pair_of(config.model, config.tokenizer, config.device, config.dtype)
    if path.exists():
        try:
            kept = kept_contexts(path, model, latent_frames(config.context, tokenizer))
            if len(kept) >= len(clips):
                return kept[: len(clips)]
        except BadInput as error:
            tell(f"{error}; now it is made again")
    found, notes = [], []
    for clip in followed(clips, len(clips), "contexts", tell):
        read = clip.frames.read(0, config.context)
        notes += [f"{clip.id}: {note}" for note in read.notes]
        found.append(encode(read.frames, tokenizer).cpu())
    if notes:
        tell(f"{len(notes)} notes about what was read; the first: {notes[0]}")
    tokens = torch.stack(found)
    write_tokens(path, tokens.numpy())
    return tokens


def kept_contexts(path: Path, model: VideoModel, latents: int) -> Tensor:
    """The contexts of an earlier run. Raises BadInput where they are damaged or not of this model."""
    kept = torch.from_numpy(read_tokens(path, 4))
    sides = model.grid_for(1)
    grid = [latents, sides.h, sides.w]
    if list(kept.shape[1:]) != grid or bool((kept >= model.vocab_size).any()):
        raise BadInput(f"{path} holds {list(kept.shape)}, and not contexts of {grid} tokens: remove it")
    return kept
