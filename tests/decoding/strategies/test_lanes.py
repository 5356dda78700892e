"""Rules for the window: which positions, fed with what, seeing what."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from recording import GRID, NEW, Step, every_pass, problem
from torch import Tensor

from vidjacobi.decoding.strategies.lanes import LANES, Frames, Lanes, LaneView, Raster, Rows
from vidjacobi.errors import InvalidArgument
from vidjacobi.grid import Grid
from vidjacobi.registry import build

SMALL = Grid(2, 3, 4)
OPENED = """
####
##..
....
....
....
....
"""
EARLY = {"context": 1, "width": 3, "frames": 1}  # lanes in two frames at once


def places(picture: str, mark: str, offset: int) -> Tensor:
    """``mark`` by position; ``offset`` special tokens in front are given, the column behind belongs to no clip."""
    body = [letter == mark for letter in "".join(picture.split())]
    edge = mark == "#"
    return torch.tensor([[edge] * offset + body + [edge]])


def board(
    picture: str, offset: int = 0, written: Tensor | None = None, exact_prefix: int | None = None
) -> LaneView:
    decided = places(picture, "#", offset)
    frontier = (~decided).long().argmax(-1)
    written = decided if written is None else written
    exact_prefix = int(frontier) if exact_prefix is None else exact_prefix
    return LaneView(decided, written, frontier, torch.tensor([exact_prefix]), SMALL, offset, 64)


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize(
    ("options", "decided", "targets"),
    [
        ({"width": 9}, OPENED, "#### ##xx .... .... .... ...."),  # waits for whole rows
        ({"width": 1}, OPENED, "#### ##x. .... .... .... ...."),
        ({"context": 2, "width": 2}, OPENED, "#### ##xx xx.. .... .... ...."),
        ({"context": 3, "width": 2}, OPENED, "#### ##xx .... .... .... ...."),
        ({"context": 99, "width": 2}, OPENED, "#### ##xx .... .... .... ...."),  # at most the row
        ({"context": 1, "width": 4, "lead": 1}, OPENED, "#### ##xx xx.. .... .... ...."),
        ({"context": 1, "width": 4, "lead": 2}, OPENED, "#### ##xx x... .... .... ...."),
        ({"context": 1, "width": 4, "lead": 3}, OPENED, "#### ##xx .... .... .... ...."),
        ({"frames": 0, "width": 1}, OPENED, "#### ##x. .... x... .... ...."),
        ({"frames": 1, "width": 1}, OPENED, "#### ##x. .... .... .... ...."),
        ({"frames": 0, "context": 1, "width": 2}, OPENED, "#### ##xx xx.. xx.. .... ...."),
        ({"frames": 0, "width": 2}, "#### #### .... ##.. .... ....", "#### #### xx.. ##xx .... ...."),
        # row 1 of the next frame waits for its own row above and for row 1 of the frame before
        ({"frames": 0, "width": 2}, "#### #### .... #### .... ....", "#### #### xx.. #### xx.. ...."),
        ({"frames": 0, "width": 2}, "#### ##.. .... #### .... ....", "#### ##xx .... #### .... ...."),
        ({"frames": 1, "width": 2}, "#### #### .... .... .... ....", "#### #### xx.. xx.. .... ...."),
        ({"frames": 9, "width": 2}, "#### #### #### .... .... ....", "#### #### #### xx.. .... ...."),
        (
            {"context": 1, "width": 3},
            "##.. .... .... .... .... ....",
            "##xx xxx. .... .... .... ....",
        ),  # mid-row
        # a clip that ends mid-row: what lies behind its end counts as decided, and opens nothing early
        ({"context": 1, "width": 4}, "#### #... ..## #### #### ####", "#### #xxx xx## #### #### ####"),
        ({"context": 2, "width": 4}, "#### .### #### #### #### ####", "#### x### #### #### #### ####"),
        ({"width": 4}, "#### #### #### #### #### ####", "#### #### #### #### #### ####"),  # finished
    ],
)
def test_rows(options: dict[str, Any], decided: str, targets: str, offset: int) -> None:
    active = Rows(**options)(board(decided, offset))
    expected = places(targets, "x", offset) & torch.tensor([[False] * offset + [True] * 24 + [False]])
    assert torch.equal(active.targets, expected)
    assert not active.feed.any()
    rows = [0] * offset + [offset + 4 * (place // 4) for place in range(24)]
    assert active.lane[0, offset:-1].tolist() == rows[offset:]
    assert (active.lane.diff() >= 0).all()


def test_only_the_top_lane_corrects() -> None:
    both = {"context": 1, "width": 2}
    everywhere = Rows(**both)(board(OPENED)).corrects
    top = Rows(**both, correct="top")(board(OPENED)).corrects
    assert everywhere.all()
    assert top[0].nonzero().flatten().tolist() == [4, 5, 6, 7]
    shifted = Rows(**both, correct="top")(board(OPENED, 2)).corrects
    assert shifted[0].nonzero().flatten().tolist() == [6, 7, 8, 9]


def test_what_is_fed_to_write_its_entry() -> None:
    """A decided token without an entry is fed with its target; at the end of a row that has none it is fed alone."""
    rule = Rows(context=1, width=2)
    picture = "#### #### ##.. .... .... ...."
    written = places(picture, "#", 0)
    written[0, [7, 9]] = (
        False  # the end of row 1, whose next row has gone on, and the input of row 2's next target
    )
    active = rule(board(picture, written=written))
    assert active.feed[0].nonzero().flatten().tolist() == [7]
    assert active.targets[0, [10, 11]].all()


@pytest.mark.parametrize(("refresh", "fed"), [(0, []), (1, [5]), (2, [5, 6]), (9, [5, 6, 7, 8])])
def test_refresh_feeds_the_first_unsettled(refresh: int, fed: list[int]) -> None:
    """Behind what is settled and in front of the frontier; the one in front of a target is fed anyway."""
    picture = "#### #### ##.. .... .... ...."
    active = Rows(context=1, width=2, refresh=refresh)(board(picture, exact_prefix=5))
    assert active.feed[0].nonzero().flatten().tolist() == fed


def test_stand_ins() -> None:
    """The decided place one frame back, or the newest decided token to the left (ZipAR)."""
    case = board("#### #### #### ##.. .... ....")
    frame, row = Rows(stand_in_of="frame").placeholder(case), Rows(stand_in_of="row").placeholder(case)
    assert frame[0, 14:24].tolist() == list(range(2, 12))
    assert row[0, 14:24].tolist() == [13] * 10
    assert Rows().placeholder(board("###. .... .... .... .... ...."))[0, 3:6].tolist() == [2, 2, 2]


def test_widths() -> None:
    assert [Rows().nodes(wanted, 20) for wanted in (0, 1, 8, 9, 16, 17, 40)] == [0, 8, 8, 16, 16, 20, 20]
    assert [Raster().nodes(wanted, 20) for wanted in (0, 1, 40)] == [20, 20, 20]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": 0}, "context"),
        ({"width": 0}, "width"),
        ({"width": None}, "width"),
        ({"frames": -1}, "frames"),
        ({"lead": 0}, "lead"),
        ({"refresh": -1}, "refresh"),
        ({"correct": "some"}, "correct"),
        ({"stand_in_of": "above"}, "stand_in_of"),
        ({"high": 1}, "high"),
    ],
)
def test_bad_rows_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        build("lanes", {"name": "rows", **options}, LANES)


def test_which_rules_wait() -> None:
    assert Rows().guarantee == Rows(width=1, stand_in_of="row").guarantee == Raster().guarantee == "lossless"
    assert {Rows(context=1).guarantee, Rows(frames=0).guarantee, Rows(refresh=1).guarantee} == {"lossy"}
    assert isinstance(Rows(), Lanes)


def fed_of(step: Step, clip: int) -> dict[int, int]:
    """Token by position of what a pass fed."""
    used = step.window.used[clip]
    inputs, tokens = step.window.inputs[clip][used], step.inputs.tokens[clip, : len(used)][used]
    return dict(zip(inputs.tolist(), tokens.tolist(), strict=True))


@pytest.mark.parametrize(
    "options", [{}, {"refresh": 3}, {"correct": "top"}, {"stand_in_of": "row", "lead": 1}], ids=str
)
@pytest.mark.parametrize("window", [9, 64])
def test_what_a_query_sees(options: dict[str, Any], window: int) -> None:
    """Context, decided tokens with an entry, its own lane's drafts, itself; no other lane's draft, no stand-in."""
    case = problem(window, lanes={"name": "rows", **EARLY, **options})
    stood_in, seen_of_own, ahead = 0, 0, 0
    steps = every_pass(case)
    for clip in range(3):
        entry = dict(enumerate(case.context[clip].tolist()))  # token whose code each slot holds
        for step in steps:
            fed = fed_of(step, clip)
            entry.update(fed)
            state, view = step.drafted, step.window
            decided, tokens = state.decided[clip].tolist(), state.tokens[clip].tolist()
            drafted = {int(at) for at, ok in zip(view.targets[clip], view.valid[clip], strict=True) if ok}
            ahead += (
                len({int(lane) for lane, ok in zip(view.lane[clip], view.valid[clip], strict=True) if ok}) > 2
            )
            for slot, at in enumerate(view.inputs[clip].tolist()):
                if not view.used[clip, slot]:
                    continue
                visible = step.inputs.visible[clip, slot].nonzero().flatten().tolist()
                stood_in += not decided[at] and at not in drafted
                lane = int(view.lane[clip, slot])
                assert visible[-1] == at
                for left in visible[:-1]:
                    if decided[left]:
                        assert entry[left] == tokens[left]  # nothing stale, no stand-in
                    else:
                        assert left in fed
                        assert left in drafted
                        assert left // GRID.w * GRID.w == lane  # a draft of its own row
                        seen_of_own += 1
                there = [y for y in range(at) if decided[y] and (y in fed or state.written[clip, y])]
                assert set(there) <= set(visible)
                own = [y for y in fed if y < at and y in drafted and y // GRID.w * GRID.w == lane]
                assert set(own) <= set(visible)
    assert seen_of_own > 30
    assert window < 64 or ahead
    assert window < 64 or stood_in


@pytest.mark.parametrize("lanes", [None, {"name": "rows", "width": 3}, {"name": "rows", **EARLY}], ids=str)
def test_a_decided_token_is_fed_once(lanes: dict[str, Any] | None) -> None:
    """To write its entry, if it was no draft that was right, and as the input of the target behind it.

    Both at once, but for the last token of a row whose next row has gone on already, or is not open yet.
    """
    case = problem(64, lanes=lanes)
    steps = every_pass(case)
    end = case.end
    for clip in range(3):
        times, alone = [0] * end, [0] * end
        for step in steps:
            view = step.window
            for at, used, valid in zip(view.inputs[clip], view.used[clip], view.valid[clip], strict=True):
                if used and step.before.decided[clip, at]:
                    (times if valid else alone)[int(at)] += 1
        assert max(times) <= 1
        assert max(alone) <= 1
        assert all(at % GRID.w == GRID.w - 1 for at in range(end) if alone[at])
        assert any(alone) == (lanes is not None and "context" in lanes)
        final = steps[-1].after
        assert not any(times[: case.context.shape[1] - 1])
        early = final.written[clip, : end - GRID.frame_tokens]
        assert early.all()  # only the last frame's may be missing when all is decided
        assert (final.exact_prefix[clip] <= final.frontier[clip]).all()
    assert sum(int(step.after.decided.sum() - step.before.decided.sum()) for step in steps) == 3 * (NEW - 1)


def test_exact_lanes_are_always_settled() -> None:
    for lanes in (None, {"name": "rows", "width": 3}):
        for step in every_pass(problem(16, lanes=lanes)):
            open_still = step.after.frontier < 113
            behind = step.after.frontier - 1  # the newest token has no entry yet
            assert (step.after.exact_prefix >= behind)[open_still].all()


def test_a_lane_that_opens_early_leaves_unsettled_entries() -> None:
    last = every_pass(problem(64, lanes={"name": "rows", **EARLY}))[-1].after
    renewed = every_pass(problem(200, lanes={"name": "rows", **EARLY, "refresh": 500}))[-1].after
    assert (last.exact_prefix < 40).all()
    assert (renewed.exact_prefix > 90).all()


@pytest.mark.parametrize("offset", [0, 2])
@pytest.mark.parametrize(
    ("options", "decided", "targets"),
    [
        ({"width": 3, "reach": None}, "##.. .... .... .... .... ....", "##xx x... .... .... .... ...."),
        ({"width": 3, "reach": 0}, "#### ##.. .... .... .... ....", "#### ##xx x... xxx. .... ...."),
        # a lane stops where the frame before is not far enough
        ({"width": 3, "reach": 0}, "#### ##.. .... ##.. .... ....", "#### ##xx x... ##xx .... ...."),
        ({"width": 3, "reach": 1}, "#### ##.. .... .... .... ....", "#### ##xx x... .... .... ...."),
        ({"width": 3, "reach": 1}, "#### #### .... ###. .... ....", "#### #### xxx. ###x .... ...."),
        # and goes on across rows, and to its end once the frame before is complete
        ({"width": 3, "reach": 1}, "#### #### #### ###. .... ....", "#### #### #### ###x xx.. ...."),
        # the window of 64 shared: both lanes reach as far as they may
        ({"reach": 0}, "#### ##.. .... .... .... ....", "#### ##xx xxxx xxxx .... ...."),
        ({"width": 3, "reach": 0}, "#### #### #### #### #### ####", "#### #### #### #### #### ####"),
    ],
)
def test_frames(options: dict[str, Any], decided: str, targets: str, offset: int) -> None:
    active = Frames(**options)(board(decided, offset))
    expected = places(targets, "x", offset) & torch.tensor([[False] * offset + [True] * 24 + [False]])
    assert torch.equal(active.targets, expected)
    assert not active.feed.any()
    assert active.lane[0, offset:-1].tolist() == [offset] * 12 + [offset + 12] * 12


def test_frames_share_the_window() -> None:
    """Equally among the lanes that can go on; at least one position each."""
    opened = "#### ##.. .... .... .... ...."
    for window, each in ((8, 4), (5, 2), (1, 1)):
        active = Frames(reach=0)(replace(board(opened), window=window))
        assert active.targets[0, :12].sum() == active.targets[0, 12:24].sum() == each
    alone = Frames(reach=1)(replace(board(opened), window=5))
    assert alone.targets.sum() == 5


def test_frames_say_what_they_prove_and_refuse_bad_numbers() -> None:
    assert Frames(reach=None).guarantee == "lossless"
    assert Frames(reach=3).guarantee == "lossy"
    for options in ({"width": 0}, {"reach": -1}, {"width": True}):
        with pytest.raises(InvalidArgument, match="whole number"):
            Frames(**options)
