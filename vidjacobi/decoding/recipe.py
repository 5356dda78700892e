"""What a decoder is asked for: a static recipe, the clips that it is applied to, and who wants to watch.

``Recipe`` holds nothing of any clip, so that compiled passes can be used again for other clips. ``Clips`` is made of
tensors with one row per clip.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vidjacobi.decoding.strategies.couplings import COUPLINGS, Coupling
from vidjacobi.decoding.strategies.draft_tree import DraftTree
from vidjacobi.decoding.strategies.drafts import DRAFTS, DraftRule
from vidjacobi.decoding.strategies.lanes import Lanes, RasterLane
from vidjacobi.decoding.strategies.parallel_lanes import LANES, FrameLanes, RowLanes
from vidjacobi.decoding.strategies.verifiers import VERIFIERS, TreeVerifier, Verifier
from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid, value_words
from vidjacobi.models.protocol import ExactModel, TreeModel, VideoModel
from vidjacobi.registry import build
from vidjacobi.sampling.noise import noise_roots
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.shapes import Counts, Logits, Mask, Positions, Tokens

ONE_LANE = RasterLane()
BITWISE, ROUNDED = "identical (bitwise)", "identical up to rounding"
NUMBERS = ("starts", "ends", "seeds", "noise_keys")  # of a clip, in Clips
BUCKET = 64  # the prefix that attention reads is a multiple of this, so that shapes rarely change


@dataclass(frozen=True)
class Strategies:
    """The five exchangeable parts of a Jacobi decoder."""

    draft: DraftRule
    coupling: Coupling
    verifier: Verifier
    lanes: Lanes = ONE_LANE
    draft_tree: DraftTree | None = None

    def __post_init__(self) -> None:
        if self.draft_tree and not isinstance(self.verifier, TreeVerifier):
            raise InvalidArgument(f"verifier {type(self.verifier).__name__} cannot choose among siblings")
        if self.draft_tree and isinstance(self.lanes, RowLanes | FrameLanes):
            raise InvalidArgument("a draft tree needs one lane: with several there is no one frontier")

    @classmethod
    def named(
        cls,
        draft: dict,
        coupling: dict,
        verifier: dict,
        lanes: dict | None = None,
        draft_tree: dict | None = None,
    ) -> "Strategies":
        """Parts from registry entries such as ``{"name": "mixture", "alpha": 0.5}``. Raises InvalidArgument."""
        tree = None
        if draft_tree is not None:
            tree = build("draft tree", {"name": "draft_tree", **draft_tree}, {"draft_tree": DraftTree})
        return cls(
            build("draft rule", draft, DRAFTS),
            build("coupling", coupling, COUPLINGS),
            build("verifier", verifier, VERIFIERS),
            build("lanes", lanes or {"name": "raster"}, LANES),
            tree,
        )

    @property
    def reads_draft_probs(self) -> bool:
        """Whether draft probs must be stored from pass to pass."""
        readers = self.coupling.reads_draft_probs or self.verifier.reads_draft_probs
        return readers or self.draft_tree is not None

    @property
    def guarantee(self) -> str:
        """What they prove together: the coupling does not matter to a pathwise verifier, the lanes matter to all."""
        if "lossy" in (self.verifier.guarantee, self.lanes.guarantee):
            return "lossy"
        return self.verifier.guarantee if self.verifier.guarantee == "identical" else self.coupling.guarantee


@dataclass(frozen=True)
class Recipe:
    """Everything static about a decode.

    Attributes:
        model: the video model.
        sampling: logits to tokens. Its seed is not looked at (``Clips.seeds`` is), and 0 by convention, so that
            recipes of different seeds are equal.
        window: most positions evaluated per pass, siblings included, >= 1.
        room: positions that a row of the cache and of every table must hold, context and new tokens.
        parts: the five parts of a Jacobi decoder; None for AR.
        fused: passes run in compiled code, which fuses chains of operations. Set by the runner of compiled passes,
            and by the estimates that count what compiled code moves.
        grid: of one frame.
        moves_entries: whether the model can move the entry of an accepted sibling.
    """

    model: VideoModel
    sampling: SamplingParams
    window: int
    room: int
    parts: Strategies | None = None
    fused: bool = False
    grid: Grid = field(init=False, compare=False, repr=False)
    moves_entries: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", self.model.grid_for(1))
        object.__setattr__(self, "moves_entries", isinstance(self.model, TreeModel))

    @property
    def strategies(self) -> Strategies:
        """The five parts, which the Jacobi method cannot do without. Raises InvalidArgument."""
        if self.parts is None:
            raise InvalidArgument("the jacobi method needs a draft rule, a coupling and a verifier")
        return self.parts

    @property
    def guarantee(self) -> str:
        """What the decoder promises, and of ``identical`` whether to the last bit, which depends on the model."""
        promised = self.parts.guarantee if self.parts else "identical"
        if promised != "identical":
            return promised
        return BITWISE if isinstance(self.model, ExactModel) and self.model.bitwise else ROUNDED

    @property
    def columns(self) -> int:
        """Columns of tables by position: whole frames after the special tokens, and one that belongs to no clip."""
        # One special token, frames of 4 and room for 8 positions: 1 + 2 * 4 columns and the one of no clip are 10.
        offset, frame = len(self.model.prefix_tokens), self.grid.frame_tokens
        return offset + -(-(self.room - offset) // frame) * frame + 1

    @property
    def siblings(self) -> int:
        """Positions of a pass that siblings may take."""
        tree = self.strategies.draft_tree
        return tree.count(self.window) if tree else 0

    @property
    def chain(self) -> int:
        """Positions of a pass that are left for the drafts of the window, the siblings taken off."""
        return self.window - self.siblings

    @property
    def spare_slot(self) -> int:
        """The cache slot of all padding: after the clip and the siblings of its last window, in whole buckets."""
        return in_buckets(self.room + (self.window if self.strategies.draft_tree else 0))

    def slots_to_read(self, furthest: int, step: int = BUCKET) -> int:
        """Slots that a pass reads with its largest input at ``furthest`` - 1: a multiple of ``step`` (of buckets)."""
        return min(self.spare_slot, -(-(furthest + self.siblings) // step) * step)


def in_buckets(slots: int) -> int:
    """The fewest whole buckets, in slots."""
    return -(-slots // BUCKET) * BUCKET


@dataclass(frozen=True)
class Clips:
    """The clips of a decode, a row each. The contexts are on the model's device, all else on the host.

    Attributes:
        context: tokens given, at least one per clip; shorter ones are padded on the right.
        starts: first new position of each clip, which is the length of its context.
        ends: first position after each clip.
        seeds, noise_keys: what keys the noise of each clip.
        new_tokens: of the clip that gets most.
        shortest: length of the shortest context.
        sources: for each clip the first one of the same context, so that they share a prefill; None: none do.
        conditions: of each clip; None where the model takes none.
    """

    context: Tokens
    starts: Counts
    ends: Counts
    seeds: Counts
    noise_keys: Counts
    new_tokens: int
    shortest: int
    sources: tuple[int, ...] | None = None
    conditions: tuple[Any, ...] | None = None

    @classmethod
    def of(
        cls,
        contexts: Sequence[Int[Tensor, "_"]],
        counts: Sequence[int],
        seed: int,
        noise_keys: Sequence[int],
        device: torch.device,
        sources: Sequence[int] | None = None,
        conditions: Sequence[Any] | None = None,
    ) -> "Clips":
        """Clips of contexts ``[c]`` that get ``counts`` new tokens each."""
        lengths = [len(context) for context in contexts]

        def numbers(values: Sequence[int]) -> Counts:
            return torch.tensor(values, dtype=torch.long, device="cpu")

        return cls(
            context=torch.nn.utils.rnn.pad_sequence(list(contexts), batch_first=True).to(device),
            starts=numbers(lengths),
            ends=numbers([length + count for length, count in zip(lengths, counts, strict=True)]),
            seeds=numbers([seed] * len(lengths)),
            noise_keys=numbers(noise_keys),
            new_tokens=max(counts),
            shortest=min(lengths),
            sources=None if sources is None else tuple(sources),
            conditions=None if conditions is None else tuple(conditions),
        )

    def __len__(self) -> int:
        return len(self.noise_keys)

    @cached_property
    def roots(self) -> Counts:
        """What keys all noise of each clip."""
        return noise_roots(self.seeds, self.noise_keys)

    @property
    def ragged(self) -> bool:
        """Whether contexts differ in length."""
        return self.shortest < self.context.shape[1]

    @property
    def shared_by(self) -> list[int]:
        """How many clips share the prefill of each."""
        sources = self.sources or range(len(self))
        clips = Counter(sources)
        return [clips[source] for source in sources]

    def select(self, rows: Sequence[int]) -> "Clips":
        """Some of the clips, in this order; each has a prefill of its own.

        ``new_tokens`` and ``shortest`` stay those of all clips: a bound, since no device is asked.
        """
        index = torch.tensor(rows, dtype=torch.long, device="cpu")
        parts: dict[str, Any] = {name: getattr(self, name)[index] for name in NUMBERS}
        if self.conditions is not None:
            parts["conditions"] = tuple(self.conditions[row] for row in rows)
        return replace(self, context=self.context[index.to(self.context.device)], **parts, sources=None)

    @staticmethod
    def cat(clips: Sequence["Clips"], sources: Sequence[int] | None) -> "Clips":
        """Clips of several records one below the other."""
        rows = [row for part in clips for row in part.context]
        conditions = [one for part in clips for one in part.conditions or ()]
        joined = {name: torch.cat([getattr(part, name) for part in clips]) for name in NUMBERS}
        return Clips(
            context=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            **joined,
            new_tokens=max(part.new_tokens for part in clips),
            shortest=min(part.shortest for part in clips),
            sources=None if sources is None else tuple(sources),
            conditions=tuple(conditions) or None,
        )


@dataclass(frozen=True)
class Progress:
    """Where a decode stands, read once per pass."""

    passes: int
    decided: int
    total: int


Watch = Callable[[Positions, Mask, Logits], None]


@dataclass(frozen=True)
class Hooks:
    """Who wants to know.

    Attributes:
        measure: synchronise the device around every pass, so that seconds mean something on a GPU.
        observe: called once per pass with the progress.
        watch: called per window pass with positions, which of them it decided, and their logits.
    """

    measure: bool = False
    observe: Callable[[Progress], None] | None = None
    watch: Watch | None = None

    def __post_init__(self) -> None:
        for name, called in (("observe", self.observe), ("watch", self.watch)):
            if called is not None and not callable(called):
                raise InvalidArgument(f"{name} must be a function, not {value_words(called)}")


NO_HOOKS = Hooks()
