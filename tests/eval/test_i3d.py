"""The network of FVD gives the numbers that others have published for it."""

import os

import numpy as np
import pytest
import torch
from torch import Tensor

from vidjacobi.errors import BadInput
from vidjacobi.eval import fvd
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.i3d import I3D, LEAST_FRAMES, max_pool, pad_same

FULL = "VIDJACOBI_FULL_FVD"


def black_against_white(frames: int, features) -> float:
    """The distance of two sets of equal clips, which is that of their means alone."""
    shape = (1, frames, 32, 32, 3)
    sets = [features(torch.full(shape, value, dtype=torch.uint8)).double() for value in (0, 255)]
    return float((sets[0] - sets[1]).square().sum())


@pytest.mark.slow
def test_black_against_white_is_as_published(fvd_extractor: Extractor) -> None:
    """151.39244 in JunyaoHu/common_metrics_on_video_quality, for the TF-hub network itself."""
    assert black_against_white(30, fvd_extractor) == pytest.approx(151.39244, abs=1e-3)


@pytest.mark.slow
def test_another_epsilon_is_noticed(fvd_extractor: Extractor) -> None:
    """Negative control: VideoGPT's epsilon gives 151.76."""
    wrong = I3D(bn_eps=1e-5).eval()
    wrong.load_state_dict(fvd_extractor.network.state_dict())
    other = Extractor("-", fvd_extractor.protocol, wrong, fvd_extractor.prepare)
    assert black_against_white(30, other) == pytest.approx(151.76, abs=0.01)


@torch.no_grad()
def noise_features(extractor: Extractor, seed: int, clips: int) -> Tensor:
    """Features of the dummy videos of universome/fvd-comparison, with numbers in [0, 1) that are not rescaled."""
    state = np.random.RandomState(seed)
    rows = []
    for _ in range(clips):
        pixels = torch.from_numpy(state.rand(1, 16, 224, 224, 3).astype(np.float32))
        rows.append(extractor.network(pixels.permute(0, 4, 1, 2, 3).contiguous()))
    return torch.cat(rows)


@pytest.mark.slow
def test_noise_clips_keep_their_distance(fvd_extractor: Extractor) -> None:
    """The first 16 of the 128 videos below. The value is our own, from the run that gave the published one."""
    first, second = (noise_features(fvd_extractor, seed, 16) for seed in (1, 2))
    assert fvd.distance(first, second).value == pytest.approx(48.741109, rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(FULL not in os.environ, reason=f"8 minutes of a core; set {FULL}=1")
def test_noise_clips_are_as_far_apart_as_published(fvd_extractor: Extractor) -> None:
    """10.1380854 for TF-GAN on the TF-hub network in universome/fvd-comparison; 10.138088 here."""
    first, second = (noise_features(fvd_extractor, seed, 128) for seed in (1, 2))
    assert fvd.distance(first, second).value == pytest.approx(10.13809, abs=1e-4)


def test_too_few_frames_are_refused(fvd_extractor: Extractor) -> None:
    with pytest.raises(BadInput, match="at least 9 frames, and these have 8"):
        fvd_extractor(torch.zeros(1, LEAST_FRAMES - 1, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(RuntimeError):  # the limit is that of the network itself
        fvd_extractor.network(torch.zeros(1, 3, LEAST_FRAMES - 1, 224, 224))
    assert fvd_extractor(torch.zeros(1, LEAST_FRAMES, 32, 32, 3, dtype=torch.uint8)).shape == (1, 400)


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before", "after"),
    [
        (224, 7, 2, 2, 3),
        (9, 7, 2, 3, 3),
        (112, 3, 2, 0, 1),
        (5, 3, 1, 1, 1),
        (8, 2, 2, 0, 0),
        (9, 2, 2, 0, 1),
    ],
)
def test_padding_is_tensorflows(length: int, kernel: int, stride: int, before: int, after: int) -> None:
    """An odd row of padding goes to the end. Expected sizes follow TensorFlow's rule, ceil(length / stride)."""
    hidden = torch.ones(1, 1, 1, 1, length)
    padded = pad_same(hidden, (1, 1, kernel), (1, 1, stride))[0, 0, 0, 0]
    assert padded.tolist() == [0.0] * before + [1.0] * length + [0.0] * after
    assert (len(padded) - kernel) // stride + 1 == -(-length // stride)


def test_padding_never_wins_a_pooling() -> None:
    pooled = max_pool(-torch.ones(1, 1, 3, 3, 3), (3, 3, 3), (2, 2, 2))
    assert torch.equal(pooled, -torch.ones(1, 1, 2, 2, 2))
