"""Compiled passes, and what each was given and gave."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vidjacobi.decoding.compiled import CompiledModel, CompiledRunner
from vidjacobi.decoding.recipe import Recipe
from vidjacobi.decoding.state import DecodeState
from vidjacobi.decoding.step import StepFunctions, StepOutput
from vidjacobi.decoding.trace import Clock
from vidjacobi.decoding.window import PassPlan, PassSize
from vidjacobi.models.protocol import Cache

Note = Callable[[PassSize, Cache, StepOutput], None]


@dataclass(frozen=True)
class NotingRunner:
    """A runner whose passes are told to ``note``."""

    runner: CompiledRunner
    note: Note
    keeps_rows: bool = True

    def make_cache(self, rows: int, slots: int) -> Cache:
        return self.runner.make_cache(rows, slots)

    def size(self, plan: PassPlan) -> PassSize:
        return self.runner.size(plan)

    def run(
        self, state: DecodeState, plan: PassPlan, size: PassSize, cache: Cache
    ) -> tuple[StepOutput, float]:
        output, seconds = self.runner.run(state, plan, size, cache)
        self.note(size, cache, output)
        return output, seconds

    def release(self) -> None:
        self.runner.release()


class NotedModel(CompiledModel):
    """A compiled model whose passes are told to ``note``."""

    def __init__(self, *arguments: Any, note: Note) -> None:
        super().__init__(*arguments)
        self._note = note

    def step_runner(self, recipe: Recipe, rows: int, clock: Clock, using: StepFunctions) -> Any:
        return NotingRunner(super().step_runner(recipe, rows, clock, using), self._note)
