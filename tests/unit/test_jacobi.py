"""The window loop: shapes, host reads, inputs and the laws it carries from pass to pass."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vidjacobi.decoders import jacobi
from vidjacobi.decoders.jacobi import BUCKET, pass_inputs, settle, shift, start, window_of
from vidjacobi.distributions import Warp, laws_of
from vidjacobi.drafts import DRAFTS
from vidjacobi.geometry import Grid
from vidjacobi.state import DecodeState, Parts, Problem
from vidjacobi.testing import TinyVideoModel

GRID = Grid(6, 4, 5)  # frames of 20, clips of 120
CONTEXT, NEW, VOCAB = 23, 90, 6


class Recording(TinyVideoModel):
    """Keeps what it was asked for."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.calls: list[tuple[Tensor, ...]] = []

    def forward(self, *inputs: Any) -> Tensor:
        self.calls.append(tuple(x.clone() for x in inputs))
        return super().forward(*inputs)


def problem(
    window: int, draft: str = "previous_law", coupling: str = "maximal", verifier: str = "speculative"
) -> Problem:
    parts = Parts.named({"name": draft}, {"name": coupling}, {"name": verifier})
    model = Recording(VOCAB, GRID, surprise=0.3)
    context = torch.randint(0, VOCAB, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    return Problem(model, context, NEW, Warp(1.0, 0.9), window, 0, torch.arange(3), parts)


@pytest.mark.parametrize("window", [1, 8, 40])
def test_shapes_stay_the_same(window: int) -> None:
    """All inputs of all passes; only the prefix that attention reads grows, in buckets."""
    case = problem(window)
    jacobi.run(case)
    passes = case.model.calls[1:]  # the first is the prefill
    assert len(passes) > 5
    assert {tuple(x.shape) for call in passes for x in call[:3]} == {(3, window)}
    read = [call[3].shape[-1] for call in passes]
    assert set(read) <= {*range(BUCKET, case.end, BUCKET), case.end}
    assert read == sorted(read)
    assert {call[4].shape for call in passes} == {(3, case.end + 1)}


def test_what_a_pass_feeds() -> None:
    """The last decided token and the drafts but the last; every query sees what lies left of it and itself."""
    case = problem(8)
    jacobi.run(case)
    for tokens, positions, slots, visible, _ in case.model.calls[1:]:
        inside = slots < case.end
        assert torch.equal(slots[inside], positions[inside])
        assert (slots[~inside] == case.end).all()  # the spare slot
        assert (positions < case.end).all()
        assert (tokens >= 0).all()
        assert (tokens < VOCAB).all()
        assert torch.equal(visible, torch.arange(visible.shape[-1]) <= positions[..., None])
        steps = positions.diff(dim=1)
        assert ((steps == 1) | ((steps == 0) & (positions[:, 1:] == case.end - 1))).all()


@pytest.mark.parametrize(("coupling", "verifier"), [("maximal", "speculative"), ("gumbel", "pathwise")])
def test_one_host_read_per_pass(coupling: str, verifier: str) -> None:
    """Nothing else waits for a tensor's value, and no shape depends on one."""

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.__name__.split(".")[0]
            self.count += name in ("item", "_local_scalar_dense", "is_nonzero", "equal")
            assert name not in ("nonzero", "masked_select", "unique", "repeat_interleave")
            assert func is not torch.ops.aten.index.Tensor or all(
                i is None or i.dtype != torch.bool for i in args[1]
            )
            return func(*args, **(kwargs or {}))

    case, calls = problem(8, coupling=coupling, verifier=verifier), []
    tolist = Tensor.tolist

    def counted(tensor: Tensor) -> Any:
        calls.append(tensor)
        return tolist(tensor)

    reads = Reads()
    with pytest.MonkeyPatch.context() as patch, reads:
        patch.setattr(Tensor, "tolist", counted)
        decoded = jacobi.run(case)
    assert len(calls) == decoded.stats.passes + 1  # and NFE at the end
    assert reads.count <= 3  # sums of seconds at the end


def every_state(case: Problem) -> list[tuple[DecodeState, Tensor, DecodeState]]:
    """(state before, logits, state after) of every pass."""
    cache = case.model.make_cache(3, case.end + 1)
    state, _ = start(case, cache)
    passes = []
    while int(state.frontier.min()) < case.end:
        logits = case.model.forward(*pass_inputs(case, state, int(state.frontier.max())), cache)
        after, _ = settle(case, state, logits)
        passes.append((state, logits, after))
        state = after
    return passes


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_stored_laws_are_those_of_the_pass_or_of_the_fresh_draft(draft: str) -> None:
    """Rule 1: for every slot that was evaluated q is this pass's p, whether its draft was kept or not."""
    case = problem(9, draft)
    for before, logits, after in every_state(case):
        target = laws_of(logits, case.warp)
        for clip in range(3):
            moved = int(after.frontier[clip] - before.frontier[clip])
            assert after.laws is not None
            assert torch.equal(after.laws[clip, : 9 - moved], target[clip, moved:])
        window = window_of(after.frontier, 9)
        drafts = after.tokens.gather(1, window)
        assert (after.laws.gather(-1, drafts[..., None])[..., 0] > 0).all()  # q(x) > 0 for every draft x
        assert torch.allclose(after.laws.sum(-1), torch.ones(()))


def test_decided_tokens_are_never_touched_again() -> None:
    case = problem(9)
    final = every_state(case)[-1][2].tokens
    for before, _, after in every_state(case):
        for state in (before, after):
            for clip in range(3):
                frontier = int(state.frontier[clip])
                assert torch.equal(state.tokens[clip, :frontier], final[clip, :frontier])


def test_laws_are_stored_only_where_something_reads_them() -> None:
    state = every_state(problem(5, coupling="gumbel", verifier="pathwise"))[0][0]
    assert state.laws is None
    assert every_state(problem(5, coupling="gumbel"))[0][0].laws is not None
    assert every_state(problem(5, verifier="pathwise"))[0][0].laws is not None


def test_laws_are_remembered_only_for_the_rule_that_draws_from_them() -> None:
    assert every_state(problem(5))[0][0].memory is not None
    assert every_state(problem(5, "above"))[0][0].memory is None


def test_the_first_drafts_come_from_the_laws_of_the_context() -> None:
    """The prefill's last frame of laws is kept although it arrives in chunks."""
    case = problem(20)
    state, _ = start(case, case.model.make_cache(3, case.end + 1))
    cache = case.model.make_cache(3, case.end + 1)
    logits = torch.cat(list(case.model.prefill(case.context, cache, 20)), 1)
    laws = laws_of(logits, case.warp)  # of positions CONTEXT - 19 .. CONTEXT
    window = window_of(state.frontier, 20)  # CONTEXT + 1 ..
    for slot in range(20):
        place = (int(window[0, slot]) - 20) - (CONTEXT - 19)
        assert torch.allclose(state.laws[:, slot], laws[:, place], atol=1e-6)


def test_shift() -> None:
    laws = torch.arange(8.0).reshape(2, 4, 1)
    moved = shift(laws, torch.tensor([1, 3]))[..., 0]
    assert moved[0, :3].tolist() == [1, 2, 3]
    assert moved[1, :1].tolist() == [7]
    assert torch.equal(shift(laws, torch.tensor([0, 0])), laws)


def test_a_problem_without_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a draft rule"):
        jacobi.run(replace(problem(2), parts=None))
