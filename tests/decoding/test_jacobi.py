"""The loop over passes with one lane: shapes, host reads, inputs and the probs it carries from pass to pass."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from recording import CONTEXT, VOCAB, WATCHED, case, every_pass
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vidjacobi.decoding import jacobi, step
from vidjacobi.decoding import state as books
from vidjacobi.decoding.draft import DeviceInputs
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.recipe import BUCKET, Recipe, Strategies
from vidjacobi.decoding.state import map_tensors
from vidjacobi.decoding.step import StepFunctions
from vidjacobi.decoding.strategies.couplings import Gumbel
from vidjacobi.decoding.strategies.draft_tree import DraftTree
from vidjacobi.decoding.strategies.drafts import DRAFTS, Uniform
from vidjacobi.decoding.strategies.parallel_lanes import LANES, RowLanes
from vidjacobi.decoding.strategies.verifiers import Pathwise
from vidjacobi.decoding.trace import ClipGroup
from vidjacobi.decoding.window import plan_window
from vidjacobi.models.protocol import Cache
from vidjacobi.sampling import sampler
from vidjacobi.sampling.probs import logits_to_probs

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
@pytest.mark.parametrize("tree", [None, {"depth": 2, "width": 3}])
@pytest.mark.parametrize("window", [1, 8, 40])
def test_shapes_stay_the_same(window: int, tree: dict[str, int] | None) -> None:
    """All inputs of all passes; only the prefix that attention reads grows, in buckets."""
    some = case(window, draft_tree=tree)
    some.decode(WATCHED)
    passes = some.model.calls[1:]  # the first is the prefill
    spare = some.recipe.spare_slot
    assert len(passes) > 5
    assert {tuple(x.shape) for call in passes for x in call[:3]} == {(3, window)}
    read = [call[3].shape[-1] for call in passes]
    assert set(read) <= {*range(BUCKET, spare, BUCKET), spare}
    assert read == sorted(read)
    assert {call[4].shape for call in passes} == {(3, spare + 1)}


def test_the_rows_of_finished_clips_are_not_fed() -> None:
    """Where the model can copy rows, and nobody watches them."""
    some = case(8)
    decoded = some.decode()
    left = [sum(nfe > index for nfe in decoded.stats.nfe) for index in range(1, decoded.stats.passes)]
    assert [len(call[0]) for call in some.model.calls[1:]] == left
    assert left[-1] < 3


def test_widths_of_lanes_are_few() -> None:
    """Multiples of 8, and the window at most."""
    some = case(20, lanes={"name": "rows", "context": 1, "width": 4, "frames": 1})
    some.decode()
    widths = {call[0].shape[1] for call in some.model.calls[1:]}
    assert widths <= {8, 16, 20}
    assert len(widths) > 1


def test_what_a_pass_feeds() -> None:
    """The last decided token and the drafts but the last; every input sees what lies left of it and itself."""
    some = case(8)
    some.decode()
    for tokens, positions, slots, visible, _ in some.model.calls[1:]:
        inside = slots < some.end
        assert torch.equal(slots[inside], positions[inside])
        assert (slots[~inside] == some.recipe.spare_slot).all()
        assert (positions < some.end).all()
        assert (tokens >= 0).all()
        assert (tokens < VOCAB).all()
        causal = torch.arange(visible.shape[-1]) <= positions[..., None]
        assert torch.equal(visible[inside], causal[inside])
        both = inside[:, 1:] & inside[:, :-1]
        assert (positions.diff(dim=1)[both] == 1).all()
        assert (inside.long().diff(dim=1) <= 0).all()  # padding stands on the right
        assert not visible[..., some.end :].any()


def test_a_pass_begins_at_the_frontier() -> None:
    """Input, slot by slot: the decided token before the frontier and the drafts after it."""
    some = case(8)
    for one in every_pass(some):
        for clip in range(3):
            frontier = int(one.before.frontier[clip])
            if frontier == some.end:
                assert not one.window.used[clip].any()
                continue
            length = min(8, some.end - frontier)
            assert one.window.inputs[clip, :length].tolist() == list(
                range(frontier - 1, frontier - 1 + length)
            )
            assert one.window.used[clip].tolist() == [slot < length for slot in range(8)]
            assert torch.equal(one.window.used, one.window.valid)
            drafted = one.drafted.tokens[clip]
            assert torch.equal(one.fed.tokens[clip, :length], drafted[frontier - 1 : frontier - 1 + length])


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
def test_one_host_read_per_pass(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else waits for a tensor's value, and no shape depends on one (but for probs on a CPU)."""

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

    reads = []

    def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
        reads.append(len(tensors))
        return books.to_host(tensors)

    at_forward: list[tuple[int, int, int]] = []

    def forward(recipe: Recipe, inputs: DeviceInputs, cache: Cache) -> Tensor:
        at_forward.append((len(reads), others.count, len(inputs.fed.tokens)))
        return step.forward(recipe, inputs, cache)

    monkeypatch.setattr(sampler, "takes_sparse_path", lambda logits: False)  # as on a GPU
    monkeypatch.setattr(step, "to_host", to_host)
    some = case(8, **options)
    with Reads() as others:
        some.decode(using=StepFunctions(forward=forward))
    same = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(at_forward) if a[2] == b[2]]
    assert len(same) > 5  # passes between which no clip was finished
    assert set(same) == {(1, 0)}
    assert len(reads) == len(at_forward)


@pytest.mark.unchecked
@pytest.mark.parametrize("tree", [None, {"depth": 2, "width": 3}])
@pytest.mark.parametrize("draft", DRAFTS)
def test_the_stored_probs_are_those_of_the_pass_or_of_the_fresh_draft(
    draft: str, tree: dict[str, int] | None
) -> None:
    """For every slot that was evaluated q is this pass's p, whether its draft was kept or not."""
    some = case(9, draft, draft_tree=tree)
    for one, after in pairwise(every_pass(some)):
        target = logits_to_probs(one.logits[:, : one.window.width], some.recipe.sampling)
        old, new = one.window, after.window
        assert after.on_device.draft_probs is not None
        q = after.on_device.draft_probs.dense()
        for clip in range(3):
            evaluated = {int(at): slot for slot, at in enumerate(old.targets[clip]) if old.valid[clip, slot]}
            for slot, at in enumerate(new.targets[clip].tolist()):
                if not new.valid[clip, slot]:
                    continue
                probs = q[clip, slot]
                if at in evaluated:
                    assert torch.equal(probs, target[clip, evaluated[at]])
                    assert after.drafted.tokens[clip, at] == one.after.tokens[clip, at]
                assert probs[after.drafted.tokens[clip, at]] > 0  # q(x) > 0 for every draft x
                assert float(probs.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("tree", "lanes"),
    [
        (None, None),
        ({"depth": 3, "width": 3}, None),
        (None, {"name": "rows", "context": 1, "width": 3, "frames": 1}),
    ],
    ids=["raster", "draft tree", "rows"],
)
def test_decided_tokens_are_never_touched_again(
    tree: dict[str, int] | None, lanes: dict[str, Any] | None
) -> None:
    passes = every_pass(case(9, draft_tree=tree, lanes=lanes))
    final = passes[-1].after
    for one in passes:
        for state in (one.before, one.drafted, one.after):
            assert torch.equal(state.tokens[state.decided], final.tokens[state.decided])
            assert (final.decided | ~state.decided).all()
        assert (one.after.frontier >= one.before.frontier).all()
        marked = one.before.decided_in > 0
        assert torch.equal(final.decided_in[marked], one.before.decided_in[marked])


def test_probs_are_stored_only_where_something_reads_them() -> None:
    def stored(**options: Any) -> Any:
        return every_pass(case(5, **options))[1].before.probs

    assert stored(coupling="gumbel", verifier="pathwise") is None
    assert stored(coupling="gumbel") is not None
    assert stored(verifier="pathwise") is not None
    assert stored(coupling="gumbel", verifier="pathwise", draft_tree={"depth": 1, "width": 2}) is not None
    strategies = Strategies(Uniform(), Gumbel(), Pathwise())
    assert not strategies.reads_draft_probs
    assert replace(strategies, draft_tree=DraftTree(1, 2)).reads_draft_probs


def test_frame_probs_are_kept_only_for_the_rule_that_draws_from_them() -> None:
    assert every_pass(case(5))[0].before.frame_probs is not None
    assert every_pass(case(5, "above"))[0].before.frame_probs is None


def test_the_first_drafts_come_from_the_probs_of_the_context() -> None:
    """The prefill's last frame of probs is kept although it arrives in chunks."""
    some = case(20)
    first = every_pass(some)[0]
    cache = some.model.make_cache(3, some.end + 1)
    logits = torch.cat(list(some.model.prefill(some.clips.context, cache, 20)), 1)
    probs = logits_to_probs(logits, some.recipe.sampling)  # of the positions CONTEXT - 19 .. CONTEXT
    assert first.on_device.draft_probs is not None
    q = first.on_device.draft_probs.dense()
    for slot in range(20):
        target = CONTEXT + 1 + slot
        place = (target - 20) - (CONTEXT - 19)
        assert torch.allclose(q[:, slot], probs[:, place], atol=1e-6)


@pytest.mark.parametrize("lanes", LANES)
def test_a_lane_rule_never_sees_a_token(lanes: str) -> None:
    """Two states that differ by their tokens only have the same next window."""
    some = case(16, lanes={"name": lanes, **LANE_OPTIONS.get(lanes, {})})
    for one in every_pass(some)[:6]:
        other = replace(one.before, tokens=(one.before.tokens + 1) % VOCAB)
        plan, again = (plan_window(some.recipe, state) for state in (one.before, other))
        assert torch.equal(plan.inputs, again.inputs)
        assert torch.equal(plan.lanes.targets, again.lanes.targets)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"draft_tree": {"depth": 2, "width": 3}},
        {"lanes": {"name": "rows", "context": 1, "width": 3, "frames": 0}},
    ],
    ids=str,
)
def test_a_recorded_decode_is_a_decode(options: dict[str, Any]) -> None:
    """``every_pass`` shows the insides of ``jacobi.steps``: same calls, same tokens, no state left out.

    Of a batch that is watched, whose rows stay where they are.
    """
    plain, recorded = (case(9, **options) for _ in range(2))
    decoded, passes = plain.decode(WATCHED), every_pass(recorded)
    assert len(plain.model.calls) == len(recorded.model.calls) == len(passes) + 1 == decoded.stats.passes
    for call, again in zip(plain.model.calls, recorded.model.calls, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(call, again, strict=True))
    assert torch.equal(passes[-1].after.tokens[:, CONTEXT : plain.end], decoded.tokens)
    for one in passes:
        for name in ("decided", "cached", "frontier", "exact_prefix", "passes", "decided_in"):
            assert torch.equal(getattr(one.before, name), getattr(one.drafted, name)), name


@pytest.mark.unchecked
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("tree", [None, {"depth": 2, "width": 3}], ids=["chain", "draft tree"])
def test_the_empty_window_before_the_first_pass_is_never_read(
    tree: dict[str, int] | None, temperature: float
) -> None:
    """Whatever its slots hold, and its probs: not a number, the last id, any position."""
    some = case(9, draft_tree=tree)
    recipe = replace(some.recipe, sampling=replace(some.recipe.sampling, temperature=temperature))
    expected = replace(some, recipe=recipe).decode()

    def tokens(spoil: bool) -> Tensor:
        cache = recipe.model.make_cache(3, recipe.spare_slot + 1)
        state = start(recipe, some.clips, cache)
        assert state.probs is not None
        if spoil:
            places = torch.randint(CONTEXT, some.end, state.window.inputs.shape)
            window = replace(state.window, inputs=places, home=places, lane=places)
            state = replace(state, window=window, probs=map_tensors(state.probs, spoilt))
        batch = jacobi.RowBatch(recipe, 3)
        group = ClipGroup(some.clips, 0.0, 3, some.clips.shared_by)
        batch.admit(group, state, cache, [0, 1, 2])
        while batch.active:
            batch.step()
        return group.decoded("lossless").tokens

    def spoilt(tensor: Tensor) -> Tensor:
        return torch.full_like(tensor, torch.nan if tensor.is_floating_point() else VOCAB - 1)

    assert torch.equal(tokens(spoil=False), expected.tokens)
    assert torch.equal(tokens(spoil=True), expected.tokens)


def test_a_recipe_without_strategies_is_refused() -> None:
    some = case(2)
    with pytest.raises(ValueError, match="needs a draft rule"):
        replace(some, recipe=replace(some.recipe, parts=None)).decode()


def test_a_draft_tree_wants_one_frontier() -> None:
    with pytest.raises(ValueError, match="a draft tree needs one lane"):
        replace(case(8).recipe.strategies, lanes=RowLanes(), draft_tree=DraftTree())
