"""The window loop with one lane: shapes, host reads, inputs and the laws it carries from pass to pass."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from recording import Recording, every_pass, problem
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vidjacobi.decoding import jacobi
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.state import Strategies
from vidjacobi.decoding.strategies.couplings import Gumbel
from vidjacobi.decoding.strategies.draft_tree import DraftTree
from vidjacobi.decoding.strategies.drafts import DRAFTS, Uniform
from vidjacobi.decoding.strategies.lanes import LANES, Rows
from vidjacobi.decoding.strategies.verifiers import Pathwise
from vidjacobi.decoding.window import BUCKET, choose_window, draft_window, plan, spare_slot
from vidjacobi.sampling import sampler
from vidjacobi.sampling.probs import logits_to_probs

VOCAB = 6
LANE_OPTIONS: dict[str, dict[str, Any]] = {
    "raster": {},
    "rows": {"context": 2, "frames": 1},
    "adaptive": {
        "curve": "made up",
        "sizes": [4, 9, 16],
        "seconds": [1.0, 1.5, 2.0],
        "tokens": [2.0, 3.0, 4.0],
        "block": 2,
    },
}


@pytest.mark.unchecked
@pytest.mark.parametrize("siblings", [None, {"depth": 2, "width": 3}])
@pytest.mark.parametrize("window", [1, 8, 40])
def test_shapes_stay_the_same(window: int, siblings: dict[str, int] | None) -> None:
    """All inputs of all passes; only the prefix that attention reads grows, in buckets."""
    case = replace(problem(window, draft_tree=siblings), watch=lambda *_: None)
    jacobi.run(case)
    passes = case.model.calls[1:]  # the first is the prefill
    spare = spare_slot(case, case.parts)
    assert len(passes) > 5
    assert {tuple(x.shape) for call in passes for x in call[:3]} == {(3, window)}
    read = [call[3].shape[-1] for call in passes]
    assert set(read) <= {*range(BUCKET, spare, BUCKET), spare}
    assert read == sorted(read)
    assert {call[4].shape for call in passes} == {(3, spare + 1)}


def test_the_rows_of_finished_clips_are_not_fed() -> None:
    """Where the model can copy rows, and nobody watches them."""
    case = problem(8)
    decoded = jacobi.run(case)
    left = [sum(nfe > index for nfe in decoded.stats.nfe) for index in range(1, decoded.stats.passes)]
    assert [len(call[0]) for call in case.model.calls[1:]] == left
    assert left[-1] < 3


def test_widths_of_lanes_are_few() -> None:
    """Multiples of 8, and the window at most."""
    case = problem(20, lanes={"name": "rows", "context": 1, "width": 4, "frames": 1})
    jacobi.run(case)
    widths = {call[0].shape[1] for call in case.model.calls[1:]}
    assert widths <= {8, 16, 20}
    assert len(widths) > 1


def test_what_a_pass_feeds() -> None:
    """The last decided token and the drafts but the last; every query sees what lies left of it and itself."""
    case = problem(8)
    jacobi.run(case)
    for tokens, positions, slots, visible, _ in case.model.calls[1:]:
        inside = slots < case.end
        assert torch.equal(slots[inside], positions[inside])
        assert (slots[~inside] == spare_slot(case, case.parts)).all()
        assert (positions < case.end).all()
        assert (tokens >= 0).all()
        assert (tokens < VOCAB).all()
        causal = torch.arange(visible.shape[-1]) <= positions[..., None]
        assert torch.equal(visible[inside], causal[inside])
        both = inside[:, 1:] & inside[:, :-1]
        assert (positions.diff(dim=1)[both] == 1).all()
        assert (inside.long().diff(dim=1) <= 0).all()  # padding stands on the right
        assert not visible[..., case.end :].any()


def test_a_pass_begins_at_the_frontier() -> None:
    """Input, slot by slot: the decided token in front of the frontier and the drafts behind it."""
    case = problem(8)
    for step in every_pass(case):
        for clip in range(3):
            frontier = int(step.before.frontier[clip])
            if frontier == case.end:
                assert not step.window.used[clip].any()
                continue
            length = min(8, case.end - frontier)
            assert step.window.inputs[clip, :length].tolist() == list(
                range(frontier - 1, frontier - 1 + length)
            )
            assert step.window.used[clip].tolist() == [slot < length for slot in range(8)]
            assert torch.equal(step.window.used, step.window.valid)
            drafted = step.drafted.tokens[clip]
            assert torch.equal(
                step.inputs.tokens[clip, :length], drafted[frontier - 1 : frontier - 1 + length]
            )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coupling": "gumbel", "verifier": "pathwise"},
        {"draft_tree": {"depth": 2, "width": 3}},
        {"draft_tree": {"depth": 1, "width": 2}, "coupling": "gumbel", "verifier": "pathwise"},
        {"lanes": {"name": "rows", "context": 1, "width": 3, "frames": 1, "refresh": 4}},
    ],
    ids=str,
)
def test_one_host_read_per_pass(options: dict[str, Any]) -> None:
    """Nothing else waits for a tensor's value, and no shape depends on one (but for laws on a CPU)."""

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.__name__.split(".")[0]
            self.count += name in ("item", "_local_scalar_dense", "is_nonzero", "equal")
            assert name not in ("nonzero", "masked_select", "unique")
            assert func is not torch.ops.aten.repeat_interleave.Tensor  # with a number it is an expand
            assert func is not torch.ops.aten.index.Tensor or all(
                i is None or i.dtype != torch.bool for i in args[1]
            )
            return func(*args, **(kwargs or {}))

    case, calls, at_forward = problem(8, **options), [], []
    tolist, forward = Tensor.tolist, case.model.forward

    def marked(*inputs: Tensor) -> Tensor:
        at_forward.append((len(calls), reads.count, len(inputs[0])))
        return forward(*inputs)

    def counted(tensor: Tensor) -> Any:
        calls.append(tensor)
        return tolist(tensor)

    reads = Reads()
    with pytest.MonkeyPatch.context() as patch, reads:
        patch.setattr(sampler, "takes_sparse_path", lambda logits: False)  # as on a GPU
        patch.setattr(Tensor, "tolist", counted)
        patch.setattr(case.model, "forward", marked)
        jacobi.run(case)
    same = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(at_forward[1:]) if a[2] == b[2]]
    assert len(same) > 5  # passes between which no clip was finished
    assert set(same) == {(1, 0)}
    assert len(calls) < 2 * len(at_forward)


@pytest.mark.unchecked
@pytest.mark.parametrize("siblings", [None, {"depth": 2, "width": 3}])
@pytest.mark.parametrize("draft", DRAFTS)
def test_the_stored_laws_are_those_of_the_pass_or_of_the_fresh_draft(
    draft: str, siblings: dict[str, int] | None
) -> None:
    """Rule 1: for every slot that was evaluated q is this pass's p, whether its draft was kept or not."""
    case = problem(9, draft, draft_tree=siblings)
    steps = every_pass(case)
    for step, after in pairwise(steps):
        size = step.window.inputs.shape[1]
        target = logits_to_probs(step.logits[:, :size], case.sampling)
        old, new = step.window, after.window
        laws = after.drafted.drawn.dense()
        for clip in range(3):
            evaluated = {int(at): slot for slot, at in enumerate(old.targets[clip]) if old.valid[clip, slot]}
            for slot, at in enumerate(new.targets[clip].tolist()):
                if not new.valid[clip, slot]:
                    continue
                law = laws[clip, slot]
                if at in evaluated:
                    assert torch.equal(law, target[clip, evaluated[at]])
                    assert after.drafted.tokens[clip, at] == step.after.tokens[clip, at]
                assert law[after.drafted.tokens[clip, at]] > 0  # q(x) > 0 for every draft x
                assert float(law.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("siblings", [None, {"depth": 3, "width": 3}])
@pytest.mark.parametrize("lanes", [None, {"name": "rows", "context": 1, "width": 3, "frames": 1}])
def test_decided_tokens_are_never_touched_again(
    siblings: dict[str, int] | None, lanes: dict[str, Any] | None
) -> None:
    if siblings and lanes:
        return
    steps = every_pass(problem(9, draft_tree=siblings, lanes=lanes))
    final = steps[-1].after
    for step in steps:
        for state in (step.before, step.drafted, step.after):
            assert torch.equal(state.tokens[state.decided], final.tokens[state.decided])
            assert (final.decided | ~state.decided).all()
        assert (step.after.frontier >= step.before.frontier).all()
        marked = step.before.decided_in > 0
        assert torch.equal(final.decided_in[marked], step.before.decided_in[marked])


def test_laws_are_stored_only_where_something_reads_them() -> None:
    def laws(**options: Any) -> Any:
        return every_pass(problem(5, **options))[1].before.laws

    assert laws(coupling="gumbel", verifier="pathwise") is None
    assert laws(coupling="gumbel") is not None
    assert laws(verifier="pathwise") is not None
    assert laws(coupling="gumbel", verifier="pathwise", draft_tree={"depth": 1, "width": 2}) is not None
    parts = Strategies(Uniform(), Gumbel(), Pathwise())
    assert not parts.reads_draft_probs
    assert replace(parts, draft_tree=DraftTree(1, 2)).reads_draft_probs


def test_laws_are_remembered_only_for_the_rule_that_draws_from_them() -> None:
    assert every_pass(problem(5))[0].before.memory is not None
    assert every_pass(problem(5, "above"))[0].before.memory is None


def test_the_first_drafts_come_from_the_laws_of_the_context() -> None:
    """The prefill's last frame of laws is kept although it arrives in chunks."""
    case = problem(20)
    parts = case.parts
    context = case.context.shape[1]
    state = start(case, parts, case.model.make_cache(3, case.end + 1))
    state = draft_window(case, parts, state, choose_window(plan(case, parts, state), 20))
    cache = case.model.make_cache(3, case.end + 1)
    logits = torch.cat(list(case.model.prefill(case.context, cache, 20)), 1)
    laws = logits_to_probs(logits, case.sampling)  # of positions context - 19 .. context
    assert state.drawn is not None
    drawn = state.drawn.dense()
    for slot in range(20):
        target = context + 1 + slot
        place = (target - 20) - (context - 19)
        assert torch.allclose(drawn[:, slot], laws[:, place], atol=1e-6)


@pytest.mark.parametrize("lanes", LANES)
def test_a_lane_rule_never_sees_a_token(lanes: str) -> None:
    """Two states that differ by their tokens only have the same next window."""
    case = problem(16, lanes={"name": lanes, **LANE_OPTIONS.get(lanes, {})})
    for step in every_pass(case)[:6]:
        other = replace(step.before, tokens=(step.before.tokens + 1) % VOCAB)
        planned, again = (plan(case, case.parts, state) for state in (step.before, other))
        assert torch.equal(planned.inputs, again.inputs)
        assert torch.equal(planned.active.targets, again.active.targets)


def test_the_passes_of_this_file_are_those_of_the_decoder() -> None:
    """``every_pass`` repeats the loop of ``jacobi.run`` to show its insides: same calls, same tokens.

    Of a batch that is watched, whose rows stay where they are.
    """
    for options in (
        {},
        {"draft_tree": {"depth": 2, "width": 3}},
        {"lanes": {"name": "rows", "context": 1, "width": 3, "frames": 0}},
    ):
        case, copy = (replace(problem(9, **options), watch=lambda *_: None) for _ in range(2))
        decoded, steps = jacobi.run(case), every_pass(copy)
        assert isinstance(case.model, Recording)
        assert len(case.model.calls) == len(copy.model.calls) == len(steps) + 1 == decoded.stats.passes
        for call, again in zip(case.model.calls, copy.model.calls, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(call, again, strict=True))
        start = case.context.shape[1]
        assert torch.equal(steps[-1].after.tokens[:, start : case.end], decoded.tokens)


def test_a_problem_without_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a draft rule"):
        jacobi.run(replace(problem(2), parts=None))


def test_siblings_want_one_frontier() -> None:
    case = problem(8)
    with pytest.raises(ValueError, match="siblings need one lane"):
        replace(case.parts, lanes=Rows(), draft_tree=DraftTree())
