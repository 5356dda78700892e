"""The records of decoding, and its glossary.

context      the tokens given; never re-sampled
draft        a guessed token, with the law q that it was drawn from
target       the law p that AR decoding would sample from, as this pass sees it
frontier     first undecided position of a clip
window       all positions evaluated in one pass, from the frontier on
pass         one forward call. The prefill is one, and its last law decides the first new token
NFE          passes that a clip took part in, the prefill included: AR's NFE = number of new tokens
accepted     a draft kept by verification
corrected    the token drawn where the first rejection fell
decided      accepted or corrected: final
redraft      a new draft for a position behind the corrected one
acceptance length   tokens decided per pass and clip, the corrected one included
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidjacobi.couplings import COUPLINGS
from vidjacobi.distributions import Warp
from vidjacobi.drafts import DRAFTS, DraftRule
from vidjacobi.law_memory import LawMemory
from vidjacobi.model import VideoModel
from vidjacobi.registry import build
from vidjacobi.shapes import Counts, Laws, Tokens
from vidjacobi.trial import Coupling
from vidjacobi.verify import VERIFIERS, Verifier


@dataclass(frozen=True)
class Parts:
    """The interchangeable parts of a Jacobi decoder."""

    draft: DraftRule
    coupling: Coupling
    verifier: Verifier

    @classmethod
    def named(cls, draft: dict, coupling: dict, verifier: dict) -> "Parts":
        """Parts from registry entries such as ``{"name": "mixture", "alpha": 0.5}``."""
        return cls(
            build("draft rule", draft, DRAFTS),
            build("coupling", coupling, COUPLINGS),
            build("verifier", verifier, VERIFIERS),
        )

    @property
    def reads_laws(self) -> bool:
        """Whether draft laws must be stored from pass to pass."""
        return self.coupling.reads_laws or self.verifier.reads_laws


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
        context: tokens given, the same number for every clip (at least one).
        new_tokens: how many to decide per clip.
        warp: logits to laws.
        window: positions evaluated per pass, >= 1.
        seed, streams: key of the noise; one 64-bit stream per clip.
        parts: draft rule, coupling and verifier; None for AR.
        measure: synchronise the device around every pass, so that seconds mean something on a GPU.
        observe: called once per pass.
    """

    model: VideoModel
    context: Tokens
    new_tokens: int
    warp: Warp
    window: int
    seed: int
    streams: Counts
    parts: Parts | None = None
    measure: bool = False
    observe: Callable[[Progress], None] | None = None

    @property
    def end(self) -> int:
        """First position behind the clip."""
        return self.context.shape[1] + self.new_tokens


@dataclass(frozen=True)
class DecodeState:
    """What one pass hands to the next.

    Attributes:
        tokens: decided tokens left of the frontier, drafts in the window; padded by one window.
        laws: draft laws ``q`` of the window, or None where nothing reads them.
        frontier: first undecided position.
        passes: passes each clip took part in.
        memory: laws by place in the frame, where the draft rule keeps them.
        decided_in: the pass (the clip's own count, prefill = 1) that decided each position.
        redrafted: how often each position's draft changed before it was decided.
        finite: no pass so far returned NaN or infinite logits.
    """

    tokens: Int[Tensor, "b p"]
    laws: Laws | None
    frontier: Counts
    passes: Counts
    memory: LawMemory | None
    decided_in: Int[Tensor, "b p"]
    redrafted: Int[Tensor, "b p"]
    finite: Bool[Tensor, ""]


@dataclass(frozen=True)
class PassRecord:
    """What one pass did to each clip (0 for clips that were finished)."""

    decided: Counts
    accepted: Counts
    changed: Counts  # drafts behind the frontier whose redraft differs: the Hamming distance of two passes
    pending: Counts  # drafts that stayed undecided


@dataclass(frozen=True)
class Trace:
    """How a decode went, pass by pass (r passes, prefill first) and token by token (n new tokens)."""

    decided: Int[Tensor, "r b"]
    accepted: Int[Tensor, "r b"]
    changed: Int[Tensor, "r b"]
    pending: Int[Tensor, "r b"]
    seconds: Float[Tensor, " r"]
    forward_seconds: Float[Tensor, " r"]
    decided_in: Int[Tensor, "b n"]
    redrafted: Int[Tensor, "b n"]

    @property
    def frontier(self) -> Int[Tensor, "r b"]:
        """Tokens decided after each pass, the frontier counted from the end of the context."""
        return self.decided.cumsum(0)


@dataclass(frozen=True)
class DecodeStats:
    """Numbers of one decode. Seconds are wall time of the whole batch."""

    law: str
    nfe: list[int]  # per clip, prefill included
    new_tokens: int  # per clip
    passes: int  # forward calls of the batch
    seconds: float
    prefill_seconds: float
    forward_seconds: float  # inside the model, prefill included

    @property
    def tokens_per_pass(self) -> list[float]:
        """Mean acceptance length of each clip: new tokens / NFE."""
        return [self.new_tokens / nfe for nfe in self.nfe]


@dataclass(frozen=True)
class Decoded:
    """Tokens ``[b, new_tokens]`` with the numbers and the trace of their decoding."""

    tokens: Tokens
    stats: DecodeStats
    trace: Trace


def summarise(problem: Problem, law: str, trace: Trace, nfe: Counts) -> DecodeStats:
    """The numbers of a finished trace."""
    return DecodeStats(
        law=law,
        nfe=nfe.tolist(),
        new_tokens=problem.new_tokens,
        passes=trace.seconds.shape[0],
        seconds=float(trace.seconds.sum()),
        prefill_seconds=float(trace.seconds[0]),
        forward_seconds=float(trace.forward_seconds.sum()),
    )


def empty_counts(problem: Problem) -> Int[Tensor, "b p"]:
    """Zeros per clip and position, with a window of padding."""
    batch = problem.context.shape[0]
    return torch.zeros(batch, problem.end + problem.window, dtype=torch.long, device=problem.context.device)
