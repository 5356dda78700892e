"""What accompanies a distance is right: floors, intervals and warnings."""

import json

import pytest
import torch
from torch import Tensor

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval import distance_kinds, fvd
from vidjacobi.eval.frechet import frechet_distance
from vidjacobi.eval.moments import moments_of

CLIPS, WIDTH = 40, 60  # fewer clips than features, as is usual


def draw(seed: int, clips: int = CLIPS, width: int = WIDTH) -> Tensor:
    return torch.randn(clips, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def real() -> Tensor:
    return 2.0 * draw(0)


def decoded(real: Tensor, seed: int, noise: float = 0.5) -> Tensor:
    """Features of the clips of a decoder: those of the real clips plus noise of the decoder."""
    return real + noise * draw(seed)


def test_a_distance_by_factors_is_that_by_covariances(real: Tensor) -> None:
    generated = decoded(real, 1)
    for first in (generated, generated[:25], draw(7, 100)):
        by_moments = frechet_distance(moments_of(first), moments_of(real))
        assert fvd.distance(first, real).value == pytest.approx(by_moments, rel=1e-5)


def test_what_has_a_simple_answer(real: Tensor) -> None:
    """Equal sets, two clips, constant features and a large offset: right to about 12 digits, and nothing else."""
    assert 0.0 <= fvd.distance(real, real.clone()).value < 1e-9
    assert 0.0 <= fvd.distance(draw(0, 300, 5), draw(0, 300, 5)).value < 1e-9
    constant = torch.full((CLIPS, WIDTH), 3.0)
    assert fvd.distance(constant, constant - 1).value == pytest.approx(WIDTH, rel=1e-12)
    spread = real.double() - real.double().mean(0)
    total = float(spread.square().sum()) / (CLIPS - 1)
    assert fvd.distance(torch.zeros(CLIPS, WIDTH), spread).value == pytest.approx(total, rel=1e-12)
    # of two clips each: |m1 - m2|^2 + (s1 - s2)^2 for deviations s along one common line
    line = draw(3, 1).double()
    a, b = torch.cat([line, -line]), torch.cat([3 * line, -line])
    expected = float(line.square().sum()) * (1 + 2 * (2 - 1) ** 2)
    assert fvd.distance(a, b).value == pytest.approx(expected, rel=1e-9)
    far = 1e4 + real.double()
    assert fvd.distance(far, 1.0 + far).value == pytest.approx(WIDTH, rel=1e-9)


def test_repeats_as_weights_are_repeats(real: Tensor) -> None:
    generated = decoded(real, 1)
    counts = torch.bincount(
        torch.randint(CLIPS, (CLIPS,), generator=torch.Generator().manual_seed(5)), minlength=CLIPS
    )
    samples = [distance_kinds._resampled(x.double(), counts) for x in (generated, real)]
    repeated = [x.repeat_interleave(counts, 0) for x in (generated, real)]
    assert float(distance_kinds._between(*samples)) == pytest.approx(fvd.distance(*repeated).value, rel=1e-5)


def test_identical_sets_do_not_differ(real: Tensor) -> None:
    same = decoded(real, 1)
    assert fvd.paired_difference(same, same.clone(), real, draws=20) == (0.0, 0.0, 0.0)


def test_equally_good_decoders_do_not_differ(real: Tensor) -> None:
    """Of 20 intervals at 95 %, more than four would miss 0 with a probability of 0.3 %."""
    misses = 0
    for seed in range(20):
        low, mean, high = fvd.paired_difference(
            decoded(real, 100 + seed), decoded(real, 200 + seed), real, draws=60, seed=seed
        )
        assert low < mean < high
        misses += not low <= 0 <= high
    assert misses <= 4


def test_a_broken_decoder_is_noticed(real: Tensor) -> None:
    good, noisy, shifted = decoded(real, 1), decoded(real, 2, noise=1.0), decoded(real, 3) + 0.4
    for broken in (noisy, shifted):
        low, mean, _ = fvd.paired_difference(broken, good, real, draws=100)
        assert 0 < low < mean
        turned = fvd.paired_difference(good, broken, real, draws=100)
        assert turned.mean == pytest.approx(-mean)
        assert turned.high < 0


def test_a_single_distances_bootstrap_is_biased_and_says_so(real: Tensor) -> None:
    generated = decoded(real, 1)
    found = fvd.spread(generated, real, draws=50)
    assert found.mean > fvd.distance(generated, real).value
    assert "above the value" in found.warning
    assert fvd.spread(generated, real, draws=50) == found
    assert fvd.spread(generated, real, draws=50, seed=1) != found


def test_the_floor_is_the_distance_of_equals(real: Tensor) -> None:
    """A decoder that draws from the distribution of the real clips gets about the floor at its number of clips."""
    found = fvd.floor(real)
    other = [
        fvd.distance(2.0 * draw(50 + i, CLIPS // 2), 2.0 * draw(70 + i, CLIPS // 2)).value for i in range(10)
    ]
    assert found.mean == pytest.approx(sum(other) / 10, rel=0.1)
    assert (found.clips_per_half, found.splits) == (20, 10)
    assert fvd.floor(real) == found
    assert fvd.floor(real, seed=1) != found
    assert fvd.floor(2.0 * draw(0, 400)).mean < found.mean / 4


@pytest.mark.parametrize(
    ("clips", "word"), [(399, "WARNING: only 399"), (400, "published values"), (2048, "")]
)
def test_few_clips_are_warned_about(clips: int, word: str) -> None:
    said = " ".join(fvd.warnings_for(clips))
    assert word in said
    assert bool(said) == bool(word)


def test_what_cannot_be_compared(real: Tensor) -> None:
    with pytest.raises(BadInput, match="at least 2 clips on each side"):
        fvd.distance(real[:1], real)
    with pytest.raises(InvalidArgument, match="59 and 60 features"):
        fvd.distance(real[:, 1:], real)
    broken = real.clone()
    broken[3, 3] = torch.inf
    with pytest.raises(BadInput, match=r"generated: .*clip 3"):
        fvd.distance(broken, real)
    with pytest.raises(BadInput, match="the same clips in all three"):
        fvd.paired_difference(real[1:], real[1:], real)
    with pytest.raises(BadInput, match="the same clips on both sides"):
        fvd.spread(real[1:], real)
    with pytest.raises(BadInput, match="at least 4 real clips"):
        fvd.floor(real[:3])
    with pytest.raises(InvalidArgument, match="at least 2 draws"):
        fvd.paired_difference(real, real, real, draws=1)


def test_a_record_carries_its_protocol(real: Tensor) -> None:
    protocol = {"distance": "FVD-tiny", "resize": "squash", "weights_sha256": "0"}
    found = fvd.record(decoded(real, 1), real, protocol, fvd.Shown(24, "predicted"), draws=20)
    assert found["metric"] == "FVD-tiny"
    assert found["clips"] == CLIPS
    assert found["floor"]["clips_per_half"] == CLIPS // 2
    assert found["warnings"][0].startswith("WARNING")
    assert found["protocol"].items() >= protocol.items()
    stated = {"frames": 24, "frames_shown": "predicted", "clips": CLIPS, "covariance_ddof": 1}
    assert found["protocol"].items() >= stated.items()
    assert "square_root" in found["protocol"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert fvd.record(real[:3], real[:3], protocol, fvd.Shown(9, "all"), draws=5)["floor"] is None


def test_the_mmd_is_the_difference_of_mean_products(real: Tensor) -> None:
    """100 |E x x^T - E y y^T|^2 / f^2, by which JEDi is 100 times the kernel's three means too."""
    a, b = decoded(real, 1)[:30].double(), real.double()
    products = a.T @ a / len(a) - b.T @ b / len(b)
    assert fvd.distance(a, b, "mmd").value == pytest.approx(100 * float(products.square().sum()) / WIDTH**2)
    assert fvd.distance(real, real.clone(), "mmd").value == pytest.approx(0.0, abs=1e-12)
    assert fvd.distance(real, -real, "mmd").value == pytest.approx(0.0, abs=1e-12), "as its docstring says"


def test_the_mmd_of_resampled_sets_is_that_of_repeats(real: Tensor) -> None:
    generated = decoded(real, 1).double()
    counts = torch.bincount(torch.arange(CLIPS) // 3 * 2, minlength=CLIPS)
    found = distance_kinds.resampled_mmd(generated, real.double())(counts)
    repeated = [x.double().repeat_interleave(counts, 0) for x in (generated, real)]
    assert float(found) == pytest.approx(fvd.distance(*repeated, "mmd").value)


def test_a_record_of_an_mmd_names_its_kernel_and_no_covariance(real: Tensor) -> None:
    protocol = {"distance": "MMD-tiny", "formula": "mmd"}
    found = fvd.record(decoded(real, 1), real, protocol, fvd.Shown(24, "predicted"), draws=20)
    assert "kernel" in found["protocol"]
    assert "covariance_ddof" not in found["protocol"]
    assert "singular" not in found["warnings"][0]
    assert found["value"] == fvd.distance(decoded(real, 1), real, "mmd").value
    low, mean, _ = fvd.paired_difference(
        decoded(real, 2, noise=2.0), decoded(real, 1), real, draws=50, kind="mmd"
    )
    assert 0 < low < mean
