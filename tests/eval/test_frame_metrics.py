"""PSNR, SSIM and LPIPS of frames."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_features import clip

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval.frame_metrics import conventions, lpips, lpips_missing, psnr, ssim


def test_psnr_is_its_formula() -> None:
    truth = clip(1, 4)
    frames = truth.clone()
    frames[1] += 1
    frames[2, 0, 0, 0] += 10
    frames[3] = 255 - frames[3]
    found = psnr(frames, truth)
    assert found[0] == torch.inf
    assert found[1] == pytest.approx(20 * math.log10(255), abs=1e-12)  # 20 log10 255
    assert found[2] == pytest.approx(48.1308 - 10 * math.log10(100 / truth[0].numel()), abs=1e-3)
    assert found[3] < 20


def test_ssim_falls_with_noise_and_is_one_for_equals() -> None:
    truth = clip(1, 3)
    frames = truth.clone()
    generator = torch.Generator().manual_seed(0)
    for i, reach in ((1, 10), (2, 60)):
        noise = torch.randint(-reach, reach, frames[i].shape, generator=generator)
        frames[i] = (frames[i] + noise).clamp(0, 255).to(torch.uint8)
    found = ssim(frames, truth)
    assert found.shape == (3,)
    assert found[0] == pytest.approx(1.0)
    assert 1 > found[1] > found[2] > 0


def test_flat_frames_that_are_equal_are_equal() -> None:
    flat = torch.full((1, 64, 64, 3), 250, dtype=torch.uint8)
    assert ssim(flat, flat).tolist() == [1.0]
    assert ssim(flat, flat + 1)[0] == pytest.approx(1.0, abs=1e-3)


def test_frames_that_differ_in_one_pixel() -> None:
    """In float32, their SSIM is 0.9981."""
    truth = torch.full((1, 32, 32, 3), 185, dtype=torch.uint8)
    frames = truth.clone()
    frames[0, 16, 16] = 184
    assert ssim(frames, truth)[0].item() == pytest.approx(0.99998391, abs=1e-8)
    assert psnr(frames, truth)[0].item() == pytest.approx(
        20 * math.log10(255) + 10 * math.log10(1024), abs=1e-12
    )
    assert ssim(frames, truth).dtype == psnr(frames, truth).dtype == torch.float64


def test_ssim_is_the_mean_of_the_whole_mirrored_map() -> None:
    """Against a plain computation of the formula, and not the mean without the outer 5 pixels."""
    truth, frames = clip(1, 1, 20, 24), clip(2, 1, 20, 24)
    x, y = (np.pad(f[0].double().numpy(), ((5, 5), (5, 5), (0, 0)), "reflect") for f in (frames, truth))
    weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / weights.sum() ** 2

    def mean(picture: np.ndarray) -> np.ndarray:
        views = np.lib.stride_tricks.sliding_window_view(picture, (11, 11), (0, 1))
        return np.einsum("hwcij,ij->hwc", views, window)

    mx, my, c1, c2 = mean(x), mean(y), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    cov, spread = mean(x * y) - mx * my, mean(x * x) - mx**2 + mean(y * y) - my**2
    whole = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (spread + c2))
    inner = whole[5:-5, 5:-5]
    assert ssim(frames, truth)[0].item() == pytest.approx(whole.mean(), abs=1e-12)
    assert ssim(frames, truth, "valid")[0].item() == pytest.approx(inner.mean(), abs=1e-12)
    assert abs(whole.mean() - inner.mean()) > 1e-4
    assert "mirrored" in conventions()["ssim"]
    assert "without 5 pixels" in conventions("valid")["ssim"]
    with pytest.raises(InvalidArgument, match="did you mean 'mirrored'"):
        ssim(frames, truth, "mirror")


def test_frames_that_do_not_belong_together() -> None:
    with pytest.raises(BadInput, match=r"9 of 24x16 pixels against 8 of 24x16"):
        psnr(clip(1), clip(1, 8))
    with pytest.raises(BadInput, match="no frames"):
        psnr(clip(1)[:0], clip(1)[:0])
    with pytest.raises(BadInput, match="11x11"):
        ssim(clip(1, 2, 10, 24), clip(1, 2, 10, 24))


@pytest.mark.unchecked  # the types say it too
@pytest.mark.parametrize("metric", [psnr, ssim])
def test_frames_of_other_depths_are_refused(metric: Callable[..., torch.Tensor]) -> None:
    """10 bits have another peak than 255, and so have floats."""
    frames = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    for other in (frames.to(torch.uint16), frames.float()):
        for pair in ((other, frames), (frames, other)):
            with pytest.raises(BadInput, match="must be uint8, 0 to 255, not torch"):
                metric(*pair)


def test_lpips_without_its_trunk_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert "alexnet-owt-7be5be79.pth" in lpips_missing()
    with pytest.raises(InvalidArgument, match="nothing is downloaded"):
        lpips(clip(1), clip(1))
    weights = tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth"
    weights.parent.mkdir()
    weights.write_bytes(b"half a file")
    assert "damaged" in lpips_missing()
    with pytest.raises(InvalidArgument, match="There are: alex, vgg, squeeze"):
        lpips_missing("resnet")


def test_lpips_is_zero_for_equals_and_grows() -> None:
    """With random weights in place of those that must be downloaded."""
    from vidjacobi.eval import frame_metrics as module

    torch.manual_seed(0)
    network = _random_lpips()
    truth = clip(1, 2, 64, 64)
    frames = truth.clone()
    frames[1] = clip(2, 1, 64, 64)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_lpips_network", lambda trunk: network)
        patch.setattr(module, "lpips_missing", lambda trunk: "")
        found = lpips(frames, truth)
    assert found.shape == (2,)
    assert found[0] == pytest.approx(0.0, abs=1e-6)
    assert found[1] > 1e-3


def _random_lpips() -> torch.nn.Module:
    from torchmetrics.functional.image.lpips import _LPIPS

    return _LPIPS(net="alex", pnet_rand=True)
