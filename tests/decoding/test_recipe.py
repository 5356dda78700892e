"""Clips one by one and together, and the numbers that a recipe fixes."""

from dataclasses import fields, replace

import pytest
import torch
from recording import GRID, case
from torch import Tensor

from vidjacobi.decoding.prefill import has_free_rows
from vidjacobi.decoding.recipe import BUCKET, Clips
from vidjacobi.errors import InvalidArgument

CONTEXTS = [torch.arange(length) + 10 * row for row, length in enumerate((3, 5, 2))]


def clips(*rows: int, sources: list[int] | None = None) -> Clips:
    """Those of these numbers, which get 4, 6 and 8 new tokens."""
    counts, keys = [4 + 2 * row for row in rows], [100 + row for row in rows]
    return Clips.of([CONTEXTS[row] for row in rows], counts, 7, keys, torch.device("cpu"), sources)


def assert_equal(found: Clips, expected: Clips) -> None:
    for part in fields(Clips):
        one, other = getattr(found, part.name), getattr(expected, part.name)
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other, part.name


def test_clips_of_contexts() -> None:
    some = clips(0, 1, 2)
    assert some.context.tolist() == [[0, 1, 2, 0, 0], [10, 11, 12, 13, 14], [20, 21, 0, 0, 0]]
    assert some.starts.tolist() == [3, 5, 2]
    assert some.ends.tolist() == [7, 11, 10]
    assert some.seeds.tolist() == [7, 7, 7]
    assert some.noise_keys.tolist() == [100, 101, 102]
    assert (len(some), some.new_tokens, some.shortest, some.ragged) == (3, 8, 2, True)
    assert not clips(1, 1).ragged


def test_shared_prefills() -> None:
    assert clips(0, 1, 2).shared_by == [1, 1, 1]
    assert clips(0, 1, 0, 0, sources=[0, 1, 0, 0]).shared_by == [3, 1, 3, 3]


def test_select_takes_rows_in_any_order() -> None:
    """Each has a prefill of its own; what the host knows of all stays a bound for some."""
    whole = clips(0, 1, 2, sources=[0, 1, 2])
    some = whole.select([2, 0, 2])
    assert some.context.tolist() == [[20, 21, 0, 0, 0], [0, 1, 2, 0, 0], [20, 21, 0, 0, 0]]
    for name in ("starts", "ends", "seeds", "noise_keys"):
        assert torch.equal(getattr(some, name), getattr(whole, name)[[2, 0, 2]])
    assert some.sources is None
    assert some.shortest <= int(some.starts.min())
    assert some.new_tokens >= int((some.ends - some.starts).max())


def test_cat_joins_records() -> None:
    """Contexts are padded to the longest, whichever record it is in."""
    assert_equal(Clips.cat([clips(0), clips(1, 2)], None), clips(0, 1, 2))
    assert_equal(Clips.cat([clips(1), clips(0)], None), clips(1, 0))
    assert_equal(Clips.cat([clips(0), clips(0)], [0, 0]), clips(0, 0, sources=[0, 0]))
    whole = clips(0, 1)
    again = Clips.cat([whole.select([0]), whole.select([1])], None)
    assert_equal(again, whole)


def test_positions_of_a_pass() -> None:
    """A window of 9 with two levels of two siblings leaves five positions to the chain."""
    recipe = case(9, draft_tree={"depth": 2, "width": 3}).recipe
    assert (recipe.siblings, recipe.chain) == (4, 5)
    plain = case(9).recipe
    assert (plain.siblings, plain.chain) == (0, 9)


def test_tables_and_cache_hold_whole_frames_and_buckets() -> None:
    recipe = case(9).recipe
    assert recipe.room == 113
    assert recipe.columns == 6 * GRID.frame_tokens + 1  # whole frames, and one that is no clip's
    assert recipe.spare_slot == 2 * BUCKET
    assert replace(recipe, room=2 * BUCKET).spare_slot == 2 * BUCKET
    tree = case(20, draft_tree={"depth": 2, "width": 3}).recipe
    assert tree.spare_slot == 3 * BUCKET  # room for the siblings after the clip's end


@pytest.mark.parametrize(("furthest", "slots"), [(1, 64), (60, 64), (61, 128), (64, 128), (190, 192)])
def test_slots_to_read(furthest: int, slots: int) -> None:
    """Four siblings may come after the furthest input; never more than there are."""
    recipe = case(20, draft_tree={"depth": 2, "width": 3}).recipe
    assert recipe.slots_to_read(furthest) == slots
    assert recipe.slots_to_read(furthest, 3 * BUCKET) == 192


def test_a_recipe_without_strategies_says_what_it_needs() -> None:
    with pytest.raises(InvalidArgument, match="needs a draft rule, a coupling and a verifier"):
        _ = replace(case(3).recipe, parts=None).strategies


def test_which_models_have_free_rows() -> None:
    model = case(3).model
    assert has_free_rows(model)
    model.rows_alike = False
    assert not has_free_rows(model)
