"""Moments and Frechet distances against numpy, scipy and closed formulas."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval.frechet import frechet_distance, trace_root, trace_root_of_factors
from vidjacobi.eval.moments import load, merge, moments_of, save


def features(clips: int, width: int = 12, seed: int = 0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99))
    return torch.randn(clips, width, generator=generator) @ mixing + shift


def test_moments_are_numpys() -> None:
    values = features(40, shift=300.0)
    found = moments_of(values)
    np.testing.assert_allclose(found.mean, values.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(values.double(), rowvar=False), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cuts", [(1, 39), (13, 13, 14), (1,) * 40])
def test_parts_merge_to_the_whole(cuts: tuple[int, ...]) -> None:
    """With a large common offset, lost digits would show."""
    values = features(40, shift=1e4)
    parts = [moments_of(part) for part in values.split(list(cuts))]
    total = parts[0]
    for part in parts[1:]:
        total = merge(total, part)
    whole = moments_of(values)
    assert total.count == 40
    torch.testing.assert_close(total.mean, whole.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(total.scatter, whole.scatter, rtol=1e-9, atol=1e-7)


def test_moments_survive_the_disk(tmp_path: Path) -> None:
    found = moments_of(features(5))
    save(found, tmp_path / "moments.npz")
    back = load(tmp_path / "moments.npz")
    assert back.count == 5
    assert torch.equal(back.mean, found.mean)
    assert torch.equal(back.scatter, found.scatter)
    (tmp_path / "other.npz").write_bytes(b"no archive")
    with pytest.raises(BadInput, match="holds no moments"):
        load(tmp_path / "other.npz")


def test_bad_features_are_refused() -> None:
    values = features(4)
    values[2, 3] = torch.nan
    with pytest.raises(BadInput, match=r"1 of 4 clips are not finite \(the first: clip 2"):
        moments_of(values)
    with pytest.raises(BadInput, match="at least 2 clips"):
        _ = moments_of(features(1)).covariance
    with pytest.raises(InvalidArgument, match="no clips"):
        moments_of(features(0))
    with pytest.raises(InvalidArgument, match="cannot be merged"):
        merge(moments_of(features(3, 4)), moments_of(features(3, 5)))


@pytest.mark.parametrize("clips", [40, 13, 6])
def test_the_root_is_scipys(clips: int) -> None:
    """It holds nearly where both covariances are singular too (6 clips, 12 features)."""
    a, b = (moments_of(features(clips, seed=seed)).covariance for seed in (1, 2))
    expected = np.trace(scipy.linalg.sqrtm((a @ b).numpy())).real
    assert float(trace_root(a, b)) == pytest.approx(expected, rel=1e-4 if clips == 6 else 1e-9)


@pytest.mark.parametrize(("first", "second"), [(6, 6), (6, 9), (40, 40), (40, 6), (12, 13)])
def test_factors_give_the_same_root(first: int, second: int) -> None:
    a, b = features(first, seed=1).double(), features(second, seed=2).double()
    expected = trace_root(a.T @ a, b.T @ b)
    assert float(trace_root_of_factors(a, b)) == pytest.approx(float(expected), rel=1e-6)


def test_distance_of_known_gaussians() -> None:
    """For independent features: the sum of (difference of means)^2 + (difference of deviations)^2."""
    values = features(50, 5).double()
    values = (values - values.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(values.T))).T
    scales, shifts = torch.tensor([1.0, 2.0, 3.0, 0.5, 0.0]), torch.tensor([0.0, 1.0, -2.0, 0.0, 3.0])
    a, b = moments_of(values), moments_of(values * scales + shifts)
    expected = ((scales - 1).square() + shifts.square()).sum()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-6)


def test_a_set_is_at_no_distance_from_itself() -> None:
    for clips in (5, 30):
        found = moments_of(features(clips, seed=3))
        assert 0.0 <= frechet_distance(found, found) < 1e-4
