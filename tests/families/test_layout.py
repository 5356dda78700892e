"""Where given tokens stand, and how many a pass can have."""

from itertools import combinations

import pytest
import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.layout import SIBLINGS, Condition, Layout, RiderBound, after_rows, behind_prompt
from vidjacobi.kinds import Grid


def test_the_example_of_the_docstring() -> None:
    layout = Layout(behind_prompt(2, after_rows(Grid(1, 2, 2), 1)))
    assert layout.riders.tolist() == [1, 0, 1, 0, 1]
    assert layout.before.tolist() == [0, 1, 1, 2, 2]
    assert layout.owner.tolist() == [0, 2, 4]
    assert (layout.total, layout.length) == (3, 8)


def test_row_and_frame_ends() -> None:
    assert after_rows(Grid(2, 2, 3), 1, 3).tolist() == [0, 0, 1, 0, 0, 4] * 2


def test_no_pass_has_more_riders_than_the_bound() -> None:
    """Windows at any positions, and siblings that all stand where most riders are."""
    riders = torch.tensor([7, 0, 2, 0, 3, 1])
    bound = RiderBound.of(riders[1:])
    for inputs in range(1, 6):
        chains = [sum(chosen) for chosen in combinations(riders[1:].tolist(), inputs)]
        assert bound.of_pass(inputs) == max(chains) + inputs * 3
    assert bound.of_pass(200) == 6 + SIBLINGS * 3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="rotary positions for 3 places, the sequence has 4"):
        Layout(torch.tensor([1, 1]), torch.arange(3))
    with pytest.raises(InvalidArgument, match="2 embeddings for 3 given tokens"):
        Condition(Layout(torch.tensor([1, 1])), torch.zeros(2, 4)).check(1)
    with pytest.raises(InvalidArgument, match="at least one token"):
        behind_prompt(0, torch.zeros(2, dtype=torch.long))
