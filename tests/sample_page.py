"""A page with everything on it, made up: numbers of no decoder, squares that move, names that are hostile."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vidjacobi.html_report.drawing import svg
from vidjacobi.html_report.figures import Curve, Point, ReferenceLevel, histogram, over_window, throughput
from vidjacobi.html_report.page import Clip, Column, Figure, Gallery, Interval, Page, Section, Table, Track
from vidjacobi.shapes import Frames
from vidjacobi.video.clips import write_video

WINDOWS = (16, 32, 64, 128)
DECODERS = ("sjd", "mc_sjd", "gs_sjd", "sjdpp", "pathwise", "fast")
LOSSY = ("sjdpp",)
HOSTILE = "<script>console.error('ran')</script> \"it's\" & {{ 7 * 7 }} \u4e2d\u6587 \u202etxt.exe \udc80"
COLUMNS = (
    Column("decoder"),
    Column("guarantee"),
    Column("window", "number"),
    Column("NFE", "interval", digits=0),
    Column("tokens per pass", "number", digits=2),
    Column("latency, s", "interval", digits=2),
    Column("FVD", "interval", digits=1),
    Column("FVD \N{MINUS SIGN} AR's", "interval", digits=1),
)


def square(seed: int, total: int = 33, noise: float = 0, height: int = 96, width: int = 160) -> Frames:
    """A bright square that moves over a smooth ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    hue = rng.uniform(0, 3, 3)[:, None, None]
    ground = 90 + 50 * np.sin(np.stack([x / 37 + hue[0], y / 23 + hue[1], (x + y) / 51 + hue[2]]))
    frames = np.repeat(ground.transpose(1, 2, 0)[None], total, 0)
    speed = rng.uniform(1.5, 3.5)
    for t in range(total):
        left, top = int(10 + speed * t), int(30 + 15 * np.sin(t / 6 + hue[0, 0, 0]))
        frames[t, top : top + 24, left : left + 24] = (240, 220, 90)
        frames[t, ::8, :, :] += 12
    frames[9:] += rng.normal(0, 1, frames[9:].shape) * noise
    return torch.from_numpy(np.clip(frames, 0, 255).astype(np.uint8))


def rows(seed: int = 0) -> list[list[object]]:
    """AR without a window, then every decoder and window, in no particular order."""
    rng = np.random.default_rng(seed)
    made: list[list[object]] = [
        [
            "ar",
            "pathwise",
            None,
            Interval(960.0),
            1.0,
            Interval(9.51, 9.38, 9.66),
            Interval(41.2, 38.0, 47.9),
            None,
        ]
    ]
    for i, name in enumerate(DECODERS):
        for window in WINDOWS:
            nfe = 960 / (2.4 * (window / 16) ** (0.12 + 0.1 * i) + 0.3 * i)
            fvd = 41 + rng.normal(0, 1.2) + 14 * (name in LOSSY)
            made.append(
                [
                    name,
                    "lossy" if name in LOSSY else "identical" if name == "pathwise" else "lossless",
                    window,
                    Interval(nfe, nfe * 0.95, nfe * 1.06),
                    960 / nfe,
                    Interval(nfe * 0.012, nfe * 0.0115, nfe * 0.0127),
                    Interval(fvd, fvd - 3, fvd + 6),
                    Interval(fvd - 41.2, fvd - 44.4, fvd - 38.3),
                ]
            )
    return made


def plots() -> Gallery:
    """NFE, latency and FVD."""
    table = rows()

    def line(name: str, column: int) -> Curve:
        mine = [(row[2], row[column]) for row in table if row[0] == name]
        points = [Point(w, c.value, c.low, c.high) for w, c in mine if isinstance(c, Interval)]  # type: ignore[arg-type]
        return Curve(name, points, lossy=name in LOSSY)

    def panel(title: str, column: int, levels: list[ReferenceLevel], log: bool) -> Figure:
        drawn = over_window(title, [line(name, column) for name in DECODERS], levels, log)
        return Figure(
            svg(drawn), f"{title} over the window, one line per decoder", f"{title}. Dashed: lossy."
        )

    floor = ReferenceLevel("floor", 33.0)
    return Gallery(
        [
            panel("NFE", 3, [ReferenceLevel("ar", 960)], True),
            panel("latency, s", 5, [ReferenceLevel("ar", 9.51)], True),
            panel("FVD", 6, [ReferenceLevel("ar", 41.2, 38.0, 47.9), floor], False),
        ]
    )


def heat(seed: int, width: int = 640, height: int = 160) -> bytes:
    """PNG bytes."""
    rng = np.random.default_rng(seed)
    marks = Image.fromarray(rng.integers(0, 255, (8, 32, 3), dtype=np.uint8)).resize((width, height), 0)
    content = io.BytesIO()
    marks.save(content, format="PNG")
    return content.getvalue()


def clip(name: str, seed: int, folder: Path) -> Clip:
    """Context, ground truth, AR and two decoders, one of them from a file of another rate and odd size."""
    path = folder / f"{seed}.mp4"
    write_video(path, square(seed, noise=6)[:, :95, :159], 24)
    return Clip(
        name,
        fps=10,
        context=9,
        tracks=[
            Track("context", square(seed, 9), "9 frames"),
            Track("ground truth", square(seed)),
            Track("ar", square(seed, noise=6), "960 passes, 9.5 s"),
            Track("pathwise, window 64", path, "95 passes, 1.2 s"),
            Track("sjdpp, window 64", square(seed + 1, noise=20), "115 passes, 1.4 s"),
        ],
        pictures=[Figure(heat(seed), f"acceptance map of {name}", "Pass that decided each token, pathwise.")],
    )


def sample_page(folder: Path) -> Page:
    """Everything once; `folder` takes a video file."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.gamma(2, 1.5, 400))
    failures = Table(
        [Column("episode"), Column("reason"), Column("tried", "number")],
        [
            [HOSTILE, "2 frames, 33 are needed", 1],
            ["clip 10", "cannot be read: " + "moov atom not found " * 4, 3],
            ["clip 2", None, None],
        ],
        caption="Episodes without a prediction",
    )
    run = Gallery(
        [
            Figure(svg(throughput(list(times))), "clips per minute over the time of the run", "Throughput."),
            Figure(
                svg(histogram("NFE", list(rng.normal(130, 25, 400)))), "histogram of NFE", "Passes of a clip."
            ),
            Figure(
                svg(histogram("tokens per pass", list(rng.gamma(20, 0.4, 400)))), "histogram", "Acceptance."
            ),
        ]
    )
    note = (
        "Intervals: 95 %, paired bootstrap over clips. Ranges of FVD lean upwards; look at the last column."
    )
    return Page(
        "RealEstate10k, nano: 6 decoders at 4 windows",
        summary="Predicted 24 frames behind 9 of 150 clips, and measured how good they are and what they cost.",
        warnings=[
            "150 clips: FVD is biased upwards below 400 clips; compare differences, not values.",
            f"The weights were given by the user: {HOSTILE}",
        ],
        facts={
            "clips": 150,
            "frames": "9 context, 24 predicted, 10 per second",
            "resize": "squash to 160 x 96 (TF protocol)",
            "I3D weights": "sha256 " + "3f1c9b" * 10 + "0a2b",
            "seed": 0,
        },
        sections=[
            Section("Results", [Table(COLUMNS, rows(), "NFE, latency and FVD by decoder", note), plots()]),
            Section(
                "Clips",
                (clip(name, seed, folder) for seed, name in enumerate([HOSTILE, "b2ffe1ac45_0"])),
                "Orange: context.\n\nThe first clips of the list, not chosen.",
            ),
            Section("Run", [run, failures, Figure(heat(7, 1600, 300), "sheet", "A contact sheet.")]),
        ],
    )
