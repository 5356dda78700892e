"""FVD of two folders of clips of any model: GENERATED/a.mp4 against REAL/a.mp4, or a folder b of frames against b."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from vidjacobi.errors import BadInput, number_of
from vidjacobi.eval import feature_cache
from vidjacobi.eval import frame_metrics as per_frame
from vidjacobi.eval.features import Extractor
from vidjacobi.eval.frame_metrics import MIRRORED
from vidjacobi.eval.fvd import Shown, record
from vidjacobi.eval.moments import check_finite
from vidjacobi.eval.pair_notes import differing
from vidjacobi.registry import lookup
from vidjacobi.shapes import Frames
from vidjacobi.video.images import frame_files
from vidjacobi.video.probe import counted, is_image_name, is_video_name
from vidjacobi.video.records import DEFAULT, READERS, ClipInfo, Kind
from vidjacobi.video.timed_reader import open_clip, read_frames

LISTED = 5  # most names in a message


@dataclass(frozen=True)
class Options:
    """Which frames of each clip are compared, and how.

    Attributes:
        start: first frame.
        count: number of frames; None for all that follow, of which all clips must then have the same number.
        cache: folder of features, so that none is computed twice; None keeps none.
        per_frame: whether PSNR and SSIM of each clip against its real one are measured too.
        draws, seed: number of draws of the bootstrap, and the seed of bootstrap and floor.
        reader: of videos, an entry of ``vidjacobi.video.records.READERS``; all read the same frames.
        ssim_borders: entry of ``vidjacobi.eval.frame_metrics.SSIM_BORDERS``.
    """

    start: int = 0
    count: int | None = None
    cache: Path | None = None
    per_frame: bool = True
    draws: int = 1000
    seed: int = 0
    reader: str = DEFAULT
    ssim_borders: str = MIRRORED


@dataclass(frozen=True)
class Side:
    """One of the two clips of a pair: ``count`` frames from ``start`` on, of a video or a folder of images."""

    clip: ClipInfo
    start: int
    count: int

    def read(self, reader: str) -> Frames:
        """The frames; ``reader``: of videos."""
        chosen = reader if self.clip.kind is Kind.VIDEO else None  # pictures are read in one way only
        return read_frames(self.clip.source, self.start, self.count, reader=chosen).frames

    def key(self) -> str:
        """The key of the frames in the feature cache, by the content of the files."""
        path = Path(self.clip.source)
        files = frame_files(path) if self.clip.kind is Kind.FOLDER else [path]
        return feature_cache.key_of_files(files, self.start, self.count)


@dataclass(frozen=True)
class ClipPair:
    """A clip that is in both folders."""

    name: str
    generated: Side
    real: Side


@dataclass(frozen=True)
class MeanScores:
    """Means over frames: PSNR in dB (of frames that differ), SSIM, the number of identical frames and of all."""

    psnr: float | None
    ssim: float
    identical_frames: int
    frames: int


def measure(
    generated: Path,
    real: Path,
    extractor: Extractor,
    options: Options | None = None,
    observe: Callable[[int, int], None] = lambda done, total: None,
    before: Callable[[list[ClipPair]], None] = lambda pairs: None,
) -> dict[str, Any]:
    """The record of the distance between two folders: value, floor, spread, means, warnings, protocol and notes.

    ``before(pairs)`` is called once they are found, ``observe(clips done, clips in all)`` after each pair.

    Raises BadInput where the folders share no clip or a single one, and where clips are too short, unreadable or of
    different sizes; InvalidArgument for an unknown reader or kind of borders.
    """
    options = options or Options()
    lookup("reader", options.reader, READERS)
    lookup("kind of borders", options.ssim_borders, per_frame.SSIM_BORDERS)
    pairs, notes = find_pairs(generated, real, options, extractor.protocol["least_frames"])
    extractor.check_frames(pairs[0].generated.count)
    before(pairs)
    rows: list[tuple[torch.Tensor, torch.Tensor]] = []
    scores: list[MeanScores] = []
    for done, pair in enumerate(pairs, 1):
        features, found, remarks = measure_pair(pair, extractor, options)
        rows.append(features)
        scores += [found] if found else []
        notes += remarks
        observe(done, len(pairs))
    first, second = (torch.stack(column) for column in zip(*rows, strict=True))
    count = pairs[0].generated.count
    shown = Shown(count, f"{number_of(count, 'frame')} of each file from frame {options.start} on")
    made = record(first, second, extractor.protocol, shown, options.draws, options.seed)
    made["per_frame"] = mean_scores(scores, options.ssim_borders) if scores else None
    return {**made, "generated": str(generated), "real": str(real), "notes": notes}


def measure_pair(
    pair: ClipPair, extractor: Extractor, options: Options
) -> tuple[tuple[torch.Tensor, torch.Tensor], MeanScores | None, list[str]]:
    """((features of the generated clip, of the real one), per-frame means if they are wanted, remarks)."""
    features, remarks = [], []
    # The frames are needed for the features and for the per-frame means, and are read at most once.
    readers = [cache(partial(side.read, options.reader)) for side in (pair.generated, pair.real)]
    for side, read in zip((pair.generated, pair.real), readers, strict=True):
        if options.cache is None:
            found = extractor(read()[None])[0]
        else:
            entry = feature_cache.cached(extractor, side.key(), read, options.cache)
            found = entry.features
            remarks += [entry.note] if entry.note else []
        check_finite(found[None], side.clip.source)
        features.append(found)
        remarks += [f"{side.clip.source}: {note}" for note in side.clip.notes]
    scores = compare(readers[0](), readers[1](), options.ssim_borders) if options.per_frame else None
    return (features[0], features[1]), scores, remarks


def compare(frames: Frames, truth: Frames, ssim_borders: str = MIRRORED) -> MeanScores:
    """The means over the frames of one pair."""
    # The PSNR of identical frames is infinite, so they are counted apart.
    psnr = per_frame.psnr(frames, truth)
    finite = psnr[psnr.isfinite()]
    mean = float(finite.mean()) if len(finite) else None
    ssim = float(per_frame.ssim(frames, truth, ssim_borders).mean())
    return MeanScores(mean, ssim, len(psnr) - len(finite), len(psnr))


def mean_scores(scores: list[MeanScores], ssim_borders: str = MIRRORED) -> dict[str, Any]:
    """The means over all frames of all pairs, with the conventions of both numbers."""
    # Each pair counts as many times as it has frames in the mean.
    psnr = [(score.psnr, score.frames - score.identical_frames) for score in scores if score.psnr is not None]
    ssim = [(score.ssim, score.frames) for score in scores]
    identical, frames = (
        sum(getattr(score, name) for score in scores) for name in ("identical_frames", "frames")
    )
    mean = MeanScores(_weighted(psnr) if psnr else None, _weighted(ssim), identical, frames)
    said = per_frame.conventions(ssim_borders)
    named = {name: said[name] for name in ("psnr", "ssim")}
    return {**asdict(mean), "ssim_borders": ssim_borders, "conventions": named}


def _weighted(values: list[tuple[float, int]]) -> float:
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def find_pairs(generated: Path, real: Path, options: Options, least: int) -> tuple[list[ClipPair], list[str]]:
    """The clips that both folders have, by name and checked, and notes about what was left out. Raises BadInput."""
    made, true = clips_in(generated), clips_in(real)
    names = [name for name in made if name in true]
    if not names:
        raise BadInput(
            f"{generated} and {real} have no clip name in common: {_some(list(made))} there, {_some(list(true))} "
            "here. Clips are paired by file name without its ending, or by folder name"
        )
    if len(names) == 1:
        raise BadInput(
            f"{generated} and {real} share a single clip, {names[0]}: a distance of distributions needs at least 2"
        )
    pairs = [_pair(name, made[name], true[name], options) for name in names]
    _check_lengths(pairs, least)
    notes = [
        f"left out of {folder}: {counted(names)}"
        for folder in (generated, real)
        if (names := no_clips_in(folder))
    ]
    # Clips that only one folder has are left out with a note: rollouts of a part of a dataset are the usual case.
    for folder, clips, others in ((generated, made, true), (real, true, made)):
        alone = [name for name in clips if name not in others]
        notes += [f"left out, in {folder} only: {_some(alone)}"] if alone else []
    return pairs, notes + differing([(pair.generated.clip, pair.real.clip) for pair in pairs])


def clips_in(folder: Path) -> dict[str, Path]:
    """Video files by name without ending, and folders of images by name, sorted. Raises BadInput without any."""
    if not folder.is_dir():
        raise BadInput(
            f"{folder}: {'a file' if folder.exists() else 'no such folder'}; name a folder of clips"
        )
    found: dict[str, Path] = {}
    for entry in filter(_is_clip, _entries(folder)):
        # a.mp4 is clip "a"; a folder keeps its whole name, since "take.1" has no ending
        name = entry.name if entry.is_dir() else entry.stem
        if name in found:
            raise BadInput(f"{folder}: both {found[name].name} and {entry.name} would be clip {name!r}")
        found[name] = entry
    if not found:
        hint = "its images are one clip; name the folder above it" if _has_images(folder) else "none is there"
        raise BadInput(f"{folder}: clips are video files or folders of images, and {hint}")
    return found


def no_clips_in(folder: Path) -> list[str]:
    """The names of what ``clips_in`` passes by: files with other endings, and folders without images."""
    return [entry.name for entry in _entries(folder) if not _is_clip(entry)]


def _is_clip(entry: Path) -> bool:
    return _has_images(entry) if entry.is_dir() else is_video_name(entry.name)


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden, sorted."""
    try:
        return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    except PermissionError as error:
        raise BadInput(f"{folder}: no permission to list this folder") from error


def _has_images(folder: Path) -> bool:
    return any(is_image_name(entry.name) for entry in _entries(folder))


def _pair(name: str, generated: Path, real: Path, options: Options) -> ClipPair:
    """Both sides of a clip. Raises BadInput where their sizes differ or frames are missing."""
    clips = [open_clip(path) for path in (generated, real)]
    sizes = [f"{clip.width}x{clip.height}" for clip in clips]
    if sizes[0] != sizes[1]:
        raise BadInput(
            f"{name}: {generated} is {sizes[0]} and {real} is {sizes[1]}. Resizing would decide the distance: "
            "bring both to one size first, in the same way"
        )
    sides = []
    for clip in clips:
        count = options.count if options.count is not None else clip.frames - options.start
        if count < 1 or options.start + count > clip.frames:
            raise BadInput(
                f"{clip.source}: has {number_of(clip.frames, 'frame')}, but "
                f"{options.start + max(count, 1)} are needed"
            )
        sides.append(Side(clip, options.start, count))
    return ClipPair(name, *sides)


def _check_lengths(pairs: list[ClipPair], least: int) -> None:
    """Raise BadInput where clips have different numbers of frames, or fewer than ``least``."""
    sides = [side for pair in pairs for side in (pair.generated, pair.real)]
    shortest, longest = min(sides, key=lambda s: s.count), max(sides, key=lambda s: s.count)
    if shortest.count < least:
        raise BadInput(
            f"{shortest.clip.source}: {number_of(shortest.count, 'frame')} are compared, and the "
            f"network needs at least {least}"
        )
    if shortest.count != longest.count:
        raise BadInput(
            f"clips must be compared over the same number of frames, and {shortest.clip.source} has {shortest.count} "
            f"where {longest.clip.source} has {longest.count}: ask for {number_of(shortest.count, 'frame')} of each"
        )


def _some(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
