"""Videos to watch: the truth beside the prediction, large enough, without truth where there is none."""

import numpy as np
import pytest
import torch

from vidjacobi.errors import InvalidArgument
from vidjacobi.video.side_by_side import SideBySide, View

STRIP, GAP = 22, 8


def grey(*values: int) -> torch.Tensor:
    """Frames of 30x40 pixels, each of one grey."""
    return torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 30, 40, 3)


def test_panels_hold_truth_and_prediction_of_the_same_number() -> None:
    """Two frames given (10, 20), predicted 30, 40, 50; the clip really went on with 31, 41 and ended."""
    shown = SideBySide(2, grey(31, 41), View(1)).show(grey(10, 20, 30, 40, 50)).numpy()
    assert shown.shape == (5, 30 + STRIP, 40 + GAP + 40, 3)
    left, right = shown[:, STRIP:, :40], shown[:, STRIP:, 40 + GAP :]
    assert [np.unique(panel).tolist() for panel in left] == [[10], [20], [31], [41], [128]]
    assert [np.unique(panel).tolist() for panel in right] == [[10], [20], [30], [40], [50]]


def test_pieces_are_the_whole() -> None:
    """A stream shows its groups one by one."""
    side, frames = SideBySide(2, grey(31, 41)), grey(10, 20, 30, 40, 50)
    pieces = [side.show(frames[:2]), side.show(frames[2:3], 2), side.show(frames[3:], 3)]
    assert torch.equal(torch.cat(pieces), side.show(frames))


def test_no_truth_means_one_panel() -> None:
    shown = SideBySide(1, grey(), View(1)).show(grey(10, 20))
    assert shown.shape == (2, 30 + STRIP, 40, 3)


@pytest.mark.parametrize(("width", "factor"), [(16, 20), (160, 2), (319, 2), (320, 1), (1024, 1)])
def test_panels_are_at_least_320_wide(width: int, factor: int) -> None:
    assert View().factor(width) == factor
    assert View(3).factor(width) == 3


def test_nearest_keeps_every_pixel() -> None:
    frame = torch.randint(0, 256, (1, 6, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shown = SideBySide(0, frame[:0], View(4, "nearest")).show(frame)[:, STRIP:]
    assert torch.equal(shown, frame.repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert not torch.equal(SideBySide(0, frame[:0], View(4)).show(frame)[:, STRIP:], shown)


@pytest.mark.parametrize("view", [{"scale": 0}, {"scale": 17}, {"resampling": "cubic"}])
def test_other_sizes_are_refused(view: dict) -> None:
    with pytest.raises(InvalidArgument):
        View(**view)
