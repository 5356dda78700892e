"""Poses read off pictures that are drawn here."""

import math

import numpy as np
import pytest
import torch
from pusht_pictures import AGENTS, POSES, picture

from vidjacobi.eval.pusht_poses import (
    CORNERS,
    GOAL,
    angle_between,
    coverage,
    drawn_tees,
    read_pictures,
    shared_area,
    to_world,
    track_pictures,
)


def test_agent_and_tee_are_found() -> None:
    found = read_pictures(np.stack([picture(a, p) for a, p in zip(AGENTS, POSES, strict=True)]))
    assert np.abs(found.agent - AGENTS).max() < 2
    assert np.abs(found.tee[:, :2] - POSES[:, :2]).max() < 3
    assert angle_between(found.tee[:, 2], POSES[:, 2]).max() < 0.04
    assert (found.residual < 0.13).all()
    assert not found.lost.any()


def test_a_tracked_tee_is_found_from_where_it_was() -> None:
    frames = np.stack([picture(a, p) for a, p in zip(AGENTS, POSES, strict=True)])
    before = POSES + np.array([10, -8, 0.1])
    before[1] = np.nan
    found = track_pictures(frames, before)
    assert np.abs(found.tee[:, :2] - POSES[:, :2]).max() < 3


def test_what_is_not_there_is_not_found() -> None:
    found = read_pictures(np.stack([picture(None, None), picture(AGENTS[0], None)]))
    assert found.lost.tolist() == [True, False]
    assert np.isnan(found.tee).all()
    assert math.isnan(coverage(found.tee[0]))


def test_a_melted_tee_leaves_a_residual() -> None:
    frame = picture(AGENTS[0], POSES[0]).astype(float)
    melted = np.stack([frame, (frame + np.roll(frame, (5, -4), (0, 1))) / 2]).astype(np.uint8)
    residual = read_pictures(melted).residual
    assert residual[0] < 0.13
    assert residual[1] > 0.2


def test_coverage_is_the_shared_area() -> None:
    assert coverage(GOAL) == pytest.approx(1)
    assert coverage(np.array([60.0, 60.0, 0.0])) == 0
    pose = GOAL + np.array([12, -5, 0.2])
    rng = np.random.default_rng(0)
    points = rng.uniform(100, 400, (200_000, 2))

    def inside(tee: np.ndarray) -> np.ndarray:
        own = (points - tee[:2]) @ np.array(
            [[math.cos(tee[2]), -math.sin(tee[2])], [math.sin(tee[2]), math.cos(tee[2])]]
        )
        x, y = own.T
        return ((abs(x) < 60) & (y > 0) & (y < 30)) | ((abs(x) < 15) & (y > 30) & (y < 120))

    ours, goals = inside(pose), inside(GOAL)
    assert coverage(pose) == pytest.approx((ours & goals).sum() / ours.sum(), abs=0.02)


def test_areas_of_squares() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)
    assert shared_area(square, square + 1) == pytest.approx(1)
    assert shared_area(square, square + 3) == 0
    assert to_world(CORNERS, np.zeros(3)) == pytest.approx(CORNERS)


def test_torch_draws_what_is_asked_for() -> None:
    area = drawn_tees(torch.tensor([[256.0, 256.0, 1.0]]), 128).sum() * 16
    assert area.item() == pytest.approx(6300, rel=0.03)
