"""iVideoGPT (Wu et al., arXiv 2405.15223): frames of a robot as 4x4 tokens each, behind context frames of 16x16.

Official code, commit 2ae0381. Context frames are given, as ids; a delimiter goes before each new frame. With actions
the delimiters are given and carry them. Without, the authors' code decides delimiters too, as any other token, and
does not look at what it decided; so does this. The networks between pixels and ids are in ivideogpt_pixels.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.layout import Condition, Layout, behind_prompt, bytes_of
from vidjacobi.families.model import RiderModel
from vidjacobi.families.prompts import behind, embedded, origin_of
from vidjacobi.families.released import StateDict, linear_of, llama_of, sizes_of, weights_of
from vidjacobi.families.trunk import Trunk
from vidjacobi.kinds import Grid
from vidjacobi.runtime import Runtime
from vidjacobi.shapes import Tokens

PUBLISHED = "the folder transformer of one of the hub's thuml/ivideogpt-* (RoboNet at 256 pixels is lost)"
SIDE = 4  # cells of a row of a new frame
FRAME = SIDE * SIDE


@dataclass(frozen=True)
class IVideoGPT:
    """The transformer.

    Attributes:
        layers: a ``LlamaModel``.
        head: of all ids: those of context frames, of new frames, and the two delimiters.
        actions: weight and bias that turn an action into an embedding; empty where it was trained without.
    """

    layers: Any
    head: nn.Linear
    actions: StateDict

    @property
    def delimiter(self) -> int:
        """The id in front of a new frame."""
        return self.head.out_features - 1

    @property
    def codes(self) -> int:
        """Codes of each of its two image tokenizers."""
        return (self.head.out_features - 2) // 2

    def free(self, contexts: Int[Tensor, "b n"], frames: int) -> RiderModel:
        """The model of ``frames`` new frames behind context frames, without actions.

        ``contexts`` are the ids of the context frames with their delimiters, the one of the first new frame too. Each
        frame has 16 cells and the next delimiter, which is decided as well; the last one is not needed: decode
        17 * frames - 1 tokens. Raises InvalidArgument.
        """
        self._check(contexts)
        cells = torch.zeros(frames * (FRAME + 1), dtype=torch.long)
        table, most = self.layers.embed_tokens, self.layers.config.max_position_embeddings
        # the last delimiter is never fed
        conditions = [behind(table, row, cells, most=most + 1) for row in contexts.tolist()]
        return RiderModel(self._trunk, Grid(frames, 1, FRAME + 1), cells, conditions)

    def acted(self, contexts: Int[Tensor, "b n"], actions: Float[Tensor, "b f a"]) -> RiderModel:
        """The model of frames that follow actions, one for each new frame.

        ``contexts``: as in ``free``. Raises InvalidArgument for a network without actions, and for other shapes.
        """
        self._check(contexts)
        if not self.actions:
            raise InvalidArgument("this iVideoGPT was trained without actions: use free")
        width = self.actions["weight"].shape[1]
        if actions.ndim != 3 or len(actions) != len(contexts) or actions.shape[2] != width:
            raise InvalidArgument(f"actions must be [clips, frames, {width}], not {list(actions.shape)}")
        frames, table = actions.shape[1], self.layers.embed_tokens
        riders = torch.zeros(frames, FRAME, dtype=torch.long)
        riders[:-1, -1] = 1
        layout = Layout(behind_prompt(contexts.shape[1], riders.flatten()))
        if layout.length > (most := self.layers.config.max_position_embeddings):
            raise InvalidArgument(f"{frames} new frames need {layout.length} places of this model's {most}")
        conditions = []
        for row, own in zip(contexts.tolist(), actions, strict=True):
            given = embedded(table, [*row, *[self.delimiter] * (frames - 1)])
            given[len(row) - 1 :] += self._moved(own, given)
            origin = origin_of(row) + bytes_of(own.float())
            conditions.append(Condition(layout, given, origin))
        return RiderModel(self._trunk, Grid(frames, SIDE, SIDE), riders.flatten(), conditions)

    def world(self, context: int, codes: int, frames: int) -> RiderModel:
        """The model of clips whose context frames are tokens too, as ``vidjacobi.bench`` wants them.

        ``context`` frames of ``codes`` ids each are given, then ``frames`` new ones of 16 ids at most. Every
        delimiter rides on the last id before it, without actions too, where ``free`` decides those of new frames.
        Trained with actions, each clip is given ``given(...)`` as its condition. Raises InvalidArgument.
        """
        grid = Grid(context * codes // FRAME + frames, SIDE, SIDE)
        conditions = [] if self.actions else [self.given(context, codes, frames)]
        return RiderModel(self._trunk, grid, riders_of(context, codes, frames), conditions, prompt=False)

    def given(
        self, context: int, codes: int, frames: int, actions: Float[Tensor, "f a"] | None = None
    ) -> Condition:
        """What rides on a clip of ``world``: its delimiters, those of new frames with the actions that lead to them.

        Raises InvalidArgument for actions of another shape, and where some are given to a network without.
        """
        width = self.actions["weight"].shape[1] if self.actions else 0
        found = [] if actions is None else list(actions.shape)
        if found != ([frames, width] if width else []):
            wanted = f"[{frames}, {width}]" if width else "none: it was trained without"
            raise InvalidArgument(f"actions of {frames} new frames must be {wanted}, not {found or 'none'}")
        # Behind two context frames the ids are those of a context frame's delimiter, then of each new frame's.
        ids = [self.delimiter - 1] * (context - 1) + [self.delimiter] * frames
        given, origin = embedded(self.layers.embed_tokens, ids), origin_of(ids)
        if actions is not None:
            given[context - 1 :] += self._moved(actions, given)
            origin += bytes_of(actions.float())
        return Condition(Layout(riders_of(context, codes, frames)), given, origin)

    def _moved(self, actions: Float[Tensor, "f a"], like: Tensor) -> Float[Tensor, "f dim"]:
        """What actions add to the embeddings of delimiters."""
        return F.linear(actions.to(like.device, like.dtype), self.actions["weight"], self.actions["bias"])

    def frame_codes(self, tokens: Tokens) -> Tokens:
        """Codes of the tokenizer of new frames, of decided tokens of ``acted``; other ids count as the nearest."""
        return (tokens - self.codes).clamp(0, self.codes - 1)

    @property
    def _trunk(self) -> Trunk:
        return Trunk(self.layers, self.layers.embed_tokens, self.head, self.head.out_features)

    def _check(self, contexts: Tensor) -> None:
        if contexts.ndim != 2 or (contexts[:, -1] != self.delimiter).any():
            raise InvalidArgument(
                f"contexts must be ids [clips, tokens] that end with the delimiter of a new frame, {self.delimiter}"
            )


def riders_of(context: int, codes: int, frames: int) -> Int[Tensor, " c"]:
    """A delimiter behind each context frame and each new one, but the last."""
    given, new = torch.zeros(context, codes, dtype=torch.long), torch.zeros(frames, FRAME, dtype=torch.long)
    given[:, -1], new[:-1, -1] = 1, 1
    return torch.cat([given.flatten(), new.flatten()])


def load(path: Path, runtime: Runtime) -> IVideoGPT:
    """The transformer in a folder with its ``config.json``, or in ``transformer`` of one. Raises BadCheckpoint."""
    path = path / "transformer" if (path / "transformer").is_dir() else path
    sizes = sizes_of(path)
    if "num_attention_heads" not in sizes:
        raise BadCheckpoint(f"{path} has no config.json that says num_attention_heads: wanted {PUBLISHED}")
    state = {
        name.removeprefix("llm."): part for name, part in weights_of(path, PUBLISHED, ("state_dict",)).items()
    }
    actions: Sequence[str] = ("weight", "bias") if "action_linear.weight" in state else ()
    try:
        learned = {
            name: state.pop(f"action_linear.{name}").to(runtime.device, runtime.dtype) for name in actions
        }
        weight = state.pop("lm_head.weight")
    except KeyError as error:
        raise BadCheckpoint(f"{path} lacks {error}: wanted {PUBLISHED}") from None
    layers = llama_of(
        {name.removeprefix("model."): part for name, part in state.items()},
        sizes["num_attention_heads"],
        path,
        runtime,
        rms_norm_eps=sizes.get("rms_norm_eps", 1e-6),
        max_position_embeddings=sizes.get("max_position_embeddings", 1024),
        rope_parameters={"rope_type": "default", "rope_theta": float(sizes.get("rope_theta", 10_000))},
    )
    return IVideoGPT(layers, linear_of(weight, runtime), learned)
