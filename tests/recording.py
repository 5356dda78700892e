"""A model that keeps what it was asked for, and the decoder's own passes with everything between them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vidjacobi.decoding import jacobi
from vidjacobi.decoding.commit import StepInputs, Verdict
from vidjacobi.decoding.draft import DeviceInputs, ModelInputs
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.recipe import NO_HOOKS, Clips, Hooks, Recipe, Strategies
from vidjacobi.decoding.state import DecodeState, Window
from vidjacobi.decoding.step import STEP, StepFunctions
from vidjacobi.decoding.trace import Decoded, PassRecord, finish
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import Cache
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel

GRID = Grid(6, 4, 5)  # frames of 20, clips of 120
CONTEXT, NEW, VOCAB = 23, 90, 6
WATCHED = Hooks(watch=lambda *_: None)  # the rows of finished clips stay where they are


class Recording(TinyVideoModel):
    """Keeps the inputs of every forward call."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.calls: list[tuple[Tensor, ...]] = []

    def forward(self, *inputs: Any) -> Tensor:
        self.calls.append(tuple(x.clone() for x in inputs))
        return super().forward(*inputs)


@dataclass(frozen=True)
class Case:
    """A decode that has not begun."""

    recipe: Recipe
    clips: Clips

    @property
    def model(self) -> Recording:
        """Keeps its inputs."""
        assert isinstance(self.recipe.model, Recording)
        return self.recipe.model

    @property
    def end(self) -> int:
        """First position after the clips, which are equally long."""
        return int(self.clips.ends.max())

    def decode(self, hooks: Hooks = NO_HOOKS, using: StepFunctions = STEP) -> Decoded:
        """All passes."""
        return finish(jacobi.steps(self.recipe, self.clips, hooks, using))


def case(
    window: int,
    draft: str = "previous_frame_probs",
    coupling: str = "maximal",
    verifier: str = "rejection_sampling",
    lanes: dict[str, Any] | None = None,
    draft_tree: dict[str, Any] | None = None,
) -> Case:
    """Three clips on a recording model."""
    strategies = Strategies.named({"name": draft}, {"name": coupling}, {"name": verifier}, lanes, draft_tree)
    contexts = torch.randint(0, VOCAB, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    model = Recording(VOCAB, GRID, surprise=0.3)
    recipe = Recipe(model, SamplingParams(1.0, 0.9), window, CONTEXT + NEW, strategies)
    return Case(recipe, Clips.of(list(contexts), [NEW] * 3, 0, range(3), model.device))


@dataclass(frozen=True)
class RecordedPass:
    """One pass of the decoder.

    Attributes:
        before: the state without the drafts of this pass; with them it is ``inputs.state``.
        inputs, logits, verdict: what the window held, what came out, what was made of it.
        after, record: the next state, and the counts.
    """

    before: DecodeState
    inputs: StepInputs
    logits: Tensor
    verdict: Verdict
    after: DecodeState
    record: PassRecord

    @property
    def drafted(self) -> DecodeState:
        """The state with the drafts of this pass."""
        return self.inputs.state

    @property
    def window(self) -> Window:
        """The positions of this pass."""
        return self.inputs.window

    @property
    def fed(self) -> ModelInputs:
        """The inputs of the forward call."""
        return self.on_device.fed

    @property
    def on_device(self) -> DeviceInputs:
        """The inputs as the device had them."""
        assert self.inputs.on_device
        return self.inputs.on_device


def every_pass(of: Case) -> list[RecordedPass]:
    """All passes after the prefill, as the decoder runs them; no row leaves before the last one is finished."""
    passes: list[RecordedPass] = []
    logits: list[Tensor] = []
    # The state of the prefill is handed to nobody: it is made once more, by a model of its own.
    bare = replace(of.recipe, model=TinyVideoModel(VOCAB, GRID, surprise=0.3))
    state = start(bare, of.clips, bare.model.make_cache(len(of.clips), bare.spare_slot + 1))

    def forward(recipe: Recipe, inputs: DeviceInputs, cache: Cache) -> Tensor:
        logits.append(STEP.forward(recipe, inputs, cache))
        return logits[-1]

    def commit(recipe: Recipe, inputs: StepInputs, verdict: Verdict) -> tuple[DecodeState, PassRecord]:
        nonlocal state
        after, record = STEP.commit(recipe, inputs, verdict)
        passes.append(RecordedPass(state, inputs, logits[-1], verdict, after, record))
        state = after
        return after, record

    of.decode(WATCHED, StepFunctions(forward=forward, commit=commit))
    return passes
