"""PSNR, SSIM and LPIPS of each frame against the ground truth, and the conventions that reports name.

PSNR and SSIM are computed in float64. In float32, SSIM is wrong by up to 0.002 for flat frames that hardly differ,
and may lie above 1.
"""

from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import urlparse

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.eval.feature_cache import file_sha256
from vidjacobi.registry import lookup
from vidjacobi.shapes import Frames

PerFrame = Float[Tensor, " T"]
Picture = Float[Tensor, "1 3 H W"]  # 0-255, float64
# frames that should have the same shape as others; a message says so if they have not
Others = UInt8[Tensor, "S h w k"]
TRUNKS: dict[str, str] = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
SSIM_WINDOW = 11  # side of the Gaussian window in pixels
MIRRORED, VALID = "mirrored", "valid"
# which part of SSIM's map is averaged -> (pixels left out at each border, how it is said)
SSIM_BORDERS: dict[str, tuple[int, str]] = {
    MIRRORED: (
        0,
        "the whole map, for which frames are mirrored at their borders (not the map cropped by 5 pixels)",
    ),
    VALID: (
        SSIM_WINDOW // 2,
        "the map without 5 pixels at each border, where the window would reach over it",
    ),
}
# metric -> how it is computed; what is said of SSIM's borders belongs behind it
CONVENTIONS = {
    "psnr": "float64, RGB 0 to 255, over all pixels of a frame; means are over frames in dB, and frames that equal "
    "the ground truth (infinite PSNR) are left out of them and counted",
    "ssim": "float64, RGB 0 to 255, Gaussian window 11x11 with sigma 1.5, K1 0.01, K2 0.03, population covariances; "
    "the mean of ",
    "lpips": "AlexNet trunk, float32, RGB scaled to -1 to 1",
}


def conventions(borders: str = MIRRORED) -> dict[str, str]:
    """Metric -> how it is computed, as results.json, tables and LaTeX captions say it."""
    return {**CONVENTIONS, "ssim": CONVENTIONS["ssim"] + lookup("kind of borders", borders, SSIM_BORDERS)[1]}


def psnr(frames: Frames, truth: Others) -> PerFrame:
    """Peak signal-to-noise ratio of each frame in dB, float64; infinite where a frame equals the truth.

    The error is averaged over all pixels and channels of a frame: 10 log10(255^2 / mean squared error).
    """
    # The sum of the squared differences of bytes is a whole number, so nothing is rounded before the division.
    squares = [(a - b).square().mean() for a, b in _pairs(frames, truth)]
    return 10 * torch.log10(255.0**2 / torch.stack(squares))


def ssim(frames: Frames, truth: Others, borders: str = MIRRORED) -> PerFrame:
    """Structural similarity of each frame (Wang et al. 2004), float64, at most 1, and 1 where it equals the truth.

    Convention: Gaussian window 11x11 with sigma 1.5, K1 0.01, K2 0.03, population covariances, each channel by
    itself. ``borders``: "mirrored" averages the whole map, for which frames are mirrored at their borders, as
    torchmetrics does; "valid" leaves 5 pixels out at each border, as the original code, piqa, pytorch-msssim and the
    evaluations of iVideoGPT and StyleGAN-V's descendants do. Raises BadInput for frames that are smaller than the
    window, and where the two clips do not belong together; InvalidArgument for other borders.
    """
    crop, _ = lookup("kind of borders", borders, SSIM_BORDERS)
    if min(frames.shape[1:3]) < SSIM_WINDOW:
        raise BadInput(f"SSIM looks at {SSIM_WINDOW}x{SSIM_WINDOW} pixels, and frames are {_size(frames)}")
    scores = [_ssim(a, b, crop) for a, b in _pairs(frames, truth)]
    return torch.tensor(scores, dtype=torch.float64)


def _ssim(a: Picture, b: Picture, crop: int) -> float:
    """The structural similarity of two frames, of the map without ``crop`` pixels at each border."""
    # SciPy's filter takes one axis after the other: 30 times as fast as a convolution in float64 with the whole
    # window, as torchmetrics does it. 3.5 standard deviations are its 5 pixels to either side.
    from scipy.ndimage import gaussian_filter

    # Equal frames have 1 by definition.
    if torch.equal(a, b):
        return 1.0
    x, y = (picture[0].permute(1, 2, 0).cpu().numpy() for picture in (a, b))
    mean = partial(gaussian_filter, sigma=(1.5, 1.5, 0), truncate=3.5, mode="mirror")
    mx, my = mean(x), mean(y)
    covariance = mean(x * y) - mx * my
    variances = mean(x * x + y * y) - mx**2 - my**2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (variances + c2))
    inside = found[crop : found.shape[0] - crop, crop : found.shape[1] - crop]
    return min(1.0, float(inside.mean()))  # it may lie above by a rounding of float64


def lpips(frames: Frames, truth: Others, trunk: str = "alex") -> PerFrame:
    """Learned perceptual distance of each frame. Raises InvalidArgument where ``lpips_missing`` says why not."""
    reason = lpips_missing(trunk)
    if reason:
        raise InvalidArgument(reason)
    network = _lpips_network(trunk)
    with torch.no_grad():
        return torch.stack(
            [
                network(a.float() / 255, b.float() / 255, normalize=True).flatten()[0]
                for a, b in _pairs(frames, truth)
            ]
        )


def lpips_missing(trunk: str = "alex") -> str:
    """Why LPIPS cannot be computed here; empty if it can. It looks only at the cache of torch hub."""
    # torchvision's files are called NAME-HASH.pth, with the beginning of their sha256.
    from torchvision.models import get_model_weights

    model = lookup("LPIPS trunk", trunk, TRUNKS)
    name = Path(urlparse(get_model_weights(model).DEFAULT.url).path).name
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if not path.is_file():
        return f"LPIPS needs {name} (torchvision's {model}) in {path.parent}, and nothing is downloaded"
    wanted = path.stem.rsplit("-", 1)[-1]
    if not _hash_once(path, path.stat().st_mtime_ns).startswith(wanted):
        return f"{path} is damaged (its sha256 does not begin with {wanted}): delete it and download it again"
    return ""


@lru_cache(maxsize=3)
def _hash_once(path: Path, changed: int) -> str:
    """The sha256 of a large file, which would otherwise be computed for every clip."""
    return file_sha256(path)


@lru_cache(maxsize=1)
def _lpips_network(trunk: str) -> nn.Module:
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type=trunk).net  # type: ignore[arg-type]


def _pairs(frames: Frames, truth: Others) -> list[tuple[Picture, Picture]]:
    """The frames of both clips in pairs, 0 to 255. Raises BadInput for what does not fit together."""
    for given in (frames, truth):
        if (
            given.dtype != torch.uint8
        ):  # 10 bits, or floats from 0 to 1, would be measured against a peak of 255
            raise BadInput(f"frames to compare must be uint8, 0 to 255, not {given.dtype}")
    if frames.shape != truth.shape:
        raise BadInput(
            f"frames to compare must have the same number and size: {len(frames)} of {_size(frames)} against "
            f"{len(truth)} of {_size(truth)}"
        )
    if not len(frames):
        raise BadInput("no frames to compare")
    return list(zip(_pictures(frames), _pictures(truth), strict=True))


def _pictures(frames: Frames) -> list[Picture]:
    return [frame.permute(2, 0, 1)[None].double() for frame in frames]


def _size(frames: Others) -> str:
    return f"{frames.shape[2]}x{frames.shape[1]} pixels"
