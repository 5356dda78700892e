"""How far FVD moves by protocol alone: resize rule, codec, colour matrix, number of frames and of clips.

Rendered clips are the real ones; the same clips, blurred as a video tokenizer blurs, are the generated ones. All
features are those of FVD's own network (`vidjacobi eval setup`).

    python scripts/protocol_moves.py rules      # 24 clips by every rule (--clips for fewer)
    python scripts/protocol_moves.py clips      # 16 to 256 clips, with the floor and the extrapolation
    python scripts/protocol_moves.py rules --write      # into docs/metrics.md

Features are kept in --cache, so that a run that was stopped goes on.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from distance_bias import extrapolated
from page_parts import write_part
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python knows only this folder
from scripts.make_realestate10k import SEEDS
from scripts.nano.render.scenes import draw_kind, render_clip
from vidjacobi.eval.feature_cache import cached
from vidjacobi.eval.features import Extractor, load_extractor, short_side, squash
from vidjacobi.eval.fvd import distance, floor
from vidjacobi.shapes import Frames
from vidjacobi.video import read_frames

SIDE, FPS = 224, 10
WIDE, NARROW = (288, 512), (128, 160)  # height and width of the clips of both parts
FRAMES, FEWEST = 16, 9
LONGEST = {WIDE: 24, NARROW: FEWEST}  # frames
KINDS = {"house": 0.6, "tabletop": 0.3, "plain_room": 0.1}  # those that need no photographs
COUNTS = (16, 32, 64, 128, 256)
BLOCK = 256  # clips: so many numbers are real ones, the next so many the other clips, and so on
Sized = Callable[[torch.Tensor], torch.Tensor]  # [1 3 h w] in 0 to 255 -> [1 3 224 224]


def corners(picture: torch.Tensor) -> torch.Tensor:
    """TensorFlow 1's bilinear resize: place i of the output is place i * in / out of the input."""
    height, width = picture.shape[2:]
    y, x = (torch.arange(SIDE) * (length / SIDE) for length in (height, width))
    rows = _between(picture, y, 2)
    return _between(rows, x, 3)


def _between(picture: torch.Tensor, places: torch.Tensor, axis: int) -> torch.Tensor:
    low = places.floor().long()
    high = (low + 1).clamp(max=picture.shape[axis] - 1)
    share = (places - low).view([-1 if k == axis else 1 for k in range(4)])
    return picture.index_select(axis, low) * (1 - share) + picture.index_select(axis, high) * share


def pillow(picture: torch.Tensor) -> torch.Tensor:
    """Pillow's bicubic resize of bytes, which averages where it shrinks."""
    image = Image.fromarray(picture[0].permute(1, 2, 0).round().to(torch.uint8).numpy())
    sized = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return torch.from_numpy(sized.copy()).permute(2, 0, 1)[None].float()


def first_to(side: int) -> Sized:
    """A square of ``side`` first, as data sets of 64 or 128 pixels are stored, in bytes."""

    def sized(picture: torch.Tensor) -> torch.Tensor:
        small = F.interpolate(picture, (side, side), mode="bilinear", antialias=True)
        return squash(small.round().clamp(0, 255), SIDE)

    return sized


OURS = "squash (ours)"
RULES: dict[str, Sized] = {
    OURS: lambda picture: squash(picture, SIDE),
    "squash, TF1 corners": corners,
    "squash, antialiased": lambda picture: F.interpolate(
        picture, (SIDE, SIDE), mode="bilinear", antialias=True
    ),
    "squash, Pillow bicubic": pillow,
    "short side and crop": lambda picture: short_side(picture, SIDE),
    "128x128 first": first_to(128),
    "64x64 first": first_to(64),
}


@lru_cache(maxsize=1)
def rendered(index: int, size: tuple[int, int]) -> Frames:
    """The rendered clip of a number, with the most frames that are asked for."""
    seed = SEEDS.start + index
    return render_clip(seed, LONGEST[size], size, draw_kind(seed, KINDS)).frames


def blurred(frames: Frames) -> Frames:
    """Frames of half the size, made large again, with the noise of a few levels: the generated clips."""
    pictures = frames.permute(0, 3, 1, 2).float()
    small = F.interpolate(pictures, scale_factor=0.5, mode="bilinear", antialias=True)
    large = F.interpolate(small, tuple(pictures.shape[2:]), mode="bilinear", align_corners=False)
    noise = 3 * torch.randn(large.shape, generator=torch.Generator().manual_seed(0))
    return (large + noise).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def through_mp4(frames: Frames, crf: int) -> Frames:
    """Frames that were an H.264 file, written and read with the same colour matrix."""
    import imageio_ffmpeg

    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"),
            *("-s", f"{width}x{height}", "-r", str(FPS), "-i", "-", "-pix_fmt", "yuv420p", "-crf", str(crf)),
            *("-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709", "-c:v", "libx264", str(path)),
        ]
        subprocess.run(command, input=frames.numpy().tobytes(), check=True)
        return read_frames(str(path), 0, len(frames)).frames


WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # of red and blue


def misread(frames: Frames) -> Frames:
    """Frames written with the matrix of HD video and read with that of SD, as of a file without a tag."""
    to_yuv, back = _matrix("bt709"), torch.linalg.inv(_matrix("bt601"))
    return (frames.float() @ (back @ to_yuv).T).round().clamp(0, 255).to(torch.uint8)


def _matrix(name: str) -> torch.Tensor:
    red, blue = WEIGHTS[name]
    luma = torch.tensor([red, 1 - red - blue, blue])
    cb = (torch.tensor([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
    cr = (torch.tensor([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
    return torch.stack([luma, cb, cr])


def with_rule(extractor: Extractor, name: str) -> Extractor:
    """FVD's network behind another resize rule."""

    def prepare(frames: Frames) -> torch.Tensor:
        pictures = [RULES[name](frame.permute(2, 0, 1)[None].float())[0] for frame in frames]
        return torch.stack(pictures, 1) / 127.5 - 1

    return replace(extractor, protocol={**extractor.protocol, "resize": name}, prepare=prepare)


@dataclass(frozen=True)
class Variant:
    """What is shown to the network: the frames as they are or changed, by a rule, and so many of them."""

    change: str = ""
    made: Callable[[Frames], Frames] = lambda frames: frames
    rule: str = OURS
    frames: int = FRAMES

    def blurred(self) -> "Variant":
        """The same of the generated clips."""
        made = self.made
        return replace(self, change=f"blurred {self.change}", made=lambda frames: made(blurred(frames)))


class Material:
    """Features of clips that are made as needed, kept on disk."""

    def __init__(self, cache: Path, size: tuple[int, int]) -> None:
        self._extractor, self._cache, self._size = load_extractor("i3d"), cache, size

    def features(self, clips: Iterable[int], variant: Variant) -> torch.Tensor:
        """Features [n 400]."""
        extractor = with_rule(self._extractor, variant.rule)

        def frames(clip: int) -> Frames:
            return variant.made(rendered(clip, self._size)[: variant.frames].contiguous())

        key = f"{self._size} {variant.frames} {variant.change}"
        return torch.stack(
            [
                cached(extractor, f"rendered {clip} {key}", partial(frames, clip), self._cache).features
                for clip in clips
            ]
        )

    def make(self, clips: Iterable[int], variants: Sequence[Variant]) -> None:
        """Make all features, clip by clip, so that a run that is stopped has whole clips."""
        for clip in tqdm(list(clips), unit="clip", disable=None):
            for variant in variants:
                self.features([clip], variant)


def changes() -> dict[str, Variant]:
    """What a line of the table of rules changes."""
    found = {f"resize: {name}": Variant(rule=name) for name in RULES if name != OURS}
    for crf in (17, 23, 28):
        found[f"H.264, crf {crf}"] = Variant(f"crf {crf}", partial(through_mp4, crf=crf))
    found["colour matrix of HD, read as SD's"] = Variant("misread", misread)
    return found | {f"{count} frames": Variant(frames=count) for count in (FEWEST, LONGEST[WIDE])}


def rules(cache: Path, count: int) -> str:
    """The table of resize rules, codecs, matrices and numbers of frames."""
    material, clips, plain = Material(cache, WIDE), range(count), Variant()
    variants = [plain, *changes().values()]
    material.make(clips, [*variants, *(one.blurred() for one in variants)])
    real, generated = (material.features(clips, one) for one in (plain, plain.blurred()))
    lines = [
        "| what is changed | changed against unchanged clips | FVD of blurred clips, if both sides are changed | "
        "if only the blurred are |",
        "|---|---|---|---|",
        f"| nothing: arrays, {OURS}, {FRAMES} frames | 0 | **{distance(generated, real).value:.0f}** | |",
    ]
    for name, variant in changes().items():
        changed, made = (material.features(clips, one) for one in (variant, variant.blurred()))
        numbers = (distance(changed, real), distance(made, changed), distance(made, real))
        lines.append(f"| {name} | {' | '.join(f'{number.value:.0f}' for number in numbers)} |")
    return "\n".join(lines)


def clips(cache: Path, count: int) -> str:
    """The table of numbers of clips: means over disjoint sets of so many clips, and their deviations."""
    material, real = Material(cache, NARROW), Variant(frames=FEWEST)
    numbers = [2 * BLOCK * (clip // BLOCK) + clip % BLOCK for clip in range(count)]
    for clip in tqdm(numbers, unit="clip", disable=None):  # so a run that is stopped has whole clips
        material.features([clip], real)
        material.features([clip], real.blurred())
        material.features([clip + BLOCK], real)
    truth = material.features(numbers, real)
    others = material.features([clip + BLOCK for clip in numbers], real)
    generated = material.features(numbers, real.blurred())
    lines = [
        "| clips | sets | blurred clips against the same clips | extrapolated | other clips (a perfect generator) | "
        "extrapolated | floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in (*(size for size in COUNTS if size < count), count):
        sets = [slice(first, first + size) for first in range(0, count - size + 1, size)]
        cells = [str(size), str(len(sets))]
        for made in (generated, others):
            cells.append(_spread([distance(made[part], truth[part]).value for part in sets]))
            cells.append(_spread([extrapolated(made[part], truth[part]) for part in sets]))
        lines.append(f"| {' | '.join([*cells, _spread([floor(truth[part]).mean for part in sets])])} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    """The mean of several sets and their deviation; of one set its value."""
    return f"{fmean(values):.0f}" + (f" +- {stdev(values):.0f}" if len(values) > 1 else "")


PARTS = {"rules": (rules, 24), "clips": (clips, COUNTS[-1])}


def main() -> None:
    """Make a table, and print or write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--cache", type=Path, default=Path("out/protocol_features"))
    parser.add_argument("--write", action="store_true", help="write the table into docs/metrics.md")
    parser.add_argument("--clips", type=int, help="how many (24 of rules, 256 of clips)")
    options = parser.parse_args()
    part, usual = PARTS[options.part]
    table = part(options.cache, options.clips or usual)
    print(table)
    if options.write:
        write_part(f"protocol_moves.py {options.part}", table)


if __name__ == "__main__":
    main()
