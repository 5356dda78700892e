"""``check_model``: whether a model keeps the promises of ``vidjacobi.models.protocol``. A broken one is named."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from vidjacobi.decoding.api import decode
from vidjacobi.errors import BadModelOutput, InvalidArgument, number_of
from vidjacobi.kinds import Grid, check_members, whole
from vidjacobi.models.protocol import RowModel, TreeModel, VideoModel, conditions_of, takes_conditions
from vidjacobi.sampling.probs import SamplingParams, is_finite, probs_dtype
from vidjacobi.testing.model_trial import MOST, READ, SPARE, ModelTrial

EXACT = (torch.float32, torch.float64)  # elsewhere rounding turns near-ties


@torch.inference_mode()
def check_model(model: VideoModel, seed: int = 0, conditions: Sequence[Any] | None = None) -> None:
    """Run a model on two made-up clips of at most 24 tokens, and raise for the first promise that it breaks.

    In this order: members, shapes, dtype and finite logits; equal calls give equal logits; ``keep``; no input sees a
    later one; ``visible`` hides entries; windows and one input at a time give what prefill gives; slots are
    overwritten; inputs need not be neighbours, and their slots need not be their positions; clips do not touch each
    other; padding is harmless; ``move`` and ``copy_rows``, where they are offered; conditions are read, replaced and
    copied with their rows; ``pathwise`` decides the tokens of ``ar``.

    Logits are compared up to rounding, tokens in float32 and float64 only: check an adapter in one of these.

    Args:
        model: anything that should satisfy ``vidjacobi.VideoModel``.
        seed: of the made-up tokens.
        conditions: two different ones, for a model that takes them; None: the model's own.

    Raises:
        InvalidArgument: a member is missing or of another type, there is no room for 6 positions, or conditions do
            not fit.
        BadModelOutput: a promise is broken; the message says which.
    """
    check_attributes(model)
    trial = ModelTrial(model, whole("seed", seed), conditions=two_conditions(model, conditions))
    for check in CHECKS:
        check(trial)


def two_conditions(model: VideoModel, given: Sequence[Any] | None) -> Sequence[Any] | None:
    """Those of the clips of a trial; None where the model takes none. Raises InvalidArgument."""
    if takes_conditions(model):
        own = model.conditions or ()
        given = given or (own * 2 if len(own) == 1 else own[:2]) or None
        if given is not None and len(given) != 2:
            raise InvalidArgument(
                f"a trial has two clips, and there are {number_of(len(given), 'condition')}"
            )
    conditions_of(model, given, [min(model.max_positions, MOST)] * 2)
    return given


def check_attributes(model: VideoModel) -> None:
    """Attributes that are missing or of another type. Raises InvalidArgument, BadModelOutput."""
    check_members("the model", model, VideoModel)
    whole("the model's vocab_size", model.vocab_size, 1)
    whole("the model's max_positions", model.max_positions, 6)
    prefix = model.prefix_tokens
    if not isinstance(prefix, tuple) or not all(isinstance(token, int) for token in prefix):
        raise BadModelOutput(f"prefix_tokens must be a tuple of token ids, such as (), not {prefix!r}")
    for name, kind in (("device", torch.device), ("dtype", torch.dtype)):
        if not isinstance(getattr(model, name), kind):
            raise BadModelOutput(f"{name} must be a torch.{name}, not {getattr(model, name)!r}")
    grid = model.grid_for(1)
    if not isinstance(grid, Grid) or min(grid.t, grid.h, grid.w) < 1:
        raise BadModelOutput(
            f"grid_for(1) must be a vidjacobi.Grid(t, h, w) with numbers of at least 1, not {grid!r}"
        )


def check_shapes(trial: ModelTrial) -> None:
    """Shapes, dtype, finite numbers, of a prefill and of a pass."""
    for keep in (1, trial.context, max(1, trial.context - 1)):
        chunks = trial.prefill(trial.tokens[:, : trial.context], keep)
        trial.require(bool(is_finite(chunks).all()), "prefill yields logits that are NaN or infinite")
    logits = trial.window(trial.filled())
    trial.require(bool(is_finite(logits).all()), "forward returns logits that are NaN or infinite")
    dtype = trial.model.dtype
    for name, found in (("prefill", chunks), ("forward", logits)):
        trial.require(
            probs_dtype(found.dtype) == probs_dtype(dtype),
            f"{name} gives logits in {found.dtype}, and the model's dtype is {dtype}: probs would be computed in "
            f"{probs_dtype(found.dtype)} here and in {probs_dtype(dtype)} there",
        )


def check_equal_calls(trial: ModelTrial) -> None:
    """Nothing is drawn, dropped or remembered."""
    words = (
        "gives other logits when it is called again with the same inputs: nothing may be drawn or remembered"
    )
    first, second = (trial.prefill(trial.tokens, 1) for _ in range(2))
    trial.require(first.equal(second), f"prefill {words}")
    first, second = (trial.window(trial.filled()) for _ in range(2))
    trial.require(first.equal(second), f"forward {words}")


def check_keep(trial: ModelTrial) -> None:
    """The last inputs, not the first."""
    tokens, keep = trial.tokens[:, : trial.context], max(1, trial.context - 2)
    trial.same(
        trial.prefill(tokens, keep),
        trial.prefill(tokens, trial.context)[:, -keep:],
        f"prefill with keep={keep} does not yield the logits of the last {keep} inputs: does it ignore keep?",
    )


def check_causality(trial: ModelTrial) -> None:
    """Logits of an input do not depend on later tokens."""
    before, after = (
        trial.prefill(tokens, trial.end) for tokens in (trial.tokens, trial.with_other(trial.end - 1))
    )
    trial.same(after[:, :-1], before[:, :-1], "in prefill an input sees tokens that come after it")


def check_visible(trial: ModelTrial) -> None:
    """An entry that an input does not see does not change its logits."""
    place, hidden = trial.context, trial.context - 2
    plain, spoilt = trial.filled(), trial.filled()
    trial.feed(spoilt, trial.with_other(hidden), [hidden])
    seen = trial.causal([place])
    seen[:, :, hidden] = False
    first, second = (trial.feed(cache, trial.tokens, [place], visible=seen) for cache in (plain, spoilt))
    trial.same(second, first, "`visible` is ignored: an entry that an input does not see changes its logits")


def check_windows(trial: ModelTrial) -> None:
    """A window after a prefill gives what a prefill of everything gives."""
    wanted = trial.wanted[:, trial.context : -1]
    found = trial.window(trial.filled())
    if trial.alike(found, wanted):
        return
    for shift in (-1, 1):
        if trial.alike(trial.window(trial.filled(), shift=shift), wanted):
            trial.fail(
                f"positions are off by one: forward treats position p as prefill treats p {'+-'[shift > 0]} 1"
            )
    if found.equal(trial.window(trial.filled(), shift=1)):
        trial.fail("`positions` is ignored: forward gives the same logits whatever the positions are")
    one_by_one = trial.one_by_one(trial.filled(), trial.context)
    if trial.alike(one_by_one[:, :-1], wanted):
        trial.fail(
            "inputs of one pass do not see those before them, which `visible` shows: all entries are written before "
            "any is read"
        )
    trial.fail("forward and prefill disagree about the same tokens: look at positions, mask and cache")


def check_one_by_one(trial: ModelTrial) -> None:
    """One input at a time gives what a prefill gives."""
    found = trial.one_by_one(trial.filled(1), 1)
    trial.same(
        found, trial.wanted[:, 1:], "inputs that are fed one at a time get other logits than in a prefill"
    )


def check_rewritten(trial: ModelTrial) -> None:
    """The entry of a rejected draft is overwritten."""
    cache = trial.filled()
    for place in range(trial.context, trial.end - 1):
        trial.feed(cache, trial.with_other(place), [place])
    words = "a slot that is written again keeps something of its old entry: rejected drafts are overwritten in place"
    trial.same(trial.window(cache), trial.wanted[:, trial.context : -1], words)


def check_slots(trial: ModelTrial) -> None:
    """A sibling of a draft tree has the draft's position and a slot of its own."""
    place, own = trial.context, READ - 2
    other = trial.with_other(place)
    tokens = torch.stack([trial.tokens[:, place], other[:, place]], 1)
    found = trial.call(
        trial.filled(), tokens, [place, place], [place, own], trial.beside([place, own], place)
    )
    wanted = torch.cat([trial.wanted[:, place : place + 1], trial.prefill(other[:, : place + 1], 1)], 1)
    words = "an input whose slot is not its position (a sibling) is wrong: entries are written at `slots`"
    trial.same(found, wanted, words)


def check_gaps(trial: ModelTrial) -> None:
    """Inputs of a pass need not be neighbours."""
    places, before = [trial.context, trial.end - 1], trial.context
    tokens, seen = trial.tokens[:, places], trial.beside(places, before)
    found = trial.call(trial.filled(), tokens, places, places, seen)
    alone = [
        trial.call(trial.filled(), tokens[:, i : i + 1], [place], [place], seen[:, i : i + 1])
        for i, place in enumerate(places)
    ]
    trial.same(
        found,
        torch.cat(alone, 1),
        "inputs of one pass that are no neighbours get other logits than alone: are positions counted on from the "
        "first?",
    )


def check_rows(trial: ModelTrial) -> None:
    """A clip has the same logits alone, beside another, and in a cache with more rows."""
    words = "a clip's logits depend on the clips beside it, or on how many rows the cache has"
    together = trial.window(trial.filled())
    clips = range(1 if trial.unlike_rows else 2)
    for clip in clips:
        alone = trial.of(clip)
        trial.same(alone.window(alone.filled()), together[clip : clip + 1], words)
    if not trial.unlike_rows:
        cache = trial.cache_of([0, 1, 0])
        trial.prefill(trial.tokens[[0, 1, 0], : trial.context], 1, cache)
        trial.same(trial.window(cache), together, words)


def check_padding(trial: ModelTrial) -> None:
    """Inputs that share a slot that nobody sees, and a mask that is longer."""
    place = trial.context
    places, slots = [place, place, place], [place, SPARE, SPARE]
    tokens = trial.tokens[:, [place, 0, 0]]
    for read in (READ, SPARE):
        seen = trial.beside([place, None, None], place, read)
        found = trial.call(trial.filled(), tokens, places, slots, seen)
        trial.require(bool(is_finite(found).all()), "padding gets logits that are not finite")
        words = f"padding, or a mask of {read} slots, changes the logits of the inputs before it"
        trial.same(found[:, :1], trial.wanted[:, place : place + 1], words)


def check_move(trial: ModelTrial) -> None:
    """Entries are copied from slot to slot."""
    model, place, own = trial.model, trial.context, READ - 2
    if not isinstance(model, TreeModel):
        return
    cache = trial.filled()
    trial.call(cache, trial.tokens[:, [place]], [place], [own], trial.beside([own], place))
    rows = torch.tensor([[own], [own]], device=model.device)
    model.move(cache, rows, torch.full_like(rows, place))
    found = trial.feed(cache, trial.tokens, [place + 1])
    words = "`move` does not bring an entry to its new slot"
    trial.same(found, trial.wanted[:, place + 1 : place + 2], words)


def check_copied_rows(trial: ModelTrial) -> None:
    """Rows are copied from a smaller cache; the others stay."""
    model, place = trial.model, trial.context
    if not isinstance(model, RowModel) or trial.unlike_rows:
        return
    clip = trial.of(1)
    source = clip.cache_of([0], place)
    clip.prefill(clip.tokens[:, :place], 1, source)
    first = trial.of(0)
    cache = first.cache_of([0, 0, 0])
    first.prefill(first.tokens[:, :place].expand(3, -1), 1, cache)
    index = torch.tensor([1], device=model.device)
    model.copy_rows(cache, index, source, torch.zeros_like(index))
    three = trial.tokens[[0, 1, 0]]
    found = trial.feed(cache, three, [place])
    words = "`copy_rows` does not copy a row, or touches others"
    trial.same(found, trial.wanted[[0, 1, 0], place : place + 1], words)


def check_conditions(trial: ModelTrial) -> None:
    """They are named, read, and replaced by later ones. Clips of others are looked at with the rows."""
    model, own, tokens = trial.model, trial.conditions, trial.tokens
    if own is None or not takes_conditions(model):
        return
    names, again = ([model.condition_id(one, trial.end) for one in own] for _ in range(2))
    trial.require(names == again, "`condition_id` gives one condition two names")
    cache = trial.cache_of([1, 0])
    turned = trial.prefill(tokens, 1, cache)
    if names[0] != names[1]:
        words = "`set_conditions` is ignored: clips of other conditions have the same logits"
        trial.require(not trial.alike(turned, trial.wanted[:, -1:]), words)
    model.set_conditions(cache, own)
    words = "`set_conditions` leaves something of the conditions that were in the rows before"
    trial.same(trial.prefill(tokens, 1, cache), trial.wanted[:, -1:], words)


def check_tokens(trial: ModelTrial) -> None:
    """The default decoder decides the tokens of one-by-one decoding."""
    model, context = trial.model, trial.tokens[:, : trial.context]
    if model.dtype not in EXACT:
        return
    new, sampling = trial.end - trial.context, SamplingParams(1.0, 0.9, seed=trial.seed)
    own = trial.conditions
    wanted = decode(model, context, new, "ar", sampling=sampling, conditions=own).tokens
    for window in (3, 16):
        found = decode(model, context, new, "pathwise", window, sampling, conditions=own).tokens
        words = (
            f"`pathwise` at window {window} decides other tokens than `ar`, although the logits look alike"
        )
        trial.require(found.equal(wanted), words)


CHECKS: tuple[Callable[[ModelTrial], None], ...] = (
    *(check_shapes, check_equal_calls, check_keep, check_causality, check_visible, check_windows),
    *(check_one_by_one, check_rewritten, check_gaps, check_slots, check_rows, check_padding),
    *(check_move, check_copied_rows, check_conditions, check_tokens),
)
