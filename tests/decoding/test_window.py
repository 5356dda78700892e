"""Which positions a pass evaluates and what each may see, by the examples of the docstrings."""

import re
from dataclasses import replace
from inspect import getdoc

import torch
from recording import GRID, case
from torch import Tensor

from vidjacobi.decoding.draft import attention_mask, model_inputs
from vidjacobi.decoding.prefill import start
from vidjacobi.decoding.state import DecodeState, Window
from vidjacobi.decoding.strategies.draft_tree import Siblings
from vidjacobi.decoding.strategies.lanes import LanePlan
from vidjacobi.decoding.window import PassPlan, carried_slots, choose_window, pass_tables

ROW = GRID.w  # lanes are rows of five positions: A from 0 on, B from 5 on, C from 10 on
COLUMNS, END = 3 * ROW + 1, 3 * ROW


def positions(*some: int) -> Tensor:
    mask = torch.zeros(1, COLUMNS, dtype=torch.bool)
    mask[0, list(some)] = True
    return mask


def plan(*targets: int) -> PassPlan:
    """The lanes want the probs of these positions; the inputs are those before them."""
    lane = torch.arange(COLUMNS)[None] // ROW * ROW
    lanes = LanePlan(positions(*targets), positions(), lane, torch.ones_like(lane, dtype=torch.bool))
    inputs = positions(*(target - 1 for target in targets))
    return PassPlan(lanes, inputs)


def state(decided: Tensor, window: Window | None = None) -> DecodeState:
    """One clip. Nothing else of the state is looked at here."""
    plain = case(2, "left", "gumbel", "pathwise")
    some = start(plain.recipe, plain.clips, plain.model.make_cache(3, plain.end + 1))
    one, numbers = torch.zeros(1, dtype=torch.long), torch.zeros(1, COLUMNS, dtype=torch.long)
    return replace(
        some,
        roots=one,
        starts=one,
        ends=one + END,
        tokens=numbers,
        decided=decided,
        cached=decided.clone(),
        exact_prefix=one,
        frontier=one,
        window=window or Window.empty(1, 2),
        passes=one,
        decided_in=numbers,
        redrafted=numbers,
        finite=one == 0,
    )


def test_the_first_inputs_are_chosen_and_the_rest_is_padding() -> None:
    """The docstring's: inputs wanted at 4, 5, 6 and a size of 5; two inputs where the size is 2."""
    window = choose_window(plan(5, 6, 7), 5)
    assert window.used.tolist() == [[True, True, True, False, False]]
    assert window.inputs[window.used].tolist() == [4, 5, 6]
    assert window.targets[window.valid].tolist() == [5, 6, 7]
    assert window.home[window.used].tolist() == [0, 5, 5]  # the input before a lane lies in the one before
    assert window.lane[window.used].tolist() == [5, 5, 5]
    assert (window.inputs < COLUMNS - 1).all()  # padding has a position that exists
    assert choose_window(plan(5, 6, 7), 2).inputs.tolist() == [[4, 5]]


def test_an_input_without_a_target_is_used_but_not_valid() -> None:
    some = plan(5, 6)
    fed = replace(some, inputs=some.inputs | positions(9))
    window = choose_window(fed, 4)
    assert window.inputs[window.used].tolist() == [4, 5, 9]
    assert window.valid.tolist() == [[True, True, False, False]]
    assert window.lane[0, 2] == window.home[0, 2] == 5


def test_slots_are_carried_from_the_last_window() -> None:
    """The docstring's: the last targets were 5 6 7 in slots 0 1 2; the new ones 6 7 8 come from slots 1 2 -1."""
    last = choose_window(plan(5, 6, 7), 4)  # and one slot of padding
    before = state(positions(*range(6)), last)
    assert carried_slots(before, choose_window(plan(6, 7, 8), 4)).tolist() == [[1, 2, -1, -1]]
    assert carried_slots(state(positions(*range(6))), last).tolist() == [[-1, -1, -1, -1]]


def test_the_example_of_the_attention_mask() -> None:
    """Row by row as it is written in the docstring."""
    text = str(getdoc(attention_mask))
    rows = {
        name.strip(): [digit == "1" for digit in digits.split()]
        for name, digits in re.findall(r"(?m)^ +(decided|input \d \(\w\)|padding) +((?:[01] ){6}[01])", text)
    }
    decided = positions(*(at for at, known in enumerate(rows.pop("decided")) if known))
    inputs = [int(name.split()[1]) for name in rows if name != "padding"]
    assert inputs == [1, 2, 3, 5, 6]
    window = choose_window(plan(*(at + 1 for at in inputs)), len(inputs) + 1)
    # an input is of the lane of its target: here both are those of the docstring's lane
    lanes = ["AB".index(name[9]) for name in rows if name != "padding"]
    assert (window.lane[0, :5] // ROW).tolist() == (window.home[0, :5] // ROW).tolist() == lanes
    recipe = case(6, "left", "gumbel", "pathwise").recipe
    visible = attention_mask(pass_tables(recipe, state(decided), window), 7)
    assert visible[0].tolist() == list(rows.values())


def test_siblings_stand_at_the_place_of_their_draft() -> None:
    """The docstring's: inputs 4 5 6, two siblings of the draft at 5 in the slots 7 and 8; a third does not exist."""
    recipe = case(6, "left", "gumbel", "pathwise", draft_tree={"depth": 1, "width": 4}).recipe
    siblings = Siblings(torch.tensor([[[3, 4, 0]]]), torch.tensor([[[True, True, False]]]))
    window = choose_window(plan(5, 6, 7), 3)
    tables = pass_tables(recipe, state(positions(*range(5))), window)
    fed = model_inputs(recipe, tables, tables.drafts, siblings, 64)
    assert fed.tokens[0, 3:5].tolist() == [3, 4]
    assert fed.positions.tolist() == [[4, 5, 6, 5, 5, 5]]
    assert fed.slots.tolist() == [[4, 5, 6, 7, 8, recipe.spare_slot]]
    sees = [row.nonzero().flatten().tolist() for row in fed.visible[0]]
    assert sees[3:5] == [[0, 1, 2, 3, 4, 7], [0, 1, 2, 3, 4, 8]]
