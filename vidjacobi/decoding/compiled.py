"""Passes as one compiled function each, and on a GPU as one captured graph each.

What is compiled is all that the device does in a pass (``evaluate`` in step.py): drafts, forward call, verdicts. Rows
and widths of a batch stay what they are. The prefix that attention reads grows in buckets; in the compiled code it is
a symbol, so nothing is compiled again when it grows.
"""

import os
import shutil
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from vidjacobi.decoding.commit import Evaluated
from vidjacobi.decoding.cuda_graph import GraphRecorder, GraphRunner
from vidjacobi.decoding.draft import CarriedProbs
from vidjacobi.decoding.recipe import BUCKET, Recipe
from vidjacobi.decoding.state import DecodeState, longer
from vidjacobi.decoding.step import StepFunctions, StepOutput, evaluate, step
from vidjacobi.decoding.trace import Clock
from vidjacobi.decoding.window import PassPlan, PassSize, PassTables
from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid, check_members
from vidjacobi.models.protocol import Cache, VideoModel
from vidjacobi.registry import lookup
from vidjacobi.runtime import graph_recorder
from vidjacobi.shapes import Logits, Positions, Slots, Tokens, Visible

MODES = {
    "off": "one kernel after the other",
    "default": "each pass compiled as one function",
    "reduce-overhead": "the same, captured as CUDA graphs, one per prefix read (untested on a GPU)",
}
PREFIXES = 16  # most different prefixes that the passes of a clip read
# what a model may offer beyond a VideoModel
OPTIONAL = (
    *("move", "copy_rows", "rows_alike", "conditions", "condition_id", "set_conditions", "condition"),
    *("recommended_top_p", "spec"),
)


def compiled(
    model: VideoModel, mode: str = "default", backend: str = "inductor", recorder: GraphRecorder | None = None
) -> VideoModel:
    """The same model, whose passes are compiled when a decoder first makes one of their shape.

    Tokens are those of the eager passes but for rounding: kernels are fused, so logits differ in their last bits.

    Args:
        model: anything that decodes, written so that ``torch.compile(fullgraph=True)`` takes its ``forward``.
        mode: a key of MODES.
        backend: of ``torch.compile``.
        recorder: what captures graphs under ``reduce-overhead``; the GPU's own by default.

    Raises:
        InvalidArgument: unknown mode; no compiler; graphs asked for without a GPU.
    """
    check_members("the model", model, VideoModel)
    if backend != "inductor" or recorder:
        lookup("compile mode", mode, MODES)
    else:
        check_mode(mode, model.device)
    if mode == "off":
        return model
    if mode == "reduce-overhead":
        recorder = recorder or graph_recorder()
    return CompiledModel(model, backend, recorder if mode == "reduce-overhead" else None)


def check_mode(mode: str, device: torch.device, offload: bool = False) -> None:
    """Refuse what could not be compiled on this device, before anything is loaded. Raises InvalidArgument."""
    lookup("compile mode", mode, MODES)
    if mode == "off":
        return
    if offload:
        raise InvalidArgument("compiled passes need their weights in one place: leave out offload or compile")
    if mode == "reduce-overhead" and device.type != "cuda":
        raise InvalidArgument("reduce-overhead captures CUDA graphs: on a CPU use compile mode 'default'")
    check_compiler(device)


def check_compiler(device: torch.device) -> None:
    """Refuse what would end in the middle of the first pass."""
    names = ([os.environ["CXX"]] if os.environ.get("CXX") else []) + ["g++", "clang++", "c++", "cl"]
    if not any(map(shutil.which, names)):
        raise InvalidArgument(
            "compiled passes need a C++ compiler and none was found: install one (Debian and Ubuntu: g++; "
            "Fedora: gcc-c++; conda: cxx-compiler), name it in CXX, or leave compile off"
        )
    if device.type == "cuda" and not torch.utils._triton.has_triton():
        raise InvalidArgument(
            "compiled passes need the package triton on a GPU: install it, or leave compile off"
        )


class CompiledModel:
    """A model whose passes are compiled, and ``forward`` for one-by-one decoding. Prefills are not."""

    def __init__(self, model: VideoModel, backend: str, recorder: GraphRecorder | None) -> None:
        self.model, self._backend, self._recorder = model, backend, recorder
        self.vocab_size, self.max_positions = model.vocab_size, model.max_positions
        self.prefix_tokens = model.prefix_tokens
        for name in OPTIONAL:
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        self._forwards: dict[Hashable, Callable[..., Logits]] = {}
        self._runners: dict[Hashable, CompiledRunner] = {}

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.model.dtype

    def grid_for(self, frames: int) -> Grid:
        """Latent grid of ``frames`` frames."""
        return self.model.grid_for(frames)

    def make_cache(self, batch: int, slots: int) -> Cache:
        """The model's own."""
        return self.model.make_cache(batch, slots)

    def prefill(self, tokens: Tokens, cache: Cache, keep: int) -> Iterator[Logits]:
        """Not compiled: contexts have any length, and there is one prefill."""
        return self.model.prefill(tokens, cache, keep)

    def forward(
        self, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Cache
    ) -> Logits:
        """The compiled forward call, one for each shape."""
        shapes = (tokens.shape, visible.shape)
        if shapes not in self._forwards:
            self._forwards[shapes] = compile_whole(_forward, self._backend)
        # copies: one row of a longer table, however wide that is, is compiled once
        inputs = [
            part.clone(memory_format=torch.contiguous_format) for part in (tokens, positions, slots, visible)
        ]
        with explained(self.model):
            return self._forwards[shapes](self.model, *inputs, cache)

    def step_runner(self, recipe: Recipe, rows: int, clock: Clock, using: StepFunctions) -> "CompiledRunner":
        """Runs the passes of ``rows`` clips of a recipe; what was compiled for an equal one is used again."""
        # The model itself: what is here compiles forward calls alone, and a pass is compiled as a whole.
        bare = replace(recipe, model=self.model, fused=True)
        key = (bare, rows, using)
        # Taken out until it is given back: a decode that begins meanwhile gets a runner of its own, and a cache.
        made = self._runners.pop(key, None)
        if made is None:
            run = compile_whole(_evaluate, self._backend)
            captured = GraphRunner(run, self._recorder) if self._recorder else None
            made = CompiledRunner(bare, using, captured or run, keeps_cache=captured is not None)
        made.lend(clock, lambda: self._runners.update({key: made}))
        return made


class CompiledRunner:
    """Runs compiled passes of one recipe. One decode uses it at a time."""

    keeps_rows = True

    def __init__(
        self, recipe: Recipe, using: StepFunctions, run: Callable[..., Evaluated], keeps_cache: bool
    ) -> None:
        self._recipe, self._using, self._run, self._keeps_cache = recipe, using, run, keeps_cache
        self._clock = Clock(recipe.model.device, False)
        self._cache: Cache = None
        self._give_back: Callable[[], None] | None = None

    def lend(self, clock: Clock, give_back: Callable[[], None]) -> None:
        """To a decode, until it releases the runner."""
        self._clock, self._give_back = clock, give_back

    def release(self) -> None:
        """The next decode may have it."""
        if self._give_back:
            self._give_back()
        self._give_back = None

    def make_cache(self, rows: int, slots: int) -> Cache:
        """A new one; where graphs know the old one's addresses, that one, wiped."""
        if self._cache is not None:
            for entries in tree_leaves(self._cache):
                entries.zero_()
            return self._cache
        cache = self._recipe.model.make_cache(rows, slots)
        self._cache = cache if self._keeps_cache else None
        return cache

    def size(self, plan: PassPlan) -> PassSize:
        """The smallest halving of the window that holds all inputs, and few different prefixes."""
        recipe = self._recipe
        wanted, width = recipe.strategies.lanes.pass_width(plan.widest, recipe.chain), recipe.chain
        # A window is halved while it holds all inputs: of 32, passes of 16 take 9 to 16 of them.
        while width % 2 == 0 and width // 2 >= wanted:
            width //= 2
        # 64 buckets are read in steps of 4: 16 prefixes, and under reduce-overhead a graph for each of them.
        step = BUCKET * -(-(recipe.spare_slot // BUCKET) // PREFIXES)
        return PassSize(width, recipe.slots_to_read(plan.furthest, step))

    def run(
        self, state: DecodeState, plan: PassPlan, size: PassSize, cache: Cache
    ) -> tuple[StepOutput, float]:
        """The pass; all of its seconds count as the model's."""
        began = self._clock.now()
        with explained(self._recipe.model):
            output = step(self._recipe, state, plan, size, cache, self._using, self._evaluate)
        return output, self._clock.now() - began

    def _evaluate(
        self,
        recipe: Recipe,
        using: StepFunctions,
        tables: PassTables,
        carried: CarriedProbs,
        cache: Cache,
        slots: int,
    ) -> Evaluated:
        # Only the length of ``blocks`` counts: a symbol in the compiled code, so that it is not compiled again
        # when the prefix grows. Example: 192 slots to read are 3 buckets of 64, so blocks has 4 entries.
        blocks = torch.empty(slots // BUCKET + 1, device=recipe.model.device)
        torch._dynamo.mark_dynamic(blocks, 0)
        if carried.last and carried.last.table is not None:  # of the prefill, which is not compiled
            carried = replace(carried, last=replace(carried.last, table=None))
        return self._run(recipe, using, tables, carried, cache, blocks)


def _evaluate(
    recipe: Recipe,
    using: StepFunctions,
    tables: PassTables,
    carried: CarriedProbs,
    cache: Cache,
    blocks: Tensor,
) -> Evaluated:
    """A pass that keeps the shapes of its probs. Of ``blocks`` only the length counts: buckets to read, plus one."""
    found = evaluate(recipe, using, tables, carried, cache, (blocks.shape[0] - 1) * BUCKET)
    # The probs of a narrow pass are padded to the width of those that came in, so that their shape stays.
    last = carried.last and longer(found.carried.last, carried.last.logits.shape[1])
    return replace(found, carried=replace(found.carried, last=last))


def _forward(
    model: VideoModel, tokens: Tokens, positions: Positions, slots: Slots, visible: Visible, cache: Cache
) -> Logits:
    return model.forward(tokens, positions, slots, visible, cache)


def compile_whole(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """A compiled copy of a function: what one copy has compiled is not counted against the others."""
    assert isinstance(function, FunctionType)
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(own, fullgraph=True, dynamic=False, backend=backend)


@contextmanager
def explained(model: VideoModel) -> Iterator[None]:
    """What the compiler cannot do, in words that say what to do."""
    try:
        yield
    except Exception as error:
        known = torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit
        if not isinstance(error, known):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InvalidArgument(
            f"passes of {type(model).__name__} cannot be compiled ({reason.strip()}): leave compile off"
        ) from error
