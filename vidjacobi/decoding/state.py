"""The records of decoding, and its glossary.

context      the tokens given; never re-sampled
draft        a guessed token, with the law q that it was drawn from
target       the law p that AR decoding would sample from, as this pass sees it
frontier     first undecided position of a clip
lane         a run of neighbouring positions with a frontier of its own; plain Jacobi has one
window       all positions evaluated in one pass: the union of the lanes, and the siblings
sibling      another candidate for the place of a draft near the frontier, evaluated in the same pass
slot         place in the cache: the position, but for siblings and padding
stand-in     token fed in place of one that is not known yet, in front of a lane that opened early
pass         one forward call. The prefill is one, and its last law decides the first new token
NFE          passes that a clip took part in, the prefill included: AR's NFE = number of new tokens
accepted     a draft kept by verification
corrected    the token drawn where the first rejection fell
decided      accepted or corrected: final
redraft      a new draft for a position behind the corrected one
acceptance length   tokens decided per pass and clip, the corrected one included
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.decoding.strategies.couplings import COUPLINGS
from vidjacobi.decoding.strategies.draft_tree import DraftTree
from vidjacobi.decoding.strategies.drafts import DRAFTS, DraftRule
from vidjacobi.decoding.strategies.evidence import Coupling
from vidjacobi.decoding.strategies.frame_probs import FrameProbsCache
from vidjacobi.decoding.strategies.lanes import LANES, Frames, Lanes, Raster, Rows
from vidjacobi.decoding.strategies.verifiers import VERIFIERS, TreeVerifier, Verifier
from vidjacobi.errors import InvalidArgument
from vidjacobi.grid import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.registry import build
from vidjacobi.sampling.params import SamplingParams
from vidjacobi.sampling.truncated_probs import DraftProbs, TruncatedProbs
from vidjacobi.shapes import Counts, Logits, Mask, Positions, Tokens

RASTER = Raster()
Watch = Callable[[Positions, Mask, Logits], None]


@dataclass(frozen=True)
class Strategies:
    """The interchangeable parts of a Jacobi decoder."""

    draft: DraftRule
    coupling: Coupling
    verifier: Verifier
    lanes: Lanes = RASTER
    draft_tree: DraftTree | None = None

    def __post_init__(self) -> None:
        if self.draft_tree and not isinstance(self.verifier, TreeVerifier):
            raise InvalidArgument(f"verifier {type(self.verifier).__name__} cannot choose among siblings")
        if self.draft_tree and isinstance(self.lanes, Rows | Frames):
            raise InvalidArgument("siblings need one lane: with several there is no one frontier")

    @classmethod
    def named(
        cls,
        draft: dict,
        coupling: dict,
        verifier: dict,
        lanes: dict | None = None,
        draft_tree: dict | None = None,
    ) -> "Strategies":
        """Strategies from registry entries such as ``{"name": "mixture", "alpha": 0.5}``."""
        return cls(
            build("draft rule", draft, DRAFTS),
            build("coupling", coupling, COUPLINGS),
            build("verifier", verifier, VERIFIERS),
            build("lanes", lanes or {"name": "raster"}, LANES),
            None
            if draft_tree is None
            else build("draft tree", {"name": "draft_tree", **draft_tree}, {"draft_tree": DraftTree}),
        )

    @property
    def reads_draft_probs(self) -> bool:
        """Whether draft laws must be stored from pass to pass."""
        return (
            self.coupling.reads_draft_probs or self.verifier.reads_draft_probs or self.draft_tree is not None
        )

    @property
    def guarantee(self) -> str:
        """What they prove together. The pathwise verifier needs no coupling's promise, every one needs the lanes'."""
        if "lossy" in (self.verifier.guarantee, self.lanes.guarantee):
            return "lossy"
        return self.verifier.guarantee if self.verifier.guarantee == "identical" else self.coupling.guarantee


@dataclass(frozen=True)
class Progress:
    """Where a decode stands, read once per pass."""

    passes: int
    decided: int
    total: int


@dataclass(frozen=True)
class Problem:
    """Everything that a decoder needs to know.

    Attributes:
        model: the video model.
        context: tokens given (at least one per clip); shorter ones are padded on the right.
        new_tokens: how many to decide per clip, at most.
        sampling: logits to laws.
        window: most positions evaluated per pass, >= 1.
        seed, streams: key of the noise; one 64-bit stream per clip.
        lengths: tokens given of each clip, where they differ.
        counts: tokens to decide of each clip, where they differ.
        sources: for each clip the first one of the same context, so that they share a prefill; None: none do.
        room: positions that a row must hold; by default what these clips need.
        parts: draft rule, coupling and verifier; None for AR.
        measure: synchronise the device around every pass, so that seconds mean something on a GPU.
        observe: called once per pass.
        watch: called per window pass with positions, which of them it decided, and their logits.
    """

    model: VideoModel
    context: Tokens
    new_tokens: int
    sampling: SamplingParams
    window: int
    seed: int
    noise_keys: Counts
    parts: Strategies | None = None
    lengths: Counts | None = None
    counts: Counts | None = None
    sources: tuple[int, ...] | None = None
    room: int | None = None
    measure: bool = False
    observe: Callable[[Progress], None] | None = None
    watch: Watch | None = None

    @property
    def starts(self) -> Counts:
        """First new position of each clip."""
        return (
            torch.full_like(self.noise_keys, self.context.shape[1]) if self.lengths is None else self.lengths
        )

    @property
    def ends(self) -> Counts:
        """First position behind each clip."""
        return self.starts + (self.new_tokens if self.counts is None else self.counts)

    @property
    def end(self) -> int:
        """First position behind every clip. No host read: an upper bound where lengths differ."""
        if self.room is not None:
            return self.room
        return min(self.context.shape[1] + self.new_tokens, self.model.max_positions)

    @property
    def grid(self) -> Grid:
        """Of one frame."""
        return self.model.grid_for(1)

    @property
    def columns(self) -> int:
        """Columns of tables by position: whole frames behind the special tokens, and one that belongs to no clip."""
        offset, frame = len(self.model.prefix_tokens), self.grid.frame_tokens
        return offset + -(-(self.end - offset) // frame) * frame + 1

    @property
    def shared_by(self) -> list[int]:
        """How many clips share the prefill of each."""
        sources = self.sources or range(len(self.noise_keys))
        clips = Counter(sources)
        return [clips[source] for source in sources]

    def part(self, clips: Sequence[int]) -> "Problem":
        """Some of the clips, in rows as long as those of all; each has a prefill of its own."""
        index = torch.tensor(clips, device=self.noise_keys.device)
        return replace(
            self,
            context=self.context[index],
            noise_keys=self.noise_keys[index],
            lengths=None if self.lengths is None else self.lengths[index],
            counts=None if self.counts is None else self.counts[index],
            sources=None,
            room=self.end,
        )


@dataclass(frozen=True)
class Window:
    """The positions that a pass evaluates, in rising order, padded on the right.

    Attributes:
        inputs: position of each token that is fed; the law that comes out is that of the next position.
        used: whether the slot is no padding.
        valid: whether its law is that of an undecided position that was asked for.
        home: first position of the lane that the input lies in.
        lane: first position of the lane that the target lies in (the input's, where there is no target).
        corrects: whether a rejected draft is replaced at once.
    """

    inputs: Positions
    used: Mask
    valid: Mask
    home: Positions
    lane: Positions
    corrects: Mask

    @property
    def targets(self) -> Positions:
        """Position whose law each slot gives."""
        return self.inputs + 1


@dataclass(frozen=True)
class DecodeState:
    """What one pass hands to the next.

    Attributes:
        seeds, streams, starts, ends: of the clip, as in Problem.
        tokens: by position: decided tokens, and drafts where the last window had some.
        decided: which are final (positions behind the clip count as decided).
        written: decided positions whose cache entry holds the decided token.
        settled: positions in front of it have the entry that one-by-one decoding would have made.
        frontier: first undecided position.
        window: of the last pass, None in front of the first.
        laws: laws of that window, None where nothing reads them.
        passes: passes each clip took part in.
        memory: laws by place in the frame, where the draft rule keeps them.
        decided_in: the pass (the clip's own count, prefill = 1) that decided each position.
        redrafted: how often each position's draft changed before it was decided.
        finite: no pass so far returned NaN or infinite logits for the clip.
        pace: what a lane rule that looks at past counts keeps.
        drawn: laws that the drafts of the window were drawn from; within a pass only, where something reads them.
    """

    seeds: Counts
    noise_keys: Counts
    starts: Counts
    ends: Counts
    tokens: Int[Tensor, "b p"]
    decided: Bool[Tensor, "b p"]
    written: Bool[Tensor, "b p"]
    exact_prefix: Counts
    frontier: Counts
    window: Window | None
    laws: TruncatedProbs | None
    passes: Counts
    memory: FrameProbsCache | None
    decided_in: Int[Tensor, "b p"]
    redrafted: Int[Tensor, "b p"]
    finite: Bool[Tensor, " b"]
    pace: Float[Tensor, "b k"] | None = None
    drawn: DraftProbs | None = None
