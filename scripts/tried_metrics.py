"""PSNR and SSIM of other packages, each called as its documentation shows, on uint8 RGB frames.

python scripts/tried_metrics.py frames.npz    # lines "SCORE {json}", for scripts/metric_conformance.py
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from metric_cases import read_cases, top_of

Measured = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Tried:
    """A metric of a package.

    Attributes:
        metric: "SSIM" or "PSNR".
        call: how it is called, as the tables say it.
        package: what is installed for it.
        measure: from a frame [h w 3] and its truth to a number.
        window: of SSIM: the entry of ``metric_cases.WINDOWS`` that it claims.
        clip: from a clip [t h w 3] and its truth to a number, where the package takes clips.
        note: what else its convention is.
    """

    metric: str
    call: str
    package: str
    measure: Measured
    window: str = ""
    clip: Measured | None = None
    note: str = ""


def _batch(frames: np.ndarray) -> "object":
    """[b 3 h w] float32 of a frame or clip, 0 to 255 (1,023)."""
    import torch

    whole = frames[None] if frames.ndim == 3 else frames
    return torch.from_numpy(np.ascontiguousarray(whole).astype(np.float32)).permute(0, 3, 1, 2)


def ours(name: str) -> Measured:
    """The mean over frames, as tables show it; PSNR without frames that equal the truth."""

    def measure(a: np.ndarray, b: np.ndarray) -> float:
        import torch

        from vidjacobi.eval import frame_metrics

        clips = [torch.from_numpy(np.ascontiguousarray(f[None] if f.ndim == 3 else f)) for f in (a, b)]
        values = getattr(frame_metrics, name)(*clips)
        finite = values[values.isfinite()]
        return float(finite.mean() if len(finite) else values.mean())

    return measure


def torchmetrics_ssim(a: np.ndarray, b: np.ndarray) -> float:
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    return float(ssim(_batch(a), _batch(b), data_range=float(top_of(a))))


def torchmetrics_psnr(a: np.ndarray, b: np.ndarray) -> float:
    from torchmetrics.functional.image import peak_signal_noise_ratio as psnr

    return float(psnr(_batch(a), _batch(b), data_range=float(top_of(a))))


def skimage_ssim(a: np.ndarray, b: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    return float(structural_similarity(a, b, channel_axis=-1, data_range=top_of(a)))


def skimage_ssim_of_paper(a: np.ndarray, b: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(a, b, channel_axis=-1, data_range=top_of(a), **settings))


def skimage_psnr(a: np.ndarray, b: np.ndarray) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(b, a, data_range=top_of(a)))


def piq_ssim(a: np.ndarray, b: np.ndarray) -> float:
    import piq

    return float(piq.ssim(_batch(a), _batch(b), data_range=float(top_of(a))))


def piq_psnr(a: np.ndarray, b: np.ndarray) -> float:
    import piq

    return float(piq.psnr(_batch(a), _batch(b), data_range=float(top_of(a))))


def msssim_ssim(a: np.ndarray, b: np.ndarray) -> float:
    from pytorch_msssim import ssim

    return float(ssim(_batch(a), _batch(b), data_range=top_of(a)))


def piqa_ssim(a: np.ndarray, b: np.ndarray) -> float:
    import piqa

    return float(piqa.SSIM()(_batch(a) / top_of(a), _batch(b) / top_of(a)))


def piqa_psnr(a: np.ndarray, b: np.ndarray) -> float:
    import piqa

    return float(piqa.PSNR()(_batch(a) / top_of(a), _batch(b) / top_of(a)))


def sewar_ssim(a: np.ndarray, b: np.ndarray) -> float:
    import sewar

    return float(sewar.ssim(b, a, MAX=top_of(a))[0])


def sewar_psnr(a: np.ndarray, b: np.ndarray) -> float:
    import sewar

    return float(sewar.psnr(b, a, MAX=top_of(a)))


def opencv_ssim(a: np.ndarray, b: np.ndarray) -> float:
    import cv2

    return float(np.mean(cv2.quality.QualitySSIM_compute(b, a)[0][:3]))


def opencv_psnr(a: np.ndarray, b: np.ndarray) -> float:
    import cv2

    return float(np.mean(cv2.quality.QualityPSNR_compute(b, a, maxPixelValue=float(top_of(a)))[0][:3]))


def ffmpeg(metric: str, pixels: str) -> Measured:
    """ffmpeg's filter on raw frames in the pixel format ``pixels``, of 10 bits for such frames."""

    def measure(a: np.ndarray, b: np.ndarray) -> float:
        import imageio_ffmpeg

        height, width = a.shape[-3:-1]
        deep = a.dtype == np.uint16
        # rgb48le has 16 bits a channel, into which 10 go by a shift
        given, within = ("rgb48le", f"{pixels}10le") if deep else ("rgb24", pixels)
        with tempfile.TemporaryDirectory() as folder:
            inputs: list[str] = []
            for name, frames in (("a", a), ("b", b)):
                path = Path(folder, name)
                path.write_bytes(np.ascontiguousarray(frames << 6 if deep else frames).tobytes())
                inputs += ["-f", "rawvideo", "-pix_fmt", given, "-s", f"{width}x{height}", "-i", str(path)]
            graph = f"[0:v]format={within}[a];[1:v]format={within}[b];[a][b]{metric}"
            command = [
                imageio_ffmpeg.get_ffmpeg_exe(),
                "-hide_banner",
                *inputs,
                "-lavfi",
                graph,
                "-f",
                "null",
                "-",
            ]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        found = re.search(r"SSIM .*All:(\S+)" if metric == "ssim" else r"PSNR .*average:(\S+)", said)
        assert found, said
        return float(found[1])

    return measure


def all_metrics() -> dict[str, Tried]:
    """Name of a line in the tables -> metric."""
    pooled = "a clip: of the error of all frames together"
    mean = "a clip: mean over frames"
    made = [
        Tried("SSIM", "ours", "vidjacobi", ours("ssim"), "mirrored", ours("ssim"), mean),
        Tried(
            "SSIM",
            "structural_similarity_index_measure",
            "torchmetrics",
            torchmetrics_ssim,
            "mirrored",
            torchmetrics_ssim,
            mean,
        ),
        Tried("SSIM", "structural_similarity", "scikit-image", skimage_ssim, "uniform 7"),
        Tried("SSIM", "structural_similarity, Gaussian", "scikit-image", skimage_ssim_of_paper, "valid"),
        Tried("SSIM", "ssim", "piq", piq_ssim, "valid, shrunk", piq_ssim, mean),
        Tried("SSIM", "ssim", "pytorch-msssim", msssim_ssim, "valid", msssim_ssim, mean),
        Tried("SSIM", "SSIM", "piqa", piqa_ssim, "valid", piqa_ssim, mean),
        Tried("SSIM", "ssim", "sewar", sewar_ssim, "uniform 11"),
        Tried("SSIM", "QualitySSIM_compute", "opencv-contrib-python-headless", opencv_ssim, "mirrored"),
        Tried(
            "SSIM",
            "filter ssim, RGB",
            "imageio-ffmpeg",
            ffmpeg("ssim", "gbrp"),
            "uniform 8",
            ffmpeg("ssim", "gbrp"),
            mean,
        ),
        Tried(
            "SSIM",
            "filter ssim, YUV 4:2:0",
            "imageio-ffmpeg",
            ffmpeg("ssim", "yuv420p"),
            "",
            ffmpeg("ssim", "yuv420p"),
            mean,
        ),
        Tried(
            "PSNR",
            "ours",
            "vidjacobi",
            ours("psnr"),
            clip=ours("psnr"),
            note="a clip: mean of the dB of frames that differ",
        ),
        Tried(
            "PSNR",
            "peak_signal_noise_ratio",
            "torchmetrics",
            torchmetrics_psnr,
            clip=torchmetrics_psnr,
            note=pooled,
        ),
        Tried(
            "PSNR", "peak_signal_noise_ratio", "scikit-image", skimage_psnr, clip=skimage_psnr, note=pooled
        ),
        Tried(
            "PSNR",
            "psnr",
            "piq",
            piq_psnr,
            clip=piq_psnr,
            note="1e-8 added to the mean square; a clip: mean of the dB of all frames",
        ),
        Tried(
            "PSNR",
            "PSNR",
            "piqa",
            piqa_psnr,
            clip=piqa_psnr,
            note="1e-8 added to the mean square; a clip: mean of the dB of all frames",
        ),
        Tried("PSNR", "psnr", "sewar", sewar_psnr, clip=sewar_psnr, note=pooled),
        Tried(
            "PSNR",
            "QualityPSNR_compute",
            "opencv-contrib-python-headless",
            opencv_psnr,
            note="mean of the channels' dB",
        ),
        Tried(
            "PSNR",
            "filter psnr, RGB",
            "imageio-ffmpeg",
            ffmpeg("psnr", "gbrp"),
            clip=ffmpeg("psnr", "gbrp"),
            note=pooled,
        ),
        Tried(
            "PSNR",
            "filter psnr, YUV 4:2:0",
            "imageio-ffmpeg",
            ffmpeg("psnr", "yuv420p"),
            clip=ffmpeg("psnr", "yuv420p"),
            note=pooled,
        ),
    ]
    return {f"{one.package}, {one.call}, {one.metric}": one for one in made}


def main() -> None:
    """Measure all cases of a file with every metric."""
    for name, one in all_metrics().items():
        for case, a, b in read_cases(Path(sys.argv[1])):
            measure = one.clip if case == "clip" else one.measure
            if measure is None:
                continue
            try:
                found: float | str = measure(a, b)
            except Exception as error:  # packages raise anything
                found = f"{type(error).__name__}: {error}"[:120]
            print("SCORE " + json.dumps([name, case, found]), flush=True)


if __name__ == "__main__":
    main()
