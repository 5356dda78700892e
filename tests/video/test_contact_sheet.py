"""Contact sheets: which frames are chosen, how the context is marked, and frames of any shape."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vidjacobi.errors import InvalidArgument
from vidjacobi.video.contact_sheet import chosen_frames, contact_sheet, write_sheet

ORANGE, GREEN = (230, 126, 0), (40, 140, 80)


def _frames(total: int, height: int = 30, width: int = 40) -> torch.Tensor:
    return (torch.arange(total, dtype=torch.uint8) * 5)[:, None, None, None].expand(-1, height, width, 3)


@pytest.mark.parametrize(
    ("total", "context", "limit"),
    [(33, 9, 20), (33, 9, 4), (33, 1, 12), (5, 1, 20), (300, 297, 10), (40, 40, 9)],
)
def test_first_and_last_of_both_parts_are_shown(total: int, context: int, limit: int) -> None:
    chosen = chosen_frames(total, context, limit)
    assert chosen == sorted(set(chosen))
    assert {0, context - 1, min(context, total - 1), total - 1} <= set(chosen)
    assert len(chosen) <= limit


def test_only_context_frames_have_the_context_border() -> None:
    sheet = np.asarray(contact_sheet(_frames(6), 2))
    edge = (sheet == ORANGE).all(-1)[12]  # a row of pixels in the border above the first row of frames
    starts = np.flatnonzero(edge[1:] & ~edge[:-1])
    assert len(starts) == 2
    assert not (np.asarray(contact_sheet(_frames(6), 0)) == ORANGE).all(-1).any()
    assert (sheet == 25).all(-1).any()  # the grey of frame 5 itself


@pytest.mark.parametrize(("height", "width"), [(4, 4000), (4000, 4), (1, 1), (400, 17), (64, 80)])
def test_any_aspect_ratio_fits(height: int, width: int) -> None:
    sheet = contact_sheet(_frames(12, height, width), 4)
    assert 110 <= sheet.width <= 1800
    assert sheet.height <= 12 * 1800


def test_written_as_png(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", _frames(5), 1)
    assert Image.open(tmp_path / "sheet.png").format == "PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_context_must_lie_inside() -> None:
    for total, context in ((0, 0), (3, 4), (3, -1)):
        with pytest.raises(InvalidArgument):
            contact_sheet(_frames(total), context)


def test_the_truth_stands_below_the_prediction() -> None:
    """Frame 0 is context, 1 to 5 are predicted, and the clip really had two more, blue ones."""
    truth = torch.zeros(2, 30, 40, 3, dtype=torch.uint8)
    truth[0, ..., 2], truth[1, ..., 2] = 220, 230
    sheet = np.asarray(contact_sheet(_frames(6), 1, truth=truth))
    bare = np.asarray(contact_sheet(_frames(6), 1))
    assert (sheet == GREEN).all(-1).any()
    assert not (bare == GREEN).all(-1).any()
    for blue, predicted in ((220, 5), (230, 10)):
        rows, columns = np.nonzero((sheet == (0, 0, blue)).all(-1))
        above, beside = np.nonzero((sheet == predicted).all(-1))
        assert above.max() < rows.min()
        assert abs(int(beside.min()) - int(columns.min())) <= 1
