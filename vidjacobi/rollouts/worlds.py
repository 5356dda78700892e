"""Rollouts with the world models of other authors, whose frames may follow actions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidjacobi.config.rollout import RolloutConfig
from vidjacobi.decoding.api import context_ids, decode
from vidjacobi.decoding.compiled import compiled
from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.families.action_files import between, matrix_of, read_actions
from vidjacobi.families.frame_tokenizer import FrameTokenizer
from vidjacobi.families.ivideogpt import SIDE
from vidjacobi.families.ivideogpt_pixels import PairSpec
from vidjacobi.families.model import RiderModel
from vidjacobi.families.opening import FamilyName
from vidjacobi.families.pairs import IVideoGPTPair, MineWorldPair, load_ivideogpt, load_mineworld
from vidjacobi.families.prompts import first_tokens
from vidjacobi.families.released import sizes_of
from vidjacobi.kinds import whole
from vidjacobi.models.codec import as_seen, fit, to_uint8
from vidjacobi.models.offload import refuse_family as refuse_offload
from vidjacobi.models.own import refuse_family
from vidjacobi.models.protocol import VideoModel, flatten
from vidjacobi.registry import lookup
from vidjacobi.rollouts.api import Rollout, rollout, stream_rollout
from vidjacobi.rollouts.chunks import Timer
from vidjacobi.rollouts.clip_job import ClipJob, Predictor
from vidjacobi.rollouts.stream import RolloutStream
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Frames

Rows = Sequence[Any] | None  # of the file of actions


@dataclass(frozen=True)
class RollsMineWorld:
    """MineWorld: frames that follow actions."""

    pair: MineWorldPair
    rows: Sequence[Any]
    source: str
    model: VideoModel  # of the pair, or its compiled passes

    @property
    def tokenizer(self) -> FrameTokenizer:
        """See Predictor."""
        return self.pair.tokenizer

    def check(self, config: RolloutConfig, start: int, context: int) -> None:
        """See Predictor: from the first context frame on, an action leads to each frame that follows it."""
        wanted = between(self.rows, start, context - 1 + config.frames, self.source)
        self.pair.ids(wanted, start)

    def notes(self, config: RolloutConfig, start: int, context: int) -> list[str]:
        """See Predictor."""
        return [rows_note(start, context - 1 + config.frames, self.source)]

    def roll(self, job: ClipJob, asked: dict[str, Any]) -> Rollout:
        """See Predictor."""
        return rollout(job.clip.frames, self.model, self.tokenizer, **self._given(job, asked), **asked)

    def stream(self, job: ClipJob, asked: dict[str, Any]) -> RolloutStream:
        """See Predictor."""
        return stream_rollout(job.clip.frames, self.model, self.tokenizer, **self._given(job, asked), **asked)

    def _given(self, job: ClipJob, asked: dict[str, Any]) -> dict[str, Any]:
        """The actions, and a name by the frames alone: the same clip with other actions gets the same dice."""
        clip = job.clip
        grid = self.tokenizer.encode(fit(clip.frames, self.tokenizer.frame_size)[None])
        name = context_ids(flatten(self.model, grid))[0]
        given = self.pair.conditions(self.rows, clip.start, len(clip.frames), asked["samples"], self.source)
        return {"conditions": given, "clip_id": name}


@dataclass(frozen=True)
class RollsIVideoGPT:
    """iVideoGPT: new frames behind a fixed number of context frames, with or without actions."""

    pair: IVideoGPTPair
    rows: Sequence[Any] | None
    source: str

    @property
    def tokenizer(self) -> IVideoGPTPair:
        """See Predictor."""
        return self.pair

    def check(self, config: RolloutConfig, start: int, context: int) -> None:
        """See Predictor. Row ``context - 1`` leads from the last context frame to the first new one."""
        if context != self.pair.context:
            raise InvalidArgument(
                f"this iVideoGPT goes on from {number_of(self.pair.context, 'frame')}, not {context}: "
                f"give --context {self.pair.context}"
            )
        self._actions(start + context - 1, config.frames)

    def notes(self, config: RolloutConfig, start: int, context: int) -> list[str]:
        """See Predictor."""
        if self.rows is None:
            return []
        return [rows_note(start + context - 1, config.frames, self.source)]

    def roll(self, job: ClipJob, asked: dict[str, Any]) -> Rollout:
        """See Predictor. Chunks go on from the last frames of the one before, as ``vidjacobi.rollout``'s do."""
        pair, timer, clip = self.pair, Timer(), job.clip
        pixels = fit(clip.frames, pair.frame_size)
        known = [(pixels.transpose(0, 1).to(pair.device) + 1) / 2] * asked["samples"]  # [T 3 H W] each
        chunks: list[Decoded] = []
        frames: list[list[Frames]] = [[] for _ in known]
        tokens: list[Tensor] = []
        name = ""
        while (first := sum(len(part) for part in frames[0])) < asked["new_frames"]:
            count = min(asked["new_frames"] - first, pair.max_frames - pair.context)
            with timer("encode"):
                contexts = torch.cat([pair.contexts(one[-pair.context :]) for one in known])
            given = self._actions(clip.start + pair.context - 1 + first, count)
            model = pair.model_of(contexts, given, count)
            name = name or context_ids(contexts[:1])[0]  # of its frames alone, as MineWorld's
            with timer("decode"):
                decoded = self._decode(model, count, (name, clip.start, len(chunks)), len(known), asked)
            with timer("to_frames"):
                found = pair.ids_of(decoded.tokens)
                for sample, (row, new) in enumerate(zip(contexts.split(1), found.split(1), strict=True)):
                    made = pair.tokenizer.pixels(row, new)[0, pair.context :]
                    frames[sample].append(to_uint8(made.transpose(0, 1)).cpu())
                    # it goes on from the frames that are written
                    shown = frames[sample][-1].permute(0, 3, 1, 2).to(known[sample]) / 255
                    known[sample] = torch.cat([known[sample], shown])
            chunks.append(decoded)
            tokens.append(found.unflatten(2, (SIDE, SIDE)).cpu())
        predicted = torch.stack([torch.cat(parts) for parts in frames])
        return Rollout(as_seen(pixels), predicted, torch.cat(tokens, 1), chunks, timer.seconds)

    def stream(self, job: ClipJob, asked: dict[str, Any]) -> RolloutStream:
        """Raises InvalidArgument."""
        raise InvalidArgument("iVideoGPT makes frames of whole chunks: leave --stream out")

    def _decode(
        self, model: RiderModel, count: int, clip: tuple[str, int, int], samples: int, asked: dict[str, Any]
    ) -> Decoded:
        """A chunk of all samples of a clip: (name, start, chunk)."""
        name, start, chunk = clip
        ids = [(name, start, sample, chunk) for sample in range(samples)]
        return decode(
            model,
            first_tokens(model, samples),
            self.pair.new_tokens(count),
            asked["decoder"],
            sampling=asked["sampling"],
            clip_ids=ids,
            observe=asked["observe"],
        )

    def _actions(self, first: int, count: int) -> Tensor | None:
        """Those that lead to ``count`` new frames."""
        if self.rows is None:
            return None
        return matrix_of(between(self.rows, first, count, self.source), self.pair.width, first)


def rows_note(first: int, count: int, source: str) -> str:
    """Which actions were given."""
    return f"actions: rows {first} to {first + count - 1} of {source}"


def opener_of(name: FamilyName, config: RolloutConfig) -> "Opener":
    """What opens a family. Raises InvalidArgument for one that makes something else than what follows frames."""
    if name.family not in WORLDS:
        refuse_family(config.model)
    return lookup("family that rolls out", name.family, WORLDS)


def open_world(name: FamilyName, config: RolloutConfig, runtime: Runtime) -> Predictor:
    """The model of a family, ready to roll out. The actions are read before it is loaded.

    Raises InvalidArgument, BadInput, BadCheckpoint.
    """
    open_it = opener_of(name, config)
    if config.offload:
        refuse_offload(config.model)
    rows = None if config.actions is None else read_actions(config.actions)
    try:
        return open_it(name, config, runtime, rows)
    except ImportError as error:  # of a network that this transformers does not have yet
        raise InvalidArgument(f"{name.family} needs transformers 5.23 or newer ({error})") from error


def open_mineworld(name: FamilyName, config: RolloutConfig, runtime: Runtime, rows: Rows) -> Predictor:
    """MineWorld. Raises InvalidArgument where there are no actions."""
    if rows is None:
        raise InvalidArgument("MineWorld's frames follow actions: give --actions FILE")
    pair = load_mineworld(name.weights, runtime, config.tokenizer)
    return RollsMineWorld(pair, rows, str(config.actions), compiled(pair.model, config.compile))


def open_ivideogpt(name: FamilyName, config: RolloutConfig, runtime: Runtime, rows: Rows) -> Predictor:
    """iVideoGPT. Raises InvalidArgument where it was trained with actions and none are given, or the reverse."""
    if config.compile != "off":
        raise InvalidArgument("iVideoGPT's model is made anew for each chunk: leave --compile out")
    pair = load_ivideogpt(name.weights, runtime, config.tokenizer)
    if (rows is None) == bool(pair.width):
        raise InvalidArgument(
            f"this iVideoGPT was trained with actions of {number_of(pair.width, 'number')}: give --actions FILE"
            if pair.width
            else "this iVideoGPT was trained without actions: leave --actions out"
        )
    return RollsIVideoGPT(pair, rows, str(config.actions))


Opener = Callable[[FamilyName, RolloutConfig, Runtime, Rows], Predictor]
WORLDS: dict[str, Opener] = {
    "ivideogpt": open_ivideogpt,
    "mineworld": open_mineworld,
}


def usual_context(name: FamilyName, config: RolloutConfig) -> int | None:
    """Context frames where none are asked for: of iVideoGPT as many as it was trained with; None: as ever.

    Raises BadCheckpoint for a ``config.json`` that cannot be read.
    """
    opener_of(name, config)
    if name.family != "ivideogpt":
        return None
    folder = name.weights / "tokenizer" if config.tokenizer is None else Path(config.tokenizer).expanduser()
    found = sizes_of(folder).get("context_length", PairSpec.context_length)
    return whole("context_length of its tokenizer", found, 1)
