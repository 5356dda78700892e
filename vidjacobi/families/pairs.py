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
from vidjacobi.families import ivideogpt, ivideogpt_pixels, mineworld
from vidjacobi.families.action_files import between
from vidjacobi.families.frame_tokenizer import FrameTokenizer, load_vq
from vidjacobi.families.ivideogpt import FRAME, SIDE, IVideoGPT
from vidjacobi.families.ivideogpt_pixels import PairTokenizer
from vidjacobi.families.layout import Condition
from vidjacobi.families.model import RiderModel
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import GridTokens, Pixels, Tokens

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
    model: RiderModel
    tokenizer: FrameTokenizer

    def condition(self, rows: Sequence[Any], first: int = 0) -> Condition:
        """Of a clip of one frame more than there are actions (MineRL dictionaries, or 11 ids each).

        ``first``: the number of the first row, for messages. Raises InvalidArgument.
        """
        return self.family.world([self.ids(rows, first)]).conditions[0]

    def ids(self, rows: Sequence[Any], first: int = 0) -> Int[Tensor, "f a"]:
        """The ids of actions. Raises InvalidArgument as ``condition``."""
        ids = range(self.family.visual, self.family.head.out_features)
        found = [mineworld.ids_of_row(row, f"action {first + index}", ids) for index, row in enumerate(rows)]
        return torch.tensor(found, dtype=torch.long).view(len(found), mineworld.ACTION)

    def conditions(
        self, rows: Sequence[Any], start: int, context: int, samples: int, source: str
    ) -> Callable[[Any], list[Condition]]:
        """What ``vidjacobi.rollout`` is given: of each chunk the actions of its frames, for all samples alike.

        Args:
            rows: of the file ``source``; row i leads from frame i of the clip to frame i + 1.
            start, context: the first frame of the clip that is given, and how many are.
        """

        def of(chunk: Any) -> list[Condition]:
            first = start + context + chunk.first - chunk.context
            wanted = between(rows, first, chunk.context + chunk.latents - 1, source)
            return [self.condition(wanted, first)] * samples

        return of


def load_mineworld(path: Path, runtime: Runtime, tokenizer: str | Path | None = None) -> MineWorldPair:
    """The transformer in a checkpoint file or a folder with one, and the image tokenizer in ``vae`` beside it.

    ``tokenizer``: its folder, where it lies elsewhere. Raises BadCheckpoint, InvalidArgument.
    """
    family = mineworld.load(path, runtime)
    folder = path if path.is_dir() else path.parent
    place = folder / "vae" if tokenizer is None else Path(tokenizer).expanduser()
    if not place.exists():
        raise BadCheckpoint(f"{place} is not there: MineWorld's frames need {mineworld.PIXELS}")
    network = load_vq(place, runtime, mineworld.PIXELS)
    rows, columns = family.frame
    size = rows * network.spec.stride, columns * network.spec.stride
    if network.spec.num_vq_embeddings > family.visual:
        raise BadCheckpoint(
            f"{place} makes {network.spec.num_vq_embeddings} codes, and the model of {path} reads {family.visual}"
        )
    most = family.layers.config.max_position_embeddings
    frames = min(FRAMES, (most + mineworld.ACTION) // (rows * columns + mineworld.ACTION))
    if frames < 2:
        raise InvalidArgument(
            f"{path} has room for {frames} frames: one is given and one is predicted at least"
        )
    return MineWorldPair(family, family.world([], frames), FrameTokenizer(network, size, frames))


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
        return FRAME * count if self.family.actions else (FRAME + 1) * count - 1

    def ids_of(self, tokens: Tokens) -> Int[Tensor, "b f m"]:
        """The ids of new frames, of decided tokens."""
        if self.family.actions:
            return tokens.unflatten(1, (-1, FRAME))
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
    family = ivideogpt.load(path / "transformer" if (path / "transformer").is_dir() else path, runtime)
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
