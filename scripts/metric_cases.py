"""What every metric package is given: pairs of frames, short clips and sets of features, and their exact values.

Exact values are computed from the definition: SSIM and PSNR in float64 with every window written out, Frechet
distances with 50 digits (mpmath). What a package says is compared with the exact value of its own convention.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

Frame = UInt8[np.ndarray, "h w 3"]
Clip = UInt8[np.ndarray, "t h w 3"]
Deep = UInt16[np.ndarray, "h w 3"]  # 0 to 1023
Set = Float[np.ndarray, "n f"]
HEIGHT, WIDTH = 128, 160
DIGITS = 50
DEEPEST = 1023  # of 10 bits


@dataclass(frozen=True)
class Window:
    """How a package averages SSIM's statistics.

    Attributes:
        text: what the tables say.
        gaussian: deviation of the Gaussian window; 0 for equal weights.
        side: of the window, in pixels.
        mirrored: whether the map reaches over the whole, mirrored picture.
        unbiased: whether covariances are divided by one less than the pixels of the window.
        stride: from one window to the next.
        shrink: whether large pictures are first averaged down to about 256 pixels.
        first: SSIM's constant C1 is divided by this.
    """

    text: str
    gaussian: float = 1.5
    side: int = 11
    mirrored: bool = False
    unbiased: bool = False
    stride: int = 1
    shrink: bool = False
    first: float = 1.0


WINDOWS = {
    "mirrored": Window("Gaussian 11, mirrored borders", mirrored=True),
    "valid": Window("Gaussian 11, without 5 pixels at each border"),
    "valid, shrunk": Window(
        "Gaussian 11, without 5 pixels; frames of 384 pixels and more are halved first", shrink=True
    ),
    "uniform 7": Window("equal weights 7x7, without 3 pixels, unbiased covariances", 0, 7, unbiased=True),
    "uniform 11": Window("equal weights 11x11, without 5 pixels", 0),
    "uniform 8": Window(
        "equal weights 8x8, every 4 pixels, unbiased covariances, C1 / 64",
        0,
        8,
        unbiased=True,
        stride=4,
        first=64,
    ),
}


def natural(height: int = HEIGHT, width: int = WIDTH) -> Frame:
    """A photograph-like picture that needs no file: soft blobs of colour with edges and a fine grain."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(7)
    made = np.zeros((height, width, 3))
    for size, share in ((24, 200.0), (8, 60.0), (2, 25.0)):
        noise = gaussian_filter(rng.standard_normal((height, width, 3)), (size, size, 0.6), mode="wrap")
        made += share * noise / noise.std() / 3
    y, x = np.mgrid[:height, :width]
    for place in range(4):  # things in front of it, with sharp edges
        inside = (x // 5 + y // 7 + 13 * place) % 29 < 4
        made[inside] = made[inside] * 0.6 + 40 * (place - 1)
    return np.clip(made + 118, 0, 255).round().astype(np.uint8)


def busy(height: int = HEIGHT, width: int = WIDTH) -> Frame:
    """Stripes and squares of one and two pixels at the borders, and a calm middle."""
    y, x = np.mgrid[:height, :width]
    made = np.full((height, width), 128)
    edge = (y < 12) | (y >= height - 12) | (x < 12) | (x >= width - 12)
    made[edge] = (((x // 2 + y) % 2) * 255)[edge]
    return np.repeat(made[..., None], 3, 2).astype(np.uint8)


def noisy(frame: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """A frame with Gaussian noise."""
    noise = np.random.default_rng(seed).normal(0, deviation, frame.shape)
    return np.clip(frame + noise, 0, top_of(frame)).round().astype(frame.dtype)


def as_jpeg(frame: Frame, quality: int) -> Frame:
    """A frame that was a JPEG file."""
    stored = BytesIO()
    Image.fromarray(frame).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))


def flat(level: int) -> Frame:
    """A picture of one grey."""
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def deep_ramp() -> Deep:
    """A soft ramp of 10 bits, as HDR and ProRes sources have."""
    x = np.linspace(200, 420, WIDTH)[None] + np.linspace(0, 60, HEIGHT)[:, None]
    return np.repeat(x.round().astype(np.uint16)[..., None], 3, 2)


def top_of(frame: np.ndarray) -> int:
    """The largest value that a frame's pixels may have: 255, or 1,023 for 10 bits in uint16."""
    return DEEPEST if frame.dtype == np.uint16 else 255


def pairs() -> dict[str, tuple[Frame | Deep, Frame | Deep]]:
    """Name of a pair -> (frame, truth); 8 bits unless the name says more."""
    scene = natural(HEIGHT, WIDTH + 1)
    here, moved = scene[:, 1:], scene[:, :-1]
    large, ramp = natural(480, 640), deep_ramp()
    deep = 4 * here.astype(np.uint16)
    return {
        "equal": (here, here),
        "flat 0, 3": (flat(3), flat(0)),
        "flat 254, 255": (flat(254), flat(255)),
        "flat 250, 255": (flat(250), flat(255)),
        "natural, noise 5": (noisy(here, 5, 1), here),
        "natural, JPEG 30": (as_jpeg(here, 30), here),
        "bright, noise 2": (noisy(here // 8 + 222, 2, 3), here // 8 + 222),
        "busy edges, noise 20": (noisy(busy(), 20, 2), busy()),
        "moved by 1 pixel": (here, moved),
        "480x640, noise 5": (noisy(large, 5, 4), large),
        "10 bits cut, rounded": ((ramp >> 2).astype(np.uint8), np.round(ramp / 4).astype(np.uint8)),
        "10 bits, noise 20": (noisy(deep, 20, 5), deep),
    }


def short_clip() -> tuple[Clip, Clip]:
    """A clip of five frames: noise of 2, 5 and 20, and two frames that equal the truth."""
    scene = natural(HEIGHT, WIDTH + 4)
    truth = np.stack([scene[:, shift : shift + WIDTH] for shift in range(5)])
    frames = truth.copy()
    for place, deviation in ((0, 2.0), (1, 5.0), (3, 20.0)):
        frames[place] = noisy(truth[place], deviation, 10 + place)
    return frames, truth


def exact_psnr(a: np.ndarray, b: np.ndarray, top: int = 255) -> float:
    """The definition: 10 log10(top^2 / mean squared difference), infinite for equal frames."""
    squares = int(((a.astype(np.int64) - b) ** 2).sum())
    return float("inf") if not squares else 10 * float(np.log10(top**2 * a.size / squares))


def exact_ssim(a: np.ndarray, b: np.ndarray, window: Window, top: int = 255) -> float:
    """The definition (Wang et al. 2004) with this window, each channel by itself, in float64."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    if window.shrink:
        factor = max(1, round(min(a.shape[:2]) / 256))
        x, y = _averaged(x, factor), _averaged(y, factor)
    if window.mirrored:
        reach = window.side // 2
        x, y = (np.pad(f, ((reach, reach), (reach, reach), (0, 0)), "reflect") for f in (x, y))
    places = np.arange(window.side) - window.side // 2
    weights = np.exp(-(places**2) / (2 * window.gaussian**2)) if window.gaussian else np.ones(window.side)
    weights = weights / weights.sum()

    def mean(picture: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            views = np.lib.stride_tricks.sliding_window_view(picture, window.side, axis)
            picture = views @ weights
        return picture[:: window.stride, :: window.stride]

    mx, my = mean(x), mean(y)
    pixels = window.side**2
    wider = pixels / (pixels - 1) if window.unbiased else 1.0
    # around the means of the whole pictures, so that no digits are lost
    cx, cy = x - x.mean(), y - y.mean()
    ax, ay = mean(cx), mean(cy)
    covariance = wider * (mean(cx * cy) - ax * ay)
    variances = wider * (mean(cx * cx) - ax**2 + mean(cy * cy) - ay**2)
    c1, c2 = (0.01 * top) ** 2 / window.first, (0.03 * top) ** 2
    return float(
        ((2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (variances + c2))).mean()
    )


def _averaged(picture: np.ndarray, factor: int) -> np.ndarray:
    height, width = (length // factor for length in picture.shape[:2])
    cut = picture[: height * factor, : width * factor]
    return cut.reshape(height, factor, width, factor, -1).mean((1, 3))


def feature_sets() -> dict[str, tuple[Set, Set]]:
    """Name of a case -> (generated, real), float32 features as networks make them."""
    rng = np.random.default_rng(3)

    def draw(clips: int, width: int, rank: int = 0) -> np.ndarray:
        if rank:
            return (rng.standard_normal((clips, rank)) @ rng.standard_normal((rank, width))).astype(
                np.float32
            )
        scales = 3 / np.sqrt(1 + np.arange(width))
        return (rng.standard_normal((clips, width)) * scales).astype(np.float32)

    few, many = draw(24, 100), draw(256, 16)
    usual = draw(256, 16) + np.float32(0.1), draw(256, 16)
    wide = draw(24, 100), draw(24, 100)
    return {
        "256 clips, 16 features": usual,
        "24 clips, 100 features": wide,
        "the same / 100": (wide[0] / 100, wide[1] / 100),
        "rank 5 of 16": (draw(256, 16, 5), draw(256, 16, 5)),
        "equal, 256 of 16": (many, many),
        "equal, 24 of 100": (few, few),
        "offset 1e4": (draw(256, 16) + np.float32(1e4), draw(256, 16) + np.float32(1e4)),
        "one side constant": (np.ones((24, 100), np.float32), few),
        "both constant": (np.ones((24, 100), np.float32), np.zeros((24, 100), np.float32)),
        "2 clips": (draw(2, 100), draw(2, 100)),
        "1 clip": (draw(1, 3), draw(1, 3)),
    }


def exact_frechet(a: Set, b: Set) -> tuple[float, float | None]:
    """The distance with many digits for ddof 0 and, of at least two clips each, ddof 1. Both have as many clips."""
    import mpmath

    clips = len(a)
    with mpmath.workdps(DIGITS):
        (ma, xa, ta), (mb, xb, tb) = (_centred(features) for features in (a, b))
        between = mpmath.fsum((p - q) ** 2 for p, q in zip(ma, mb, strict=True))
        # the trace of sqrt(Sa Sb) is the sum of the singular values of Xa Xb^T, of as many rows as there are clips
        if clips > a.shape[1]:
            root = _root_of_covariances(xa, xb)
        else:
            root = mpmath.fsum(mpmath.svd_r(xa * xb.T, compute_uv=False))
        within = ta + tb - 2 * root
        return float(between + within / clips), float(between + within / (clips - 1)) if clips > 1 else None


def _centred(features: Set) -> tuple:
    """The mean, the centred features, and their sum of squares, in many digits."""
    import mpmath

    rows = [[mpmath.mpf(float(value)) for value in row] for row in features]
    mean = [mpmath.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    centred = mpmath.matrix([[v - m for v, m in zip(row, mean, strict=True)] for row in rows])
    return mean, centred, mpmath.fsum(value**2 for value in centred)


def _root_of_covariances(xa: object, xb: object) -> object:
    """tr sqrt(Sa Sb) by way of the features' covariances, where there are fewer features than clips.

    X is not divided by the clips.
    """
    import mpmath

    sa, sb = xa.T * xa, xb.T * xb  # type: ignore[attr-defined]
    values, vectors = mpmath.eigsy(sa)
    roots = mpmath.diag([mpmath.sqrt(max(value, 0)) for value in values])
    root = vectors * roots * vectors.T
    inner = root * sb * root
    inner = (inner + inner.T) / 2
    return mpmath.fsum(mpmath.sqrt(max(value, 0)) for value in mpmath.eigsy(inner, eigvals_only=True))


def write_cases(folder: Path) -> None:
    """``frames.npz`` and ``features.npz``, which the processes of the packages read."""
    frames, truth = short_clip()
    arrays = {
        f"{name}|{side}": frame
        for name, both in pairs().items()
        for side, frame in zip("ab", both, strict=True)
    }
    np.savez(folder / "frames.npz", **arrays, **{"clip|a": frames, "clip|b": truth})
    sets = {f"{n}|{s}": x for n, both in feature_sets().items() for s, x in zip("ab", both, strict=True)}
    np.savez(folder / "features.npz", **sets)


def read_cases(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, first, second) of every case of a file."""
    with np.load(path) as stored:
        for name in dict.fromkeys(key.rpartition("|")[0] for key in stored.files):
            yield name, stored[f"{name}|a"], stored[f"{name}|b"]
