"""RealEstate10k in the layouts that are in use: pose files with videos or pictures, or pixelSplat's chunks.

These are recognised in the folder, or in its subfolder RealEstate10K:

- ``{train,test,validation}/ID.txt``, or ``ID.txt`` at the top: the official pose files;
- ``pose_files/ID.txt``, with or without ``annotations/SPLIT.json``: the layout of CameraCtrl;
- ``{train,test}/*.torch``: the chunks of pixelSplat.

The video of a clip may be anywhere below the folder, or below ``videos=``. It is ``ID.mp4``, or a folder ``ID`` of
pictures that are named by timestamp. Format: https://google.github.io/realestate10k/download.html
"""

import os
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from vidjacobi.datasets.cameras import Cameras, looks_like_cameras, read_cameras
from vidjacobi.datasets.contract import (
    TROUBLE,
    Entry,
    Episode,
    Skipped,
    check_split,
    entry_or_reason,
    episode_id,
    reason_of,
)
from vidjacobi.datasets.pixelsplat import InChunk, chunk_entries
from vidjacobi.datasets.posed import NamedByTime, Posed
from vidjacobi.datasets.side_files import read_json
from vidjacobi.errors import BadInput, InvalidArgument
from vidjacobi.video.probe import is_video_name

SPLITS = ("train", "test", "validation", "val")
LOOKS_FOR = "{train,test}/*.txt, pose_files/*.txt or {train,test}/*.torch (RealEstate10k)"


@dataclass(frozen=True)
class Folder:
    """A folder of pose files or of chunks, and the split that it holds; None where nothing says which."""

    path: Path
    split: str | None
    chunked: bool


@dataclass(frozen=True)
class PosedClip:
    """A pose file, the split that it belongs to, and its caption where there is one."""

    poses: Path
    split: str | None
    text: str | None

    @property
    def name(self) -> str:
        """The id of the clip."""
        return self.poses.stem


def open_realestate10k(
    root: Path, split: str | None = None, videos: str | Path | None = None
) -> Iterator[Entry]:
    """The clips below ``root``, split by split, each in the order of their ids.

    Args:
        split: train, test, ...; None for all of them.
        videos: the folder with the videos, if they are not below ``root``.

    Raises BadInput where the folder has another layout, InvalidArgument for a split that it does not have.
    """
    folders = folders_of(root)
    if not folders:
        raise BadInput(f"{root}: not RealEstate10k: no {LOOKS_FOR} in it")
    media = root if videos is None else Path(os.path.abspath(videos))
    if not media.is_dir():
        raise BadInput(f"{media}: no such folder; videos= names the one with ID.mp4 or ID/ of every clip")
    return (_chunked if folders[0].chunked else _posed)(root, folders, split, media)


def recognises(root: Path) -> bool:
    """Whether ``root`` has this layout, judged by the names in it and the first lines of some files."""
    return bool(folders_of(root))


def cameras(episode: Episode) -> Cameras:
    """The cameras of the frames of an episode, with its start and stride taken into account. Raises BadInput."""
    facts = episode.metadata
    if "poses" in facts:
        whole = read_cameras(str(facts["poses"]))
    elif "chunk" in facts:
        whole = InChunk(Path(str(facts["chunk"])), str(facts["key"])).cameras()
    else:
        raise InvalidArgument(f"{episode.id}: no episode of RealEstate10k, so it has no pose file")
    start, stride = facts.get("start", 0), facts.get("stride", 1)
    assert isinstance(start, int)
    assert isinstance(stride, int)
    # all cameras from ``start`` on in steps of ``stride``: of 10 cameras from 1 in steps of 4 those of 1, 5 and 9
    return whole.at(start, max(1, -(-(len(whole) - start) // stride)), stride)


def folders_of(root: Path) -> list[Folder]:
    """The folders of chunks or, where there are none, of pose files, with their splits."""
    # ``root`` may be the dataset, the folder above it, CameraCtrl's pose_files, or a single split.
    for top in (root, root / "RealEstate10K", root / "RealEstate10k", root / "pose_files"):
        own = (top, top.name if top.name in SPLITS else None)
        places = [*((top / split, split) for split in SPLITS), own]
        for chunked, held in ((True, _has_chunks), (False, _has_poses)):
            folders = [Folder(path, split, chunked) for path, split in places if held(path)]
            if folders:
                return folders
    return []


def _has_chunks(folder: Path) -> bool:
    return any(folder.glob("*.torch"))


def _has_poses(folder: Path) -> bool:
    # a folder of other text files is not searched to its end
    return any(looks_like_cameras(path) for path in islice(folder.glob("*.txt"), 20))


def _chunked(root: Path, folders: list[Folder], split: str | None, media: Path) -> Iterator[Entry]:
    check_split(split, {folder.split for folder in folders}, root)
    return chain.from_iterable(
        [chunk_entries(folder.path, folder.split) for folder in folders if split in (None, folder.split)]
    )


def _posed(root: Path, folders: list[Folder], split: str | None, media: Path) -> Iterator[Entry]:
    clips = _clips(root, folders)
    check_split(split, {clip.split for clip in clips}, root)
    clips = [clip for clip in clips if split in (None, clip.split)]
    found = find_media(media, {clip.name for clip in clips})
    return (_found(clip, found.get(clip.name, []), media) for clip in clips)


def _clips(root: Path, folders: list[Folder]) -> list[PosedClip]:
    notes = _annotations(root)
    clips = []
    for folder in folders:
        for path in sorted(folder.path.glob("*.txt")):
            split, text = notes.get(path.stem, (None, None))
            clips.append(PosedClip(path, folder.split or split, text))
    return sorted(clips, key=lambda clip: (clip.split or "", clip.name))


def _annotations(root: Path) -> dict[str, tuple[str, str | None]]:
    """CameraCtrl's annotations/SPLIT.json: clip id -> (split, caption)."""
    notes: dict[str, tuple[str, str | None]] = {}
    for split in SPLITS:
        path = root / "annotations" / f"{split}.json"
        if not path.is_file():
            continue
        try:
            for item in read_json(path):
                text = item.get("caption")
                # a caption is a text or a list of texts
                text = text[0] if isinstance(text, list) and text else text
                notes.setdefault(str(item["clip_name"]), (split, text if isinstance(text, str) else None))
        except TROUBLE as error:
            raise BadInput(
                f"{path}: a list of {{clip_name, caption}} is needed: {reason_of(error)}"
            ) from error
    return notes


def find_media(top: Path, names: Set[str]) -> dict[str, list[Path]]:
    """Videos NAME.mp4 and folders NAME anywhere below ``top``, for all names at once. Links are followed once."""
    found: dict[str, list[Path]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, below, files in os.walk(top, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        for file in files:
            stem = os.path.splitext(file)[0]
            if stem in names and is_video_name(file):
                found.setdefault(stem, []).append(Path(folder, file))
        for name in below:
            if name in names:
                found.setdefault(name, []).append(Path(folder, name))
        # os.walk enters only what is left in ``below``: neither folders of clips nor hidden ones.
        below[:] = sorted(name for name in below if name not in names and not name.startswith("."))
    return found


def _found(clip: PosedClip, places: list[Path], media: Path) -> Entry:
    made = episode_id(*([clip.split] if clip.split else []), clip.name)
    return entry_or_reason(made, clip.poses, partial(_entry, clip, made, places, media))


def _entry(clip: PosedClip, made: str, places: list[Path], media: Path) -> Entry:
    # A dataset may hold the same id in several splits; then the one below this split's folder is meant.
    if clip.split and len(places) > 1:
        places = [p for p in places if clip.split in p.relative_to(media).parts] or places
    if not places:
        return Skipped(made, f"no video {clip.name}.mp4 and no folder {clip.name} of pictures below {media}")
    if len(places) > 1:
        both = " and ".join(str(place.relative_to(media)) for place in sorted(places)[:2])
        return Skipped(made, f"found twice below {media}: {both}; name the right folder with videos=")
    place = places[0]
    frames = NamedByTime(place, clip.poses) if place.is_dir() else Posed(place, clip.poses)
    facts: dict[str, object] = {"split": clip.split, "poses": str(clip.poses)}
    if clip.text:
        facts["text"] = clip.text
    return Episode(made, frames, None, str(place), facts)
