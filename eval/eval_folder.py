"""The folder of an evaluation: opened, resumed only by the same one, and the contexts that it keeps."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidjacobi.bench.material import pair_of
from vidjacobi.config.settings import differences
from vidjacobi.errors import BadInput
from vidjacobi.eval.clip_choice import Chosen, keep
from vidjacobi.eval.duration import followed
from vidjacobi.eval.frame_metrics import MIRRORED
from vidjacobi.eval.prediction import encode
from vidjacobi.eval.settings import EvalConfig
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import latent_frames
from vidjacobi.output.atomic import write_json
from vidjacobi.output.run_folder import RunFolder
from vidjacobi.output.token_files import read_tokens, write_tokens
from vidjacobi.provenance import changes, provenance
from vidjacobi.runtime import choose

SETTINGS, CONTEXTS, DECODES = "settings.json", "contexts.npy", "decodes"
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
            # folders of before there was a choice have the borders that were the only ones
            *differences(config.settings(), {"ssim_borders": MIRRORED, **before}),
            *changes(made, before.get("made_with"), config.other_versions),
        ]

    folder.resume(compare)
    keep(out, chosen)
    write_json(out / SETTINGS, {**asdict(config), "made_with": made or made_with(config)})


def made_with(config: EvalConfig, before: Any = None) -> dict[str, Any]:
    """What the results depend on beside the settings; see ``vidjacobi.provenance``."""
    dtype = choose(config.device, config.dtype).dtype
    return provenance(config.model, config.tokenizer, dtype, before)


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
