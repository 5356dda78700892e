"""Families whose models predict what follows frames: a model, a video tokenizer, and conditions made of actions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families import ivideogpt, ivideogpt_pixels, mineworld, pusht
from vidjacobi.families.action_files import between
from vidjacobi.families.frame_tokenizer import FrameTokenizer, load_vq
from vidjacobi.families.ivideogpt import FRAME, SIDE, IVideoGPT
from vidjacobi.families.ivideogpt_pixels import PairTokenizer
from vidjacobi.families.layout import Condition
from vidjacobi.families.model import RiderModel
from vidjacobi.families.opening import FamilyName, family_name
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import FrameStream, VideoTokenizer
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import GridTokens, Pixels, Tokens

Pair = tuple[VideoModel, VideoTokenizer]
FRAMES = 16  # of a chunk of MineWorld, context included: what its smaller checkpoints were trained on
SEGMENT = 16  # of a chunk of iVideoGPT, context included, as it was trained


@dataclass(frozen=True)
class MineWorldPair:
    """MineWorld as it rolls out.

    Attributes:
        family: the transformer.
        model: without actions of its own: each clip is given some.
        tokenizer: of its frames.
    """

    family: mineworld.MineWorld
    model: mineworld.MineWorldModel
    tokenizer: FrameTokenizer

    def condition(self, rows: Sequence[Any], first: int = 0) -> Condition:
        """See ``MineWorldModel.condition``."""
        return self.model.condition(rows, first)

    def ids(self, rows: Sequence[Any], first: int = 0) -> Int[Tensor, "f a"]:
        """See ``MineWorldModel.ids``."""
        return self.model.ids(rows, first)

    def conditions(
        self, rows: Sequence[Any], start: int, context: int, samples: int, source: str
    ) -> Callable[[Any], list[Condition]]:
        """What ``vidjacobi.rollout`` is given: of each chunk the actions of its frames, for all samples alike.

        Args:
            rows: of the file ``source``; row i leads from frame i of the clip to frame i + 1.
            start, context: the first frame of the clip that is given, and how many are.
        """

        def of(chunk: Any) -> list[Condition]:
            # A clip from frame 10 on with 9 context frames: chunk 0 begins with row 10, which leads to frame 11.
            first = start + context + chunk.first - chunk.context
            wanted = between(rows, first, chunk.context + chunk.latents - 1, source)
            return [self.condition(wanted, first)] * samples

        return of


def load_mineworld(path: Path, runtime: Runtime, tokenizer: str | Path | None = None) -> MineWorldPair:
    """The transformer in a checkpoint file or a folder with one, and the image tokenizer in ``vae`` beside it.

    ``tokenizer``: its folder, where it lies elsewhere. Raises BadCheckpoint, InvalidArgument.
    """
    family, model = _mineworld(path, runtime)
    folder = path if path.is_dir() else path.parent
    place = folder / "vae" if tokenizer is None else Path(tokenizer).expanduser()
    if not place.exists():
        raise BadCheckpoint(f"{place} is not there: MineWorld's frames need {mineworld.PIXELS}")
    network = load_vq(place, runtime, mineworld.PIXELS)
    size = tuple(side * network.spec.stride for side in family.frame)
    if network.spec.num_vq_embeddings > family.visual:
        raise BadCheckpoint(
            f"{place} makes {network.spec.num_vq_embeddings} codes, and the model of {path} reads {family.visual}"
        )
    return MineWorldPair(family, model, FrameTokenizer(network, (size[0], size[1]), model.frames))


def _mineworld(path: Path, runtime: Runtime) -> tuple[mineworld.MineWorld, mineworld.MineWorldModel]:
    """The transformer alone. Raises BadCheckpoint, InvalidArgument."""
    family = mineworld.load(path, runtime)
    rows, columns = family.frame
    most = family.layers.config.max_position_embeddings
    frames = min(FRAMES, (most + mineworld.ACTION) // (rows * columns + mineworld.ACTION))
    if frames < 2:
        raise InvalidArgument(
            f"{path} has room for {frames} frames: one is given and one is predicted at least"
        )
    return family, family.world([], frames)


@dataclass(frozen=True)
class IVideoGPTPair:
    """iVideoGPT as it rolls out: context frames are given as a condition, new frames are decided.

    Attributes:
        family: the transformer.
        tokenizer: of its frames.
        max_frames: most frames of a chunk, context included.
    """

    family: IVideoGPT
    tokenizer: PairTokenizer
    max_frames: int

    stride_t = 1  # frames of a latent frame

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width)."""
        side = self.tokenizer.spec.resolution
        return side, side

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.family.head.weight.device

    @property
    def context(self) -> int:
        """Frames that are given, neither more nor fewer."""
        return self.tokenizer.spec.context_length

    @property
    def width(self) -> int:
        """Numbers of an action; 0 where it was trained without."""
        return self.family.actions["weight"].shape[1] if self.family.actions else 0

    def encode(self, pixels: Pixels) -> GridTokens:
        """The ids of new frames, of a clip ``[b 3 T H W]`` in [-1, 1] that begins with its context frames."""
        frames = ((pixels.transpose(1, 2) + 1) / 2).to(self.device, self.family.head.weight.dtype)
        found = self.tokenizer.ids(frames)
        return found.unflatten(2, (SIDE, SIDE))

    def to_frames(self, tokens: GridTokens) -> Pixels:
        """Raises InvalidArgument: new frames look at context frames, which ``tokenizer.pixels`` is given too."""
        raise InvalidArgument("iVideoGPT's new frames cannot be made without their context frames")

    def frame_stream(self) -> FrameStream:
        """Raises InvalidArgument."""
        raise InvalidArgument("iVideoGPT makes frames of whole chunks: leave --stream out")

    def contexts(self, frames: Float[Tensor, "c rgb H W"]) -> Int[Tensor, "1 n"]:
        """The ids of context frames in [0, 1], of one clip: beside others a token could differ."""
        return self.tokenizer.contexts(frames[None].to(self.device, self.family.head.weight.dtype))

    def model_of(self, contexts: Tokens, actions: Float[Tensor, "f a"] | None, count: int) -> RiderModel:
        """The model of ``count`` new frames behind the ids of context frames, of a clip each.

        ``actions``: of all clips alike, one for each new frame. Raises InvalidArgument.
        """
        if actions is None:
            return self.family.free(contexts, count)
        return self.family.acted(contexts, actions.expand(len(contexts), -1, -1))

    def new_tokens(self, count: int) -> int:
        """How many tokens ``count`` new frames have. Without actions delimiters are decided too, but the first."""
        # Two frames of 16 tokens without actions: 16, a delimiter and 16 are 33; the first delimiter is given.
        return FRAME * count if self.family.actions else (FRAME + 1) * count - 1

    def ids_of(self, tokens: Tokens) -> Int[Tensor, "b f m"]:
        """The ids of new frames, of decided tokens."""
        if self.family.actions:
            return tokens.unflatten(1, (-1, FRAME))
        # A 0 stands in for the delimiter that was given, so that every frame is a delimiter and its ids.
        return F.pad(tokens, (1, 0)).unflatten(1, (-1, FRAME + 1))[..., 1:]


def load_ivideogpt(path: Path, runtime: Runtime, tokenizer: str | Path | None = None) -> IVideoGPTPair:
    """The folders ``transformer`` and ``tokenizer`` of a release. ``tokenizer``: its folder, where it lies elsewhere.

    Raises BadCheckpoint.
    """
    own = path / "tokenizer" if tokenizer is None else Path(tokenizer).expanduser()
    if tokenizer is None and not own.is_dir():
        raise BadCheckpoint(
            f"{own} is not there: name the folder with iVideoGPT's folders transformer and tokenizer"
        )
    family = ivideogpt.load(path, runtime)
    pixels = ivideogpt_pixels.load(own, runtime)
    spec, most = pixels.spec, family.layers.config.max_position_embeddings
    if (spec.num_vq_embeddings, spec.num_dyn_embeddings) != (family.codes, family.codes):
        raise BadCheckpoint(
            f"{own} makes {spec.num_vq_embeddings} and {spec.num_dyn_embeddings} codes, the model of {path} reads "
            f"{family.codes} of each"
        )
    room = (most - spec.context_length * (spec.side**2 + 1)) // (FRAME + 1)
    return IVideoGPTPair(
        family, pixels, spec.context_length + max(1, min(room, SEGMENT - spec.context_length))
    )


def pusht_pair(path: Path, runtime: Runtime, tokenizer: str | Path | None) -> Pair:
    """nano-pusht, whose clips are each given actions. Raises BadCheckpoint, InvalidArgument for another tokenizer."""
    if tokenizer is not None:
        raise InvalidArgument("pusht brings a tokenizer of its own: leave --tokenizer out")
    family = pusht.load(path, runtime)
    return family.world(), family.tokenizer


def mineworld_pair(path: Path, runtime: Runtime, tokenizer: str | Path | None) -> Pair:
    """MineWorld, whose clips are each given actions. Raises as ``load_mineworld``."""
    pair = load_mineworld(path, runtime, tokenizer)
    return pair.model, pair.tokenizer


PAIRS: dict[str, Callable[[Path, Runtime, str | Path | None], Pair]] = {
    "mineworld": mineworld_pair,
    "pusht": pusht_pair,
}
# without what makes pixels
MODELS: dict[str, Callable[[Path, Runtime], VideoModel]] = {
    "mineworld": lambda path, runtime: _mineworld(path, runtime)[1],
    "pusht": lambda path, runtime: pusht.PushTModel(pusht.load_network(path / "transformer", runtime)),
}


def open_pair(name: str, runtime: Runtime, tokenizer: str | Path | None) -> Pair:
    """The model and the tokenizer of NAME:PATH whose frames follow frames; each clip is given its actions.

    The model's ``condition(actions)`` is what a clip is given. Raises InvalidArgument for a family that has no such
    pair, BadCheckpoint.
    """
    found = _world(name)
    return PAIRS[found.family](found.weights, runtime, tokenizer)


def open_model(name: str, runtime: Runtime) -> VideoModel:
    """The model of ``open_pair`` alone. Raises as it does."""
    found = _world(name)
    return MODELS[found.family](found.weights, runtime)


def _world(name: str) -> FamilyName:
    """What a name says. Raises InvalidArgument where its model is no one that goes on from any frames."""
    found = family_name(name)
    if found is None or found.family not in PAIRS:
        what = (
            "makes its model of the context frames of a clip"
            if name.startswith("ivideogpt")
            else "has no clips"
        )
        raise InvalidArgument(
            f"{name}: this family {what}, so there is no model and tokenizer to load: "
            f"vidjacobi.load_family({name!r}) gives what makes models of prompts, classes or actions "
            f"(docs/families.md). Families that do load: {', '.join(PAIRS)}"
        )
    return found
