"""Rules for the window: which positions, fed with what, seeing what."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from recording import CONTEXT, GRID, NEW, RecordedPass, case, every_pass
from torch import Tensor

from vidjacobi.decoding.strategies.lanes import Lanes, LaneView, RasterLane
from vidjacobi.decoding.strategies.parallel_lanes import LANES, FrameLanes, RowLanes
from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
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
    """``mark`` by position. ``offset`` special tokens come first and are given; the last column is no clip's."""
    body = [letter == mark for letter in "".join(picture.split())]
    edge = mark == "#"
    return torch.tensor([[edge] * offset + body + [edge]])


def view(
    picture: str, offset: int = 0, cached: Tensor | None = None, exact_prefix: int | None = None
) -> LaneView:
    decided = places(picture, "#", offset)
    frontier = (~decided).long().argmax(-1)
    cached = decided if cached is None else cached
    exact_prefix = int(frontier) if exact_prefix is None else exact_prefix
    return LaneView(decided, cached, frontier, torch.tensor([exact_prefix]), SMALL, offset, 64)


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
        # a clip that ends mid-row: what lies after its end counts as decided, and opens nothing early
        ({"context": 1, "width": 4}, "#### #... ..## #### #### ####", "#### #xxx xx## #### #### ####"),
        ({"context": 2, "width": 4}, "#### .### #### #### #### ####", "#### x### #### #### #### ####"),
        ({"width": 4}, "#### #### #### #### #### ####", "#### #### #### #### #### ####"),  # finished
    ],
)
def test_rows(options: dict[str, Any], decided: str, targets: str, offset: int) -> None:
    plan = RowLanes(**options)(view(decided, offset))
    expected = places(targets, "x", offset) & torch.tensor([[False] * offset + [True] * 24 + [False]])
    assert torch.equal(plan.targets, expected)
    assert not plan.feed.any()
    rows = [0] * offset + [offset + 4 * (place // 4) for place in range(24)]
    assert plan.lane[0, offset:-1].tolist() == rows[offset:]
    assert (plan.lane.diff() >= 0).all()


def test_only_the_top_lane_corrects() -> None:
    both = {"context": 1, "width": 2}
    everywhere = RowLanes(**both)(view(OPENED)).corrects
    top = RowLanes(**both, correct="top")(view(OPENED)).corrects
    assert everywhere.all()
    assert top[0].nonzero().flatten().tolist() == [4, 5, 6, 7]
    shifted = RowLanes(**both, correct="top")(view(OPENED, 2)).corrects
    assert shifted[0].nonzero().flatten().tolist() == [6, 7, 8, 9]


def test_what_is_fed_to_write_its_entry() -> None:
    """A decided token without an entry is fed with its target; at the end of a row that has none it is fed alone."""
    rule = RowLanes(context=1, width=2)
    picture = "#### #### ##.. .... .... ...."
    cached = places(picture, "#", 0)
    cached[0, [7, 9]] = (
        False  # the end of row 1, whose next row is ahead, and the input of row 2's next target
    )
    plan = rule(view(picture, cached=cached))
    assert plan.feed[0].nonzero().flatten().tolist() == [7]
    assert plan.targets[0, [10, 11]].all()


@pytest.mark.parametrize(("refresh", "fed"), [(0, []), (1, [5]), (2, [5, 6]), (9, [5, 6, 7, 8])])
def test_refresh_feeds_the_first_inexact_entries(refresh: int, fed: list[int]) -> None:
    """After the exact prefix and before the frontier; the one before a target is fed anyway."""
    picture = "#### #### ##.. .... .... ...."
    plan = RowLanes(context=1, width=2, refresh=refresh)(view(picture, exact_prefix=5))
    assert plan.feed[0].nonzero().flatten().tolist() == fed


def test_placeholders() -> None:
    """The decided place one frame back, or the newest decided token to the left (ZipAR)."""
    opened = view("#### #### #### ##.. .... ....")
    frame, row = (
        RowLanes(stand_in_of="frame").placeholder(opened),
        RowLanes(stand_in_of="row").placeholder(opened),
    )
    assert frame[0, 14:24].tolist() == list(range(2, 12))
    assert row[0, 14:24].tolist() == [13] * 10
    assert RowLanes().placeholder(view("###. .... .... .... .... ...."))[0, 3:6].tolist() == [2, 2, 2]


def test_widths() -> None:
    assert [RowLanes().pass_width(wanted, 20) for wanted in (0, 1, 8, 9, 16, 17, 40)] == [
        0,
        8,
        8,
        16,
        16,
        20,
        20,
    ]
    assert [RasterLane().pass_width(wanted, 20) for wanted in (0, 1, 40)] == [20, 20, 20]


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
    assert (
        RowLanes().guarantee
        == RowLanes(width=1, stand_in_of="row").guarantee
        == RasterLane().guarantee
        == "lossless"
    )
    assert {RowLanes(context=1).guarantee, RowLanes(frames=0).guarantee, RowLanes(refresh=1).guarantee} == {
        "lossy"
    }
    assert isinstance(RowLanes(), Lanes)


def fed_of(one: RecordedPass, clip: int) -> dict[int, int]:
    """Token by position of what a pass fed."""
    used = one.window.used[clip]
    inputs, tokens = one.window.inputs[clip][used], one.fed.tokens[clip, : len(used)][used]
    return dict(zip(inputs.tolist(), tokens.tolist(), strict=True))


@pytest.mark.parametrize(
    "options", [{}, {"refresh": 3}, {"correct": "top"}, {"stand_in_of": "row", "lead": 1}], ids=str
)
@pytest.mark.parametrize("window", [9, 64])
def test_what_an_input_sees(options: dict[str, Any], window: int) -> None:
    """Context, decided tokens with an entry, its own lane's drafts, itself; no other lane's draft, no placeholder."""
    some = case(window, lanes={"name": "rows", **EARLY, **options})
    placeholders, seen_of_own, ahead = 0, 0, 0
    passes = every_pass(some)
    for clip in range(3):
        entry = dict(enumerate(some.clips.context[clip].tolist()))  # token whose code each slot holds
        for one in passes:
            fed = fed_of(one, clip)
            entry.update(fed)
            state, here = one.drafted, one.window
            decided, tokens = state.decided[clip].tolist(), state.tokens[clip].tolist()
            drafted = {int(at) for at, ok in zip(here.targets[clip], here.valid[clip], strict=True) if ok}
            ahead += (
                len({int(lane) for lane, ok in zip(here.lane[clip], here.valid[clip], strict=True) if ok}) > 2
            )
            for slot, at in enumerate(here.inputs[clip].tolist()):
                if not here.used[clip, slot]:
                    continue
                visible = one.fed.visible[clip, slot].nonzero().flatten().tolist()
                placeholders += not decided[at] and at not in drafted
                lane = int(here.lane[clip, slot])
                assert visible[-1] == at
                for left in visible[:-1]:
                    if decided[left]:
                        assert entry[left] == tokens[left]  # nothing stale, no placeholder
                    else:
                        assert left in fed
                        assert left in drafted
                        assert left // GRID.w * GRID.w == lane  # a draft of its own row
                        seen_of_own += 1
                there = [y for y in range(at) if decided[y] and (y in fed or state.cached[clip, y])]
                assert set(there) <= set(visible)
                own = [y for y in fed if y < at and y in drafted and y // GRID.w * GRID.w == lane]
                assert set(own) <= set(visible)
    assert seen_of_own > 30
    assert window < 64 or ahead
    assert window < 64 or placeholders


@pytest.mark.parametrize("lanes", [None, {"name": "rows", "width": 3}, {"name": "rows", **EARLY}], ids=str)
def test_a_decided_token_is_fed_once(lanes: dict[str, Any] | None) -> None:
    """To write its entry, if it was no draft that was right, and as the input of the target after it.

    Both at once, but for the last token of a row whose next row is ahead already, or is not open yet.
    """
    some = case(64, lanes=lanes)
    passes = every_pass(some)
    end = some.end
    for clip in range(3):
        times, alone = [0] * end, [0] * end
        for one in passes:
            window = one.window
            for at, used, valid in zip(
                window.inputs[clip], window.used[clip], window.valid[clip], strict=True
            ):
                if used and one.before.decided[clip, at]:
                    (times if valid else alone)[int(at)] += 1
        assert max(times) <= 1
        assert max(alone) <= 1
        assert all(at % GRID.w == GRID.w - 1 for at in range(end) if alone[at])
        assert any(alone) == (lanes is not None and "context" in lanes)
        final = passes[-1].after
        assert not any(times[: CONTEXT - 1])
        early = final.cached[clip, : end - GRID.frame_tokens]
        assert early.all()  # only the last frame's may be missing when all is decided
        assert (final.exact_prefix[clip] <= final.frontier[clip]).all()
    assert sum(int(one.record.decided.sum()) for one in passes) == 3 * (NEW - 1)


def test_lanes_that_wait_leave_no_inexact_entry() -> None:
    for lanes in (None, {"name": "rows", "width": 3}):
        for one in every_pass(case(16, lanes=lanes)):
            open_still = one.after.frontier < 113
            newest = one.after.frontier - 1  # the newest token has no entry yet
            assert (one.after.exact_prefix >= newest)[open_still].all()


def test_a_lane_that_opens_early_leaves_inexact_entries() -> None:
    last = every_pass(case(64, lanes={"name": "rows", **EARLY}))[-1].after
    renewed = every_pass(case(200, lanes={"name": "rows", **EARLY, "refresh": 500}))[-1].after
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
    plan = FrameLanes(**options)(view(decided, offset))
    expected = places(targets, "x", offset) & torch.tensor([[False] * offset + [True] * 24 + [False]])
    assert torch.equal(plan.targets, expected)
    assert not plan.feed.any()
    assert plan.lane[0, offset:-1].tolist() == [offset] * 12 + [offset + 12] * 12


def test_frames_share_the_window() -> None:
    """Equally among the lanes that can go on; at least one position each."""
    opened = "#### ##.. .... .... .... ...."
    for window, each in ((8, 4), (5, 2), (1, 1)):
        plan = FrameLanes(reach=0)(replace(view(opened), window=window))
        assert plan.targets[0, :12].sum() == plan.targets[0, 12:24].sum() == each
    alone = FrameLanes(reach=1)(replace(view(opened), window=5))
    assert alone.targets.sum() == 5


def test_frames_say_what_they_prove_and_refuse_bad_numbers() -> None:
    assert FrameLanes(reach=None).guarantee == "lossless"
    assert FrameLanes(reach=3).guarantee == "lossy"
    for options in ({"width": 0}, {"reach": -1}, {"width": True}):
        with pytest.raises(InvalidArgument, match="whole number"):
            FrameLanes(**options)
